"""What a version scores in the ML Test Score, read from evidence and from checklists."""

from collections.abc import Iterator
from datetime import datetime

from django.db.models import Q

from apps.gates.domain.finding import Source, Verdict
from apps.gates.domain.mltest import KEYS, Fact, Score, score
from apps.gates.models import Evidence, GateResult
from apps.registry.models import ModelVersion
from controlplane.kernel.clock import SystemClock


def ml_test_score(version: ModelVersion, *, now: datetime | None = None) -> Score:
    """Return how a version stands, in two queries; the caller may see it.

    Evidence counts when it is about the version, or about the dataset it was trained on: what a
    pipeline found out about data holds for every version of the model that was made from it.
    """
    facts = [*_evidence(version), *_results(version)]
    return score(facts, now=now or SystemClock().now())


def _evidence(version: ModelVersion) -> Iterator[Fact]:
    about = Q(version=version)
    if version.dataset_digest:
        about |= Q(subject=version.dataset_digest, version__model_id=version.model_id)
    newest = (
        Evidence.objects.filter(about, key__in=KEYS)
        .exclude(verdict=Verdict.UNKNOWN)
        .order_by("key", "source", "-measured_at", "-id")
        .distinct("key", "source")
    )
    for row in newest:
        yield Fact(
            key=row.key,
            verdict=Verdict(row.verdict),
            source=Source(row.source),
            at=row.measured_at,
            expires_at=row.expires_at,
            parts=frozenset(row.facts),
            sentence=row.sentence,
            evidence=row.public_id,
            by=row.recorded_by,
        )


def _results(version: ModelVersion) -> Iterator[Fact]:
    """Yield what checklists found: newer than their evidence when it was found again."""
    judged = (
        GateResult.objects.filter(
            checklist__version=version,
            gate__in=KEYS,
            verdict__in=[Verdict.PASSED, Verdict.FAILED],
            measured_at__isnull=False,
        )
        .select_related("evidence")
        .order_by("gate", "-measured_at", "-id")
        .distinct("gate")
    )
    for row in judged:
        yield Fact(
            key=row.gate,
            verdict=Verdict(row.verdict),
            source=Source(row.evidence.source) if row.evidence else Source.MEASURED,
            at=row.measured_at or row.state_since,
            expires_at=row.expires_at,
            parts=frozenset(row.evidence.facts) if row.evidence else frozenset(),
            sentence=row.sentence,
            evidence=row.evidence.public_id if row.evidence else "",
            by=row.evidence.recorded_by if row.evidence else "",
        )
