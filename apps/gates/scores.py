"""What a version scores in the ML Test Score, read from evidence and from checklists."""

from datetime import datetime
from typing import Any

from django.db.models import CharField, F, Q, QuerySet, Value
from django.db.models.functions import Coalesce

from apps.gates.domain.finding import Source, Verdict
from apps.gates.domain.mltest import KEYS, Fact, Score, score
from apps.gates.models import Evidence, GateResult
from apps.registry.models import ModelVersion
from controlplane.kernel.clock import SystemClock

SAID = (Verdict.PASSED, Verdict.FAILED)


def ml_test_score(version: ModelVersion, *, now: datetime | None = None) -> Score:
    """Return how a version stands, in one query; the caller may see it.

    Evidence counts when it is about the version, or about the dataset it was trained on: what a
    pipeline found out about data holds for every version of the model that was made from it. What
    a checklist found again counts from then on, though its evidence is older.
    """
    rows = _evidence(version).union(_results(version), all=True)
    return score([_fact(row) for row in rows], now=now or SystemClock().now())


def _evidence(version: ModelVersion) -> QuerySet[Any, Any]:
    """Return the newest evidence of each key and source."""
    about = Q(version=version)
    if version.dataset_digest:
        about |= Q(subject=version.dataset_digest, version__model_id=version.model_id)
    return (
        Evidence.objects.filter(about, key__in=KEYS, verdict__in=SAID)
        .order_by("key", "source", "-measured_at", "-id")
        .distinct("key", "source")
        .values_list(
            "key", "verdict", "source", "measured_at", "expires_at", "facts", "sentence",
            "public_id", "recorded_by",
        )
    )  # fmt: skip


def _results(version: ModelVersion) -> QuerySet[Any, Any]:
    """Return the newest finding of each gate, in whatever checklist, with the same columns."""
    measured = Value(str(Source.MEASURED), output_field=CharField())
    return (
        GateResult.objects.filter(
            checklist__version=version,
            gate__in=KEYS,
            verdict__in=SAID,
            measured_at__isnull=False,
        )
        .annotate(source=Coalesce(F("evidence__source"), measured))
        .order_by("gate", "-measured_at", "-id")
        .distinct("gate")
        .values_list(
            "gate", "verdict", "source", "measured_at", "expires_at", "evidence__facts",
            "sentence", "evidence__public_id", "evidence__recorded_by",
        )
    )  # fmt: skip


def _fact(row: tuple[Any, ...]) -> Fact:
    key, verdict, source, at, expires_at, facts, sentence, evidence, by = row
    return Fact(
        key=key,
        verdict=Verdict(verdict),
        source=Source(source),
        at=at,
        expires_at=expires_at,
        parts=frozenset(facts or ()),
        sentence=sentence,
        evidence=evidence or "",
        by=by or "",
    )
