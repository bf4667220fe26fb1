"""Registering many versions of one model by one transaction.

Whoever registers holds the model's lock until the disk has the commit, so one after another
registers no faster than a disk writes. Registrations that wait for the same model share a
transaction here: one lock, one read of each kind, one commit.

Only what is certain to succeed is done. Every other candidate comes back as None and is for
`register_version` to register alone, or to refuse with the reason.
"""

from collections.abc import Sequence
from dataclasses import dataclass

from django.db import transaction

from apps.accounts.domain import access
from apps.registry import numbering, selectors
from apps.registry.domain.details import Details
from apps.registry.domain.kinds import Door
from apps.registry.models import ModelVersion, RegisteredModel, Upload
from apps.registry.services import staging
from apps.registry.services.drafts import Draft, insert_all
from controlplane.kernel.actor import Actor
from controlplane.kernel.errors import ControlPlaneError


@dataclass(frozen=True)
class Candidate:
    """One registration that waits for others of its model.

    Attributes:
        actor: Who registers.
        upload: The public id of one finished upload.
        details: What was said about the version.
        request_id: Of the request; the ledger keeps it.
    """

    actor: Actor
    upload: str
    details: Details
    request_id: str = ""


@dataclass(frozen=True)
class _Staged:
    at: int
    upload: Upload
    draft: Draft


def register_together(*, model: str, candidates: Sequence[Candidate]) -> list[ModelVersion | None]:
    """Register candidates as the next versions of `model`, in their order.

    1. Read the uploads and what they hold, outside any transaction.
    2. Under the model's lock, leave out whoever may not, and bytes that are registered already.
    3. Insert the rest, each with its files and its ledger entry, and settle their uploads.

    Returns:
        A version for each candidate; None for those to be registered alone.
    """
    answers: list[ModelVersion | None] = [None] * len(candidates)
    staged = _stage(candidates)
    if not staged:
        return answers
    with transaction.atomic():
        numbering.hold(model)
        row = selectors.model_to_extend(model)
        if row is None:
            return answers
        new = _new(row, staged)
        if new:
            versions = insert_all(row, [s.draft for s in new], first_number=row.next_number)
            staging.settle([s.upload for s in new])
            for candidate, version in zip(new, versions, strict=True):
                answers[candidate.at] = version
    return answers


def _stage(candidates: Sequence[Candidate]) -> list[_Staged]:
    uploads = selectors.uploads_by_id([candidate.upload for candidate in candidates])
    staged = []
    for at, candidate in enumerate(candidates):
        upload = uploads.get(candidate.upload)
        person = candidate.actor.person_id
        if upload is None or person is None or upload.owner_id != person:
            continue
        try:
            found = staging.stage([(upload, "")])
        except ControlPlaneError:
            continue
        draft = Draft.of_files(
            candidate.actor, found.files, found.inspected, candidate.details, Door.REST,
            request_id=candidate.request_id,
        )  # fmt: skip
        staged.append(_Staged(at, upload, draft))
    return staged


def _new(model: RegisteredModel, staged: Sequence[_Staged]) -> list[_Staged]:
    """Return those whose actor may register, the first of each set of bytes, none known before."""
    known = selectors.known_digests(model.pk, [s.draft.digest for s in staged])
    new = []
    for candidate in staged:
        actor, digest = candidate.draft.actor, candidate.draft.digest
        allowed = access.allows(actor, "registry.version.register", team=model.team.slug)
        if allowed and digest not in known:
            known.add(digest)
            new.append(candidate)
    return new
