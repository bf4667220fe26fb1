"""Exports of the ledger made by hand, for tests of whoever reads them."""

import json
from hashlib import sha256
from typing import Any

from apps.audit.domain import chain, signing

SIGNER = signing.Signer(b"k" * 32)
KEYS = signing.keyring([SIGNER.public_pem()])
AT = "2026-11-22T20:00:00.000000Z"
EVERY = 4  # events between checkpoints


def an_event(n: int) -> dict[str, Any]:
    return {
        "id": 100 + n, "at": AT, "actor_kind": "person", "actor_name": "ada",
        "verb": "registry.model.edit", "target": "model/x", "subject": f"€ {n}",
        "before": {"tolerance": 0.1}, "after": {"tolerance": 0.2 + n}, "reason": "",
        "request_id": "",
    }  # fmt: skip


def chained(events: list[dict[str, Any]], link: chain.Link = chain.START) -> list[bytes]:
    lines = []
    for event in events:
        lines.append(chain.event_line(event, link.position + 1, link.hash))
        link = chain.after(link, event)
    return lines


def checkpoint(number: int, event_line: bytes, before: bytes | None) -> bytes:
    row = json.loads(event_line)
    return SIGNER.line(
        "checkpoint",
        {
            "at": AT,
            "hash": row["hash"],
            "number": number,
            "position": row["position"],
            "previous": chain.digest_of(before) if before else chain.GENESIS,
        },
    )


def body(count: int) -> list[bytes]:
    lines: list[bytes] = []
    last: bytes | None = None
    for n, line in enumerate(chained([an_event(n) for n in range(count)]), start=1):
        lines.append(line)
        if n % EVERY == 0 or n == count:
            last = checkpoint(-(-n // EVERY), line, last)
            lines.append(last)
    return lines


def framed(lines: list[bytes], *, selection: Any = None, signer: Any = SIGNER) -> list[bytes]:
    rows = [json.loads(line) for line in lines]
    places = [r["position"] for r in rows if "event" in r and r["position"]]
    said = {"at": AT, "format": 1, "id": "x", "selection": selection}
    head = signer.line("export", {**said, "first": places[0] if places else None})
    digest = sha256(b"".join(line + b"\n" for line in [head, *lines])).hexdigest()
    end = signer.line(
        "end",
        {
            "count": sum("event" in r for r in rows),
            "digest": digest,
            "first": places[0] if places else None,
            "id": "x",
            "last": places[-1] if places else None,
        },
    )
    return [head, *lines, end]


def event_lines(lines: list[bytes]) -> dict[int, int]:
    """Where each position stands in `lines`."""
    rows = [json.loads(line) for line in lines]
    return {row["position"]: k for k, row in enumerate(rows) if "event" in row}


COUNT = 11
EXPORT = framed(body(COUNT))
WHERE = event_lines(EXPORT)
