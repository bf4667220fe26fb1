"""Reading analyses."""

from collections.abc import Iterable
from datetime import datetime

from django.db.models import Count, F, QuerySet, Window
from django.db.models.functions import Mod, RowNumber

from apps.accounts.domain import access
from apps.analysis.domain import ending, pooling
from apps.analysis.domain.ending import Standing
from apps.analysis.domain.pooling import Alike, Pool
from apps.analysis.domain.states import AnalysisState
from apps.analysis.domain.values import Answer, Metric
from apps.analysis.models import AnalysisRun, Look
from apps.registry import selectors as registry
from controlplane.kernel.actor import Actor
from controlplane.kernel.errors import Missing

MOST_LOOKS = 500  # of a metric, for a chart
LEARNT_FROM = 5  # earlier runs


def of(subject: str) -> AnalysisRun | None:
    """Return the analysis of a subject ("rollout/<public id>"), if one has begun."""
    rows = AnalysisRun.objects.select_related("stable", "candidate__endpoint__environment")
    return rows.filter(subject=subject).first()


def standings_of(subjects: Iterable[str], now: datetime) -> dict[str, Standing]:
    """Return what the analyses of subjects say at `now`, as far as they have begun.

    By one query, which reads no evidence.
    """
    rows = AnalysisRun.objects.only(
        "subject", "state", "answer", "sentence", "remaining_seconds", "limit_hit", "problem",
        "remedy", "looked_at", "started_at",
    )  # fmt: skip
    return {run.subject: standing(run, now) for run in rows.filter(subject__in=list(subjects))}


def standing(run: AnalysisRun, now: datetime) -> Standing:
    """Return what an analysis says at `now`, for whoever decides by it."""
    facts = ending.Facts(
        state=AnalysisState(run.state),
        answer=Answer(run.answer),
        sentence=run.sentence,
        remaining_seconds=run.remaining_seconds,
        limit_hit=run.limit_hit,
        problem=run.problem,
        remedy=run.remedy,
        looked_at=run.looked_at or run.started_at,
    )
    return ending.standing(facts, now)


def looks(run: AnalysisRun, metric: str, *, most: int = MOST_LOOKS) -> list[Look]:
    """Return what was known of a metric, look by look, oldest first.

    Of more than `most` looks, some are left out, evenly; the newest is always there.
    """
    rows = Look.objects.filter(run=run, metric=metric).order_by("at", "id")
    ids = list(rows.values_list("id", flat=True))
    if len(ids) <= most:
        return list(rows)
    step = -(-len(ids) // most)
    return list(rows.filter(id__in=ids[::-1][::step]))


def calibration_slices(endpoint_id: int, metric: Metric) -> Pool:
    """Return how two sides that were alike differed at an endpoint, as the newest runs saw it."""
    rows = AnalysisRun.objects.filter(
        candidate__endpoint=endpoint_id, calibration__slices__has_key=pooling.key_of(metric)
    )
    newest = rows.order_by("-ended_at", "-id").values_list("calibration", flat=True)[:LEARNT_FROM]
    kept = [one for one in newest if one is not None]
    key = pooling.key_of(metric)
    return Pool(
        slices=tuple(s for one in kept for s in pooling.unpack(one["slices"][key])),
        same_bytes=sum(one["alike"] == Alike.SAME_BYTES for one in kept),
        promoted=sum(one["alike"] == Alike.PROMOTED for one in kept),
    )


def run(actor: Actor, public_id: str) -> AnalysisRun:
    """Return one analysis, for showing.

    Raises:
        Missing: There is none, or the actor may not see it.
    """
    access.require(actor, "analysis.read")
    found = _visible(actor).filter(public_id=public_id).first()
    if found is None:
        raise Missing(
            "There is no such analysis.",
            remedy="The page of a rollout leads to its analysis.",
            code="analysis.missing",
        )
    return found


def _visible(actor: Actor) -> QuerySet[AnalysisRun]:
    mine = registry.visible_models(actor).values("id")
    return AnalysisRun.objects.filter(candidate__endpoint__model__in=mine).select_related(
        "stable", "candidate__endpoint__environment"
    )


def curves(run: AnalysisRun, *, most: int = MOST_LOOKS) -> dict[str, list[Look]]:
    """Return what was known of every metric, look by look, oldest first, by one query.

    Of more than `most` looks of a metric, some are left out, evenly; the newest is always there.
    """
    mine = Window(RowNumber(), partition_by="metric", order_by=[F("at").desc(), F("id").desc()])
    rows = Look.objects.filter(run=run).annotate(
        place=mine, count=Window(Count("id"), partition_by="metric")
    )
    kept = rows.annotate(left=Mod(F("place") - 1, 1 + (F("count") - 1) / most)).filter(left=0)
    found: dict[str, list[Look]] = {}
    for look in kept.order_by("at", "id"):
        found.setdefault(look.metric, []).append(look)
    return found
