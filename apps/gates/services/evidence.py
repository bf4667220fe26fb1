"""Recording evidence that somebody sends, and having a gate looked at again."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any, BinaryIO

from django.db import transaction

from apps.accounts.domain import access
from apps.audit import services as audit
from apps.environments import selectors as environments
from apps.gates import selectors
from apps.gates.domain import catalogue, mltest, sent
from apps.gates.domain.finding import Source, Verdict
from apps.gates.domain.states import GATE, GateMove, GateState
from apps.gates.listing import KIND
from apps.gates.models import Checklist, Evidence, GateResult
from apps.gates.selectors import GateView
from apps.registry import blobs
from apps.registry import selectors as registry
from apps.registry.models import ModelVersion
from controlplane.db.live import announce
from controlplane.db.nudge import nudge
from controlplane.db.reconcile import commanding
from controlplane.kernel import digests
from controlplane.kernel.actor import Actor, ActorKind
from controlplane.kernel.clock import SystemClock
from controlplane.kernel.digests import FileEntry
from controlplane.kernel.errors import Conflict, Invalid, Missing

LARGEST_FILE = 64 * 1024**2


@dataclass(frozen=True)
class Recorded:
    """What came of sending evidence: `created` is False when just this was recorded before."""

    evidence: Evidence
    created: bool


def keep_file(*, actor: Actor, name: str, stream: BinaryIO) -> FileEntry:
    """Put a file that belongs to evidence into the blob store; `record_evidence` refers to it.

    Raises:
        Denied: The actor may not record evidence anywhere.
        Invalid: It is too large.
    """
    access.require(actor, "gates.evidence.record")
    return blobs.put_stream(stream, path=name[:200], limit=LARGEST_FILE)


@transaction.atomic
def record_evidence(
    *,
    actor: Actor,
    model: str,
    version: int,
    key: str,
    verdict: str = "",
    sentence: str = "",
    facts: Mapping[str, Any] | None = None,
    files: Sequence[FileEntry] = (),
    link: str = "",
    environment: str = "",
    subject: str = "",
    measured_at: datetime | None = None,
    expires_at: datetime | None = None,
) -> Recorded:
    """Record what a pipeline, or a person, found out about a version.

    A token counts as a pipeline, a person as a statement. Sending the same again changes nothing.

    Args:
        actor: Who sends it.
        model: The model's name.
        version: The version's number.
        key: A gate that takes evidence, or a test of the ML Test Score.
        verdict: "passed" or "failed"; left out where Modelyard judges the facts itself.
        sentence: What was found, for a person.
        facts: The numbers.
        files: As `keep_file` returned them.
        link: The pipeline's run.
        environment: Where it holds; "" everywhere.
        subject: The digest of what was looked at: the version's manifest (the default), a bundle
            of its, or its dataset.
        measured_at: When it was found; now by default.
        expires_at: From when it counts no more.

    Raises:
        Missing: There is no such model, version, environment or file.
        Denied: The actor may not.
        Conflict: The version's files are still on their way.
        Invalid: The key takes no evidence, or something is not what it should be.
    """
    row = registry.version(actor, model, version)
    access.require(actor, "gates.evidence.record", team=row.model.team.slug)
    source = Source.STATEMENT if actor.kind is ActorKind.PERSON else Source.CI
    sent.check_key(key, source)
    now = SystemClock().now()
    place = environments.by_slug(environment) if environment else None
    at, until = sent.times(measured_at, expires_at, now=now)
    says = {
        "key": key,
        "subject": _subject(row, subject),
        "verdict": str(sent.verdict(key, verdict)),
        "sentence": sent.sentence(sentence, key),
        "facts": sent.facts(key, facts or {}),
        "files": _files(files),
        "link": sent.link(link),
        "source": str(source),
    }
    # What was sent without a time is the same when it is sent again: a pipeline that retries.
    signed = {
        **says,
        "version": row.public_id,
        "environment": place.slug if place else "",
        "measured_at": at.isoformat() if measured_at else "",
        "expires_at": until.isoformat() if until else "",
    }
    made, created = Evidence.objects.get_or_create(
        digest=digests.of_bytes(digests.canonical(signed)),
        defaults={
            **says,
            "version": row,
            "environment": place,
            "measured_at": at,
            "expires_at": until,
            "recorded_by": actor.name,
        },
    )
    if created:
        _tell(actor, made, row)
        _wake(row, key)
    return Recorded(made, created)


@transaction.atomic
def record_measured(
    *,
    actor: Actor,
    version: ModelVersion,
    key: str,
    subject: str,
    verdict: Verdict,
    sentence: str,
    facts: Mapping[str, Any],
    measured_at: datetime,
) -> Evidence:
    """Record what another part of the house saw by itself. Recording it again changes nothing.

    It hangs on nothing but the bytes: the gate judges it anew each time, by its policy.

    Args:
        actor: The worker that saw it.
        version: The version that it was seen of.
        key: The gate.
        subject: The digest of the bundle that ran.
        verdict: Whether it was as it should be.
        sentence: What was seen, for a person.
        facts: The numbers.
        measured_at: When.
    """
    says = {
        "key": key, "subject": subject, "verdict": str(verdict), "sentence": sentence,
        "facts": dict(facts), "source": str(Source.MEASURED), "measured_at": measured_at,
    }  # fmt: skip
    signed = {**says, "measured_at": measured_at.isoformat(), "version": version.public_id}
    made, created = Evidence.objects.get_or_create(
        digest=digests.of_bytes(digests.canonical(signed)),
        defaults={**says, "version": version, "recorded_by": actor.name},
    )
    if created:
        _tell(actor, made, version)
        _wake(version, key, of_its_model=key in catalogue.OF_THE_MODEL)
    return made


@transaction.atomic
def run_gate_again(*, actor: Actor, checklist: str, gate: str) -> GateView:
    """Have a gate of a checklist looked at again, whatever is known of it.

    What is passed stays passed until something else is found, so asking again voids no approval.

    Raises:
        Missing: There is no such checklist, or its policy does not list the gate.
        Denied: The actor may not.
        Conflict: The checklist is closed.
    """
    found = selectors.checklist(actor, checklist)
    version = found.version
    access.require(
        actor, "gates.run", team=version.model.team.slug, environment=found.environment.slug
    )
    now = SystemClock().now()
    with commanding(Checklist, found.pk, now=now) as row:
        refuse_closed(row)
        result = result_for_update(row, gate)
        result.due_at = result.asked_at = now
        if result.state not in (GateState.PASSED, GateState.WAIVED) and not result.handle:
            result.state = GATE.after(GateState(result.state), GateMove.ASK_AGAIN)
            result.verdict, result.state_since = "", now
        result.save()
        audit.record(
            actor=actor,
            verb="gates.run",
            target=f"checklist/{found.public_id}",
            subject=f"{gate}: {version.model.name} v{version.number} in {found.environment.slug}",
        )
        announce(f"checklist/{found.public_id}")
        nudge(KIND, found.pk)
    return selectors.result_view(result)


def refuse_closed(checklist: Checklist) -> None:
    """Refuse to change what nobody needs any more.

    Raises:
        Conflict: The checklist is closed.
    """
    if checklist.closed_at is not None:
        raise Conflict(
            "This checklist is closed: its release has ended.",
            remedy="Propose a new release.",
            code="gates.checklist_closed",
        )


def result_for_update(checklist: Checklist, gate: str) -> GateResult:
    """Return one result; the caller holds the checklist's lock.

    Raises:
        Missing: The checklist does not list the gate.
    """
    found = (
        GateResult.objects.select_related("evidence", "waiver__granted_by")
        .filter(checklist=checklist, gate=gate)
        .first()
    )
    if found is None:
        listed = GateResult.objects.filter(checklist=checklist).order_by("position")
        raise Missing(
            f"This checklist has no gate {gate[:80]!r}.",
            remedy=f"Its gates are: {', '.join(listed.values_list('gate', flat=True))}.",
            field="gate",
            code="gates.not_listed",
        )
    return found


def _subject(version: ModelVersion, told: str) -> str:
    """Return the digest that evidence is about."""
    if version.manifest_digest is None:
        raise Conflict(
            "The version's files are still on their way, so nothing is known of its bytes.",
            remedy="Try again in a few seconds.",
            code="evidence.no_files_yet",
        )
    bundles = version.variants.exclude(bundle_digest="").values_list("bundle_digest", flat=True)
    known = [version.manifest_digest, *bundles, version.dataset_digest]
    if not told:
        return version.manifest_digest
    if told not in known:
        raise Invalid(
            f"{told[:80]!r} is not a digest of this version.",
            remedy=f"Leave it out for the version's manifest, {version.manifest_digest}.",
            field="subject",
            code="evidence.other_bytes",
        )
    return told


def _files(files: Sequence[FileEntry]) -> list[dict[str, Any]]:
    if len(files) > sent.MOST_FILES:
        raise Invalid(
            f"{len(files)} files were sent; at most {sent.MOST_FILES} are kept.",
            remedy="Send an archive.",
            field="files",
            code="evidence.malformed",
        )
    for entry in files:
        if not blobs.exists(entry.sha256):
            raise Missing(
                f"The file {entry.path} is not in the store.",
                remedy="Send its bytes first.",
                field="files",
                code="evidence.no_such_file",
            )
    return [{"name": f.path, "sha256": f.sha256, "size": f.size} for f in files]


def _wake(version: ModelVersion, key: str, *, of_its_model: bool = False) -> None:
    """Have open checklists of the version, or of all of its model, look at what came."""
    about = [key, selectors.SCORE] if key in mltest.KEYS else [key]
    results = GateResult.objects.filter(gate__in=about, checklist__closed_at=None)
    if of_its_model:
        results = results.filter(checklist__version__model=version.model_id)
    else:
        results = results.filter(checklist__version=version)
    now = SystemClock().now()
    for pk in sorted(set(results.values_list("checklist_id", flat=True))):
        with commanding(Checklist, pk, now=now):
            results.filter(checklist_id=pk).update(due_at=now)
        nudge(KIND, pk)


def _tell(actor: Actor, made: Evidence, version: ModelVersion) -> None:
    named = catalogue.CATALOGUE.get(made.key)
    audit.record(
        actor=actor,
        verb="gates.evidence.record",
        target=f"evidence/{made.public_id}",
        subject=f"{named.title if named else mltest.BY_KEY[made.key].title}: "
        f"{version.model.name} v{version.number}",
        after={"key": made.key, "verdict": made.verdict, "digest": made.digest},
    )
    announce(f"version/{version.public_id}")
