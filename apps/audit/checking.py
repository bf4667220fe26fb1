"""The self-check: read the chain over again, a part at a time, and say when it does not hold.

1. The checkpoints: the folder's last one is the database's, and the chain reaches the latest.
2. The next events in the order of the chain: each is there, says what was sealed, and follows
   the one before it; where a checkpoint was signed, the hash is the one that was signed.
3. At the end of the chain the next round begins.

What it finds is an observation in one row (`selectors.health` reads it). It stays at a break
until that is mended.
"""

from datetime import datetime
from pathlib import Path

import structlog

from apps.audit import archive, checkpoints, sealing
from apps.audit.domain import chain, signing
from apps.audit.models import AuditEvent, Checkpoint, Seal, SelfCheck
from apps.audit.selectors import event_values

log = structlog.get_logger(__name__)

SLICE = 50_000  # events a pass: about two seconds
CHUNK = 2_000


class Broken(Exception):
    """The chain does not hold.

    Attributes:
        position: Where.
    """

    def __init__(self, position: int, sentence: str) -> None:
        """Say where, and what is wrong there."""
        super().__init__(sentence)
        self.position = position


def check(folder: Path, *, now: datetime) -> SelfCheck:
    """Read the next part of the chain, and note what was found."""
    seen = SelfCheck.objects.filter(pk=1).first() or SelfCheck(pk=1, at=now)
    seen.at = now
    try:
        _check_checkpoints(folder)
        _check_slice(seen, archive.public_keys(folder), now)
    except Broken as broken:
        if seen.broken_at is None:
            seen.broken_since = now
            log.error("ledger.broken", position=broken.position, problem=str(broken))
        seen.broken_at, seen.problem = broken.position, str(broken)
    else:
        if seen.broken_at is not None:
            log.info("ledger.mended", position=seen.broken_at)
        seen.broken_at, seen.broken_since, seen.problem = None, None, ""
    seen.save()
    return seen


def _check_checkpoints(folder: Path) -> None:
    last, end = checkpoints.latest(), sealing.head()
    if last is not None and last.position > end.position:
        raise Broken(
            end.position + 1,
            f"The chain ends at #{end.position:,}, but a checkpoint was signed at "
            f"#{last.position:,}: what lay between was taken out of the database.",
        )
    kept = archive.last_checkpoint(folder)
    if kept is None:
        return
    number, line = kept
    row = Checkpoint.objects.filter(number=number).first()
    if row is None or row.line.encode() != line:
        raise Broken(
            row.position if row else end.position,
            f"Checkpoint {number} in {folder / archive.CHECKPOINTS} is not the one in the "
            "database: one of them was changed.",
        )


def _check_slice(seen: SelfCheck, pems: list[bytes], now: datetime) -> None:
    link, keys = _link_at(seen.through), signing.keyring(pems)
    through = link.position
    for _ in range(SLICE // CHUNK):
        seals = list(Seal.objects.filter(position__gt=through).order_by("position")[:CHUNK])
        if seals:
            link = _check_chunk(link, seals, keys)
        through = link.position
        if len(seals) < CHUNK:
            through, seen.whole_at = 0, now
            break
    seen.through = through


def _link_at(position: int) -> chain.Link:
    """Return where to go on: there, or before the first event that is still in the database."""
    seal = Seal.objects.filter(position=position).first()
    if seal is not None:
        return chain.Link(seal.position, seal.previous, seal.hash)
    first = Seal.objects.order_by("position").first()
    if first is None or first.position == 1:
        return chain.START
    before = Checkpoint.objects.filter(position=first.position - 1).first()
    if before is None:
        raise Broken(
            first.position,
            f"The chain begins at #{first.position:,} and no checkpoint was signed before it: "
            "earlier events were taken out of the database.",
        )
    return chain.Link(before.position, "", before.hash)


def _check_chunk(link: chain.Link, seals: list[Seal], keys: signing.Keys) -> chain.Link:
    events = {e.pk: e for e in AuditEvent.objects.filter(pk__in=[s.event_id for s in seals])}
    last = seals[-1].position
    signed = {
        c.position: c
        for c in Checkpoint.objects.filter(position__gt=link.position, position__lte=last)
    }
    for seal in seals:
        link = _check_one(link, seal, events.get(seal.event_id))
        if link.position in signed:
            _check_signed(signed[link.position], link, keys)
    return link


def _check_one(link: chain.Link, seal: Seal, event: AuditEvent | None) -> chain.Link:
    expected = link.position + 1
    if seal.position != expected:
        raise Broken(expected, f"Nothing stands at #{expected:,}: it was taken out.")
    if event is None:
        raise Broken(expected, f"The event at #{expected:,} was taken out of the database.")
    if seal.previous != link.hash:
        raise Broken(expected, f"#{expected:,} does not follow the event before it.")
    found = chain.after(link, event_values(event))
    if found.hash != seal.hash:
        raise Broken(expected, f"The event at #{expected:,} is not what was sealed.")
    return found


def _check_signed(checkpoint: Checkpoint, link: chain.Link, keys: signing.Keys) -> None:
    if checkpoint.hash != link.hash or not _authentic(checkpoint, keys):
        raise Broken(
            link.position,
            f"Checkpoint {checkpoint.number} was signed for another chain than the one that "
            f"leads to #{link.position:,}.",
        )


def _authentic(checkpoint: Checkpoint, keys: signing.Keys) -> bool:
    """Return whether the line says what the row says, under a signature of one of our keys."""
    cut = chain.cut(checkpoint.line.encode(), chain.SIGNATURE)
    said = f'"hash":"{checkpoint.hash}"'
    if cut is None or said not in checkpoint.line:
        return False
    return any(signing.signed(*cut, key) for key in keys.values())
