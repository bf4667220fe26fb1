"""Taking in versions whose bytes lie in MLflow.

Two steps, because the second one needs the network. `adopt` (or `register_run`) notes that
there is such a version, inside the request that made it; a worker then fetches the files
and calls `complete_adoption`, or `fail_adoption` when they are gone.
"""

from collections.abc import Mapping, Sequence
from dataclasses import replace

from django.db import transaction

from apps.accounts.domain import access
from apps.audit import services as audit
from apps.registry import selectors
from apps.registry.domain.details import Details
from apps.registry.domain.inspected import Inspected
from apps.registry.domain.kinds import MirrorState
from apps.registry.models import ModelVersion, RegisteredModel
from apps.registry.services import drafts, versions
from apps.registry.services.models import create_model, home_team
from apps.registry.services.registration import Registered
from controlplane.db.live import announce
from controlplane.kernel import digests
from controlplane.kernel.actor import Actor
from controlplane.kernel.digests import FileEntry
from controlplane.kernel.errors import Conflict


def adopt(
    *,
    actor: Actor,
    model: str,
    number: int,
    run_id: str = "",
    source: str = "",
    description: str = "",
    tags: Mapping[str, str] | None = None,
    registered_by: str = "",
    team: str = "",
) -> Registered:
    """Note a version that MLflow has numbered itself; its files are read later.

    The model is created when we do not have it yet. Adopting the same number again answers
    with the row there is (`created` is False), so the door and the discovering worker may both
    see one version. Our own numbers stay ahead: `next_number` becomes at least `number` + 1.

    Args:
        actor: Who registered it: the token at the door, or the discovering worker.
        model: The registered model's name, as in MLflow.
        number: The version's number in MLflow.
        run_id: The run that made it, when it names one.
        source: Where MLflow says its files lie ("models:/m-...", "mlflow-artifacts:/...").
        description: As written in MLflow.
        tags: As written in MLflow.
        registered_by: Whom to name instead of the actor.
        team: The slug of the team that a new model belongs to; "" for the actor's own.

    Raises:
        Conflict: That number is one of ours that MLflow does not have yet; the code is
            `registry.number_taken`. Mirror first, then let MLflow number.
        Invalid: The model's name is not allowed here.
        Denied: The actor may not register in that model.
    """
    details = Details(
        description=description[:100_000],
        tags={str(k)[:250]: str(v)[:8_000] for k, v in (tags or {}).items()},
        run_id=run_id[:64],
        source=source[:500],
    )
    _have_model(actor, model, team)
    with transaction.atomic():
        row = selectors.model_for_update(actor, model)
        access.require(actor, "registry.version.register", team=row.team.slug)
        existing = ModelVersion.objects.filter(model=row, number=number).first()
        if existing is not None:
            existing.model = row
            _refuse_unmirrored(existing)
            return Registered(existing, created=False)
        version = drafts.insert_adopted(
            actor=actor, model=row, number=number, registered_by=registered_by, details=details
        )
    return Registered(version, created=True)


def complete_adoption(
    *,
    actor: Actor,
    version_id: int,
    files: Sequence[FileEntry],
    inspected: Inspected,
    details: Details | None = None,
    mirror_state: MirrorState = MirrorState.MIRRORED,
) -> ModelVersion:
    """Record the files of an adopted version: manifest, digest, signature, facts.

    Call it when the bytes are in the blob store (`blobs.put_folder`) and were looked at
    (`inspection.inspect_folder`). A version that is no longer "adopting" is left as it is, so
    two workers may do this without harm. The same bytes under another number of this model
    are kept, and `duplicate_of` names the earlier version.

    Args:
        actor: The worker.
        version_id: The row.
        files: The manifest; every blob exists.
        inspected: What the files say.
        details: What the run says: metrics, params, tags, commit, dataset. Only what the row
            does not say yet is taken.
        mirror_state: MIRRORED when MLflow has this number, PENDING when it still has to get it.
    """
    with transaction.atomic():
        # The model first, as every verb that takes both locks: the other order may deadlock.
        RegisteredModel.objects.select_for_update(no_key=True).get(versions=version_id)
        version = versions.lock(version_id)
        access.require(actor, "registry.version.register", team=version.model.team.slug)
        if version.mirror_state != MirrorState.ADOPTING and version.manifest_digest:
            return version
        digest = digests.of_manifest(files)
        twin = selectors.version_with_digest(version.model_id, digest)
        changed = {
            **drafts.columns_of(inspected),
            **_unsaid(version, details, inspected),
            "manifest_digest": digest,
            "duplicate_of": twin.number if twin is not None else None,
            "size": sum(file.size for file in files),
            "mirror_state": mirror_state,
            "mirror_problem": "",
        }
        for field, value in changed.items():
            setattr(version, field, value)
        version.save(update_fields=[*changed, "changed_at"])
        drafts.insert_files([(version, file) for file in files])
        _record(actor, "registry.version.adopt", version, after={
            "digest": digest, "format": version.format, "size": version.size,
            "duplicate_of": version.duplicate_of,
        })  # fmt: skip
        announce("home")
    return version


def fail_adoption(*, actor: Actor, version_id: int, problem: str) -> ModelVersion:
    """Record why the files of an adopted version cannot be read, for its page to say."""
    with transaction.atomic():
        version = versions.lock(version_id)
        access.require(actor, "registry.version.register", team=version.model.team.slug)
        version.mirror_state, version.mirror_problem = MirrorState.FAILED, problem[:500]
        version.save(update_fields=["mirror_state", "mirror_problem", "changed_at"])
        _record(actor, "registry.version.adopt", version, after={"problem": problem[:500]})
    return version


def _have_model(actor: Actor, model: str, team: str) -> None:
    if RegisteredModel.objects.filter(name=model).exists():
        return
    try:
        create_model(actor=actor, name=model, team=team or home_team(actor))
    except Conflict:
        # Somebody else adopted its first version at the same moment; other capitals are an error.
        if not RegisteredModel.objects.filter(name=model).exists():
            raise


def _refuse_unmirrored(version: ModelVersion) -> None:
    ours = version.manifest_digest is not None and version.mirror_state in (
        MirrorState.PENDING,
        MirrorState.FAILED,
    )
    if ours and version.source == "" and version.door != "mlflow":
        raise Conflict(
            f"Version {version.number} of {version.model.name} is taken by a version that "
            "MLflow does not have yet.",
            remedy="Try again in a few seconds, when it has been mirrored.",
            code="registry.number_taken",
        )


def _unsaid(
    version: ModelVersion, details: Details | None, inspected: Inspected
) -> dict[str, object]:
    given = replace(details or Details(), run_id=(details or Details()).run_id or inspected.run_id)
    found: dict[str, object] = {}
    for field in given.__dataclass_fields__:
        said, new = getattr(version, field), getattr(given, field)
        if isinstance(said, dict) and new:
            found[field] = {**new, **said}
        elif new and not said:
            found[field] = new
    return found


def _record(actor: Actor, verb: str, version: ModelVersion, *, after: dict[str, object]) -> None:
    target = f"version/{version.public_id}"
    audit.record(
        actor=actor,
        verb=verb,
        target=target,
        subject=f"{version.model.name} v{version.number}",
        after=after,
    )
    announce(target)
    announce(f"model/{version.model.public_id}")
