"""What every way in ends with: rows of versions, their files, their entries in the ledger."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime
from typing import Any

import structlog
from django.db.models import F

from apps.audit import services as audit
from apps.registry.domain.details import Details
from apps.registry.domain.inspected import Inspected
from apps.registry.domain.kinds import Door, MirrorState
from apps.registry.models import ModelVersion, RegisteredModel, VersionFile
from controlplane.db.live import announce_all
from controlplane.db.nudge import nudge
from controlplane.kernel import digests
from controlplane.kernel.actor import Actor
from controlplane.kernel.clock import SystemClock
from controlplane.kernel.digests import FileEntry


@dataclass(frozen=True)
class Draft:
    """A version before it has a number.

    Attributes:
        actor: Who registers it; the ledger names it.
        door: The way it came in.
        details: What was said about it.
        mirror_state: What MLflow still has to learn, or to give.
        columns: What was read from its files, by column, and who is to be named for it.
        files: Its manifest; their bytes are in the blob store. Empty while they are unread.
        request_id: Of the request that asked, where that is not the one being answered.
    """

    actor: Actor
    door: Door
    details: Details
    mirror_state: MirrorState
    columns: Mapping[str, Any] = field(default_factory=dict)
    files: tuple[FileEntry, ...] = ()
    request_id: str = ""

    @classmethod
    def of_files(
        cls, actor: Actor, files: Sequence[FileEntry], inspected: Inspected, details: Details,
        door: Door, *, request_id: str = "",
    ) -> "Draft":  # fmt: skip
        """Return a version to be of files whose bytes are here."""
        return cls(
            actor=actor,
            door=door,
            details=replace(details, run_id=details.run_id or inspected.run_id),
            mirror_state=MirrorState.PENDING,
            columns={
                **columns_of(inspected),
                "manifest_digest": digests.of_manifest(files),
                "size": sum(file.size for file in files),
            },
            files=tuple(files),
            request_id=request_id,
        )

    @property
    def digest(self) -> str:
        """Return the digest of its manifest; "" while its files are unread."""
        return str(self.columns.get("manifest_digest", ""))

    def version(self, model: RegisteredModel, number: int, now: datetime) -> ModelVersion:
        """Return the row, unsaved."""
        return ModelVersion(
            model=model,
            number=number,
            door=self.door,
            mirror_state=self.mirror_state,
            next_reconcile_at=now,
            **{name: getattr(self.details, name) for name in self.details.__dataclass_fields__},
            **{"registered_by": self.actor.name, **self.columns},
        )

    def record(self, version: ModelVersion) -> None:
        """Write the ledger entry of `version`."""
        names = ("number", "door", "format", "size", "source")
        named = {"request_id": self.request_id} if self.request_id else {}
        with structlog.contextvars.bound_contextvars(**named):
            audit.record(
                actor=self.actor,
                verb="registry.version.register",
                target=f"version/{version.public_id}",
                subject=f"{version.model.name} v{version.number}",
                after={
                    **{name: getattr(version, name) for name in names},
                    "digest": version.manifest_digest,
                },
            )


def insert_adopted(
    *, actor: Actor, model: RegisteredModel, number: int, registered_by: str, details: Details
) -> ModelVersion:
    """Insert a version that MLflow has numbered, its bytes still unread.

    The caller holds the model's lock.
    """
    draft = Draft(
        actor=actor,
        door=Door.MLFLOW,
        details=details,
        mirror_state=MirrorState.ADOPTING,
        columns={"registered_by": registered_by or actor.name},
    )
    (version,) = insert_all(model, [draft], first_number=number)
    return version


def insert_all(
    model: RegisteredModel, drafts: Sequence[Draft], *, first_number: int
) -> list[ModelVersion]:
    """Insert versions of one model under consecutive numbers, each with its ledger entry.

    The caller holds the model's lock, and has found out that nothing stands against them.
    """
    now = SystemClock().now()
    numbered = list(enumerate(drafts, start=first_number))
    versions = ModelVersion.objects.bulk_create(
        draft.version(model, number, now) for number, draft in numbered
    )
    insert_files(
        [(v, file) for v, draft in zip(versions, drafts, strict=True) for file in draft.files]
    )
    last = first_number + len(versions) - 1
    RegisteredModel.objects.filter(pk=model.pk).update(
        next_number=max(model.next_number, last + 1),
        latest_number=max(model.latest_number or 0, last),
        version_count=F("version_count") + len(versions),
        changed_at=now,
    )
    for version, draft in zip(versions, drafts, strict=True):
        draft.record(version)
    announce_all(
        ["home", f"model/{model.public_id}", *(f"version/{v.public_id}" for v in versions)]
    )
    # One message is enough: a sweep, at most a second later, finds the others.
    nudge("version", versions[0].pk)
    return versions


def insert_files(files: Sequence[tuple[ModelVersion, FileEntry]]) -> None:
    """Insert the files of manifests, each beside its version."""
    VersionFile.objects.bulk_create(
        VersionFile(version=version, path=f.path, sha256=f.sha256, size=f.size)
        for version, f in files
    )


def columns_of(inspected: Inspected) -> dict[str, Any]:
    """Return what was read from the files, by column."""
    return {
        "format": str(inspected.format),
        "framework": inspected.framework[:80],
        "inputs": inspected.inputs,
        "outputs": inspected.outputs,
        "facts": inspected.facts,
    }
