"""REST of analyses: reading. What they are told to do, rollouts tell them."""

from typing import ClassVar

from rest_framework.request import Request
from rest_framework.response import Response

from apps.analysis import selectors
from apps.analysis.api.serializers import AnalysisRunAnswer, LooksAnswer
from apps.analysis.models import AnalysisRun
from controlplane.http.api import Resource
from controlplane.http.openapi import describe
from controlplane.kernel.errors import Invalid


class AnalysisRunDetail(Resource):
    """One analysis."""

    @describe("Show an analysis", answer=AnalysisRunAnswer)
    def get(self, request: Request, analysis_id: str) -> Response:
        """Return what it says now, with what it says so by."""
        return self.answer(AnalysisRunAnswer(selectors.run(self.actor, analysis_id)).data)


class AnalysisRunLooks(Resource):
    """The curve of one metric of an analysis."""

    query: ClassVar[tuple[str, ...]] = ("metric",)

    @describe("Read the looks of an analysis", answer=LooksAnswer)
    def get(self, request: Request, analysis_id: str) -> Response:
        """Return what was known of `?metric=`, look by look; of its first metric by default."""
        run = selectors.run(self.actor, analysis_id)
        metric = _metric(run, request.query_params.get("metric", ""))
        looks = selectors.looks(run, metric)
        return self.answer(LooksAnswer({"metric": metric, "looks": looks}).data)


def _metric(run: AnalysisRun, asked: str) -> str:
    names = [str(metric["name"]) for metric in run.plan.get("metrics") or []]
    if asked in names:
        return asked
    if not asked and names:
        return names[0]
    raise Invalid(
        f"This analysis has no metric {asked[:40]!r}.",
        remedy=f"Ask for one of: {', '.join(names) or 'it has none'}.",
        field="metric",
        code="analysis.no_such_metric",
    )
