"""Gates about what rollouts showed outside protected environments: the way back, and the alarm."""

from dataclasses import replace

from apps.gates.domain.catalogue import OF_THE_MODEL, gate
from apps.gates.domain.finding import Finding, Source, Verdict, unknown
from apps.gates.models import Evidence
from apps.gates.programs.subject import Reading, Subject

SECONDS = 30.0  # that a way back may take, where the policy says nothing


def rolled_back(subject: Subject) -> Finding:
    """Judge how long the last way back took."""
    found = newest(subject)
    if found is None:
        return _never(subject)
    most = subject.number("seconds", SECONDS)
    took = found.facts.get("seconds")
    known = isinstance(took, int | float) and not isinstance(took, bool)
    if found.verdict == Verdict.PASSED and known and float(took) > most:
        return _cited(
            found, Verdict.FAILED, f"{found.sentence} At most {most:g} s are allowed.",
            "See on the rollout's page what it waited for, mend it, and rehearse again.",
        )  # fmt: skip
    return _as_found(found)


def alarm_arrived(subject: Subject) -> Finding:
    """Judge whether a fault that was made on purpose was noticed, and its alert heard."""
    found = newest(subject)
    return _never(subject) if found is None else _as_found(found)


def newest(subject: Subject) -> Evidence | None:
    """Return the newest evidence that still counts: what a rollout showed, or a pipeline sent."""
    found = [row for row in (_measured(subject), subject.sent(Source.CI)) if row is not None]
    return max(found, key=lambda row: (row.measured_at, row.pk), default=None)


def _measured(subject: Subject) -> Evidence | None:
    name = subject.rule.gate
    rows = Evidence.objects.filter(
        key=name,
        source=Source.MEASURED,
        conditions="",
        measured_at__gt=subject.now - subject.max_age,
    ).exclude(expires_at__lte=subject.now)
    if name in OF_THE_MODEL:
        rows = rows.filter(version__model=subject.model)
    else:
        rows = rows.filter(version=subject.version, subject=subject.bundle)
    return rows.order_by("-measured_at", "-id").first()


def _never(subject: Subject) -> Finding:
    return unknown("Not rehearsed yet, or too long ago.", gate(subject.rule.gate).remedy)


def _as_found(found: Evidence) -> Finding:
    verdict = Verdict(found.verdict)
    remedy = "" if verdict is Verdict.PASSED else gate(found.key).remedy
    return _cited(found, verdict, found.sentence, remedy)


def _cited(found: Evidence, verdict: Verdict, sentence: str, remedy: str) -> Finding:
    finding = Finding(verdict, sentence, remedy, dict(found.facts), expires_at=found.expires_at)
    return replace(finding, cites=found.pk)


PROGRAMS = (
    Reading("rollback.rehearsed", rolled_back),
    Reading("monitoring.proven", alarm_arrived),
)
