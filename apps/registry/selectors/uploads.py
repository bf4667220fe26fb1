"""Uploads: each belongs to whoever began it."""

from collections.abc import Sequence

from apps.accounts.domain import access
from apps.registry.models import Upload
from controlplane.kernel.actor import Actor, ActorKind
from controlplane.kernel.errors import Missing


def uploads_by_id(public_ids: Sequence[str]) -> dict[str, Upload]:
    """Return uploads by their public ids; the caller checks whose they are."""
    rows = Upload.objects.filter(public_id__in=public_ids)
    return {row.public_id: row for row in rows}


def upload(actor: Actor, public_id: str) -> Upload:
    """Return one upload of the actor's own.

    Raises:
        Missing: There is none.
    """
    access.require(actor, "registry.read")
    row = Upload.objects.filter(public_id=public_id).first()
    mine = row is not None and (
        actor.kind is ActorKind.WORKER
        or (actor.person_id is not None and row.owner_id == actor.person_id)
    )
    if row is None or not mine:
        raise Missing(
            f"There is no upload {public_id[:20]!r} of yours.",
            remedy="Begin one with POST /api/v1/uploads.",
            field="upload",
            code="upload.missing",
        )
    return row
