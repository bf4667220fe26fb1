"""One pass over an asking: put one question to another source, about both sides at once.

1. Ask, of both sides as of the same moment; whoever is asked may take his time, so these passes
   run beside the others and hold up nothing but themselves.
2. Write down what was said, or why nothing was, under the lease. A look of the analysis reads it.
"""

from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from datetime import datetime, timedelta

import structlog
from django.db import transaction
from django.db.models import F

from apps.analysis.domain import terms
from apps.analysis.domain.queries import Measured, Query, Side, Target
from apps.analysis.domain.states import ENDED, AnalysisState
from apps.analysis.domain.values import Metric, MetricKind, SourceKind
from apps.analysis.models import AnalysisRun, Asking, Measurement
from apps.analysis.ports import MetricSource
from apps.analysis.reconcile import KIND as ANALYSIS_KIND
from apps.endpoints.models import Revision
from controlplane.db.nudge import nudge
from controlplane.db.reconcile import Claim
from controlplane.kernel.errors import ControlPlaneError, Invalid, Permanent, Transient

log = structlog.get_logger(__name__)

EVERY = timedelta(seconds=30)
FIRST_PAUSE = timedelta(seconds=5)  # after a source did not answer; twice as long each time
LONGEST_PAUSE = timedelta(seconds=60)


@dataclass(frozen=True)
class AskingReconciler:
    """Drives one asking.

    Attributes:
        sources: Who is asked, by kind.
    """

    sources: Mapping[SourceKind, MetricSource]

    def __call__(self, claim: Claim[Asking], now: datetime) -> None:
        """Run one pass."""
        run = claim.row.run
        if AnalysisState(run.state) in ENDED or run.stable is None:
            claim.record(next_at=None, attempts=0)
            return
        try:
            metric = _metric(claim.row)
            stable, canary = self._ask(metric, run, run.stable, now)
        except (Transient, Permanent, Invalid) as error:
            self.park(claim, error, now)
            return
        _write(claim, stable, canary, now)

    def park(self, claim: Claim[Asking], error: ControlPlaneError, now: datetime) -> None:
        """Say why there is no answer, and ask again later."""
        pause = min(FIRST_PAUSE * 2 ** min(claim.row.attempts, 8), LONGEST_PAUSE)
        new = claim.row.problem != error.sentence
        with transaction.atomic():
            held = claim.record(
                next_at=now + pause, attempts=F("attempts") + 1, problem=error.sentence,
                remedy=error.remedy, problem_code=error.code[:64],
            )  # fmt: skip
            if held and new:
                nudge(ANALYSIS_KIND, claim.row.run_id)
        log.info("metric.unanswered", asking=claim.row.pk, problem=error.sentence)

    def _ask(
        self, metric: Metric, run: AnalysisRun, stable: Revision, now: datetime
    ) -> tuple[Measured, Measured]:
        """Return what is said of stable and of the canary; both are asked at the same time."""
        source = self.sources.get(metric.source)
        if source is None:
            raise Permanent(
                f"Nobody can be asked for {metric.source} metrics here.",
                remedy="Set it up as docs/metrics.md says, and restart the workers.",
                code="analysis.no_source",
            )
        targets = (_target(Side.STABLE, stable), _target(Side.CANARY, run.candidate))
        asked = [Query(metric.query, target, now) for target in targets]
        with ThreadPoolExecutor(len(asked), thread_name_prefix="ask") as pool:
            first, second = pool.map(source.measure, asked)
        return _checked(metric, first), _checked(metric, second)


def _metric(row: Asking) -> Metric:
    plan = terms.read(row.run.plan, dispersion={}).plan
    return next(metric for metric in plan.metrics if metric.name == row.metric)


def _target(side: Side, revision: Revision) -> Target:
    endpoint = revision.endpoint
    return Target(
        side=side,
        revision=revision.number,
        endpoint=endpoint.public_id,
        version=revision.version.number,
        model=endpoint.name,
        environment=endpoint.environment.slug,
    )


def _checked(metric: Metric, measured: Measured) -> Measured:
    """Refuse what is no share where one is wanted."""
    if metric.kind is not MetricKind.RATE or measured.value is None:
        return measured
    if measured.count is None:
        raise Permanent(
            f"{metric.title} is a share, and {metric.source} does not say of how many.",
            remedy="Have it give the count, or declare the metric with the kind mean.",
            code="analysis.share_without_count",
        )
    if not 0 <= measured.value <= 1:
        raise Permanent(
            f"{metric.title} is a share, and {measured.value:g} is none.",
            remedy="Have it give a number from 0 to 1.",
            code="analysis.no_share",
        )
    return measured


def _write(claim: Claim[Asking], stable: Measured, canary: Measured, now: datetime) -> None:
    row = claim.row
    # After a silence, no longer than usual: what was in between is not known.
    seconds = min(now - (row.answered_at or now - EVERY), EVERY).total_seconds()
    with transaction.atomic():
        held = claim.record(
            next_at=now + EVERY, attempts=0, answered_at=now, problem="", remedy="",
            problem_code="",
        )  # fmt: skip
        if not held:
            return
        Measurement.objects.create(
            run=row.run, metric=row.metric, at=now, seconds=seconds, stable=stable.value,
            stable_count=stable.count, canary=canary.value, canary_count=canary.count,
        )  # fmt: skip
        nudge(ANALYSIS_KIND, row.run_id)
