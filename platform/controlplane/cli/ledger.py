"""`modelyard audit verify`: is this export of the ledger whole? Needs the file and the key only.

Nothing here asks the server: whoever checks the ledger should not have to trust it.
"""

import sys
from collections.abc import Iterable, Iterator
from dataclasses import asdict
from pathlib import Path
from typing import Any

import click

from apps.audit.domain import signing
from apps.audit.domain.verifying.checkpoints import known_checkpoints
from apps.audit.domain.verifying.findings import Report
from apps.audit.domain.verifying.verifier import Verifier
from controlplane.cli.output import note, show

BROKEN = 1
ENOUGH = 20  # findings that a person reads
SEGMENTS = "events-*.jsonl"
READABLE = click.Path(exists=True, path_type=Path)
FILE = click.Path(exists=True, dir_okay=False, path_type=Path)


@click.group()
def audit() -> None:
    """Check exports of the audit ledger."""


@audit.command()
@click.argument("files", nargs=-1, required=True, type=READABLE)
@click.option(
    "--key", "keys", multiple=True, type=FILE, help="The ledger's public key; see /audit."
)
@click.option(
    "--checkpoints", type=FILE, help="Checkpoints kept elsewhere, which FILES must agree with."
)
@click.pass_obj
def verify(
    obj: dict[str, Any], files: tuple[Path, ...], keys: tuple[Path, ...], checkpoints: Path | None
) -> None:
    """Say whether FILES (an export, or a folder of segments) are whole, and if not, where.

    Exit code 0: whole. 1: something was changed, or a signature is not the key's.
    """
    try:
        ring = signing.keyring(path.read_bytes() for path in keys)
        known = _known(checkpoints, ring)
    except ValueError as error:
        raise click.UsageError(str(error)) from error
    report = check(_segments(files), ring, known)
    if obj["json"]:
        show({**asdict(report), "whole": report.whole}, as_json=True)
    else:
        _tell(report)
    sys.exit(0 if report.whole else BROKEN)


def check(
    files: Iterable[Path], keys: signing.Keys, known: dict[int, str] | None = None
) -> Report:
    """Read the files in their order, and return what was found."""
    verifier = Verifier(keys, known)
    for path in files:
        with path.open("rb") as stream:
            verifier.read(str(path), stream)
    return verifier.report()


def _segments(files: tuple[Path, ...]) -> Iterator[Path]:
    for path in files:
        if not path.is_dir():
            yield path
            continue
        inside = sorted(path.glob(SEGMENTS))
        if not inside:
            raise click.UsageError(f"{path} holds no segments ({SEGMENTS}).")
        yield from inside


def _known(path: Path | None, ring: signing.Keys) -> dict[int, str]:
    if path is None:
        return {}
    with path.open("rb") as stream:
        return known_checkpoints(stream, ring)


def _tell(report: Report) -> None:
    for finding in report.findings[:ENOUGH]:
        where = f"{finding.file}:{finding.line}: " if finding.line else ""
        note(f"{where}{finding.sentence} ({finding.kind})")
    if len(report.findings) > ENOUGH:
        note(f"... and {len(report.findings) - ENOUGH:,} more.")
    for remark in report.remarks:
        note(remark)
    if not report.trusted:
        note("No signature was checked: give the ledger's public key with --key.")
    print(_sentence(report))


def _sentence(report: Report) -> str:
    if report.findings:
        places = [f.position for f in report.findings if f.position is not None]
        where = f", first at #{min(places):,}" if places else ""
        return f"NOT WHOLE{where}."
    if not report.events:
        return "Whole: it holds no event."
    span = f"#{report.first:,} to #{report.last:,}" if report.last else "none of them sealed yet"
    signed = (
        f" The last of {report.checkpoints:,} checkpoints was signed at "
        f"#{report.signed_through:,}, {report.signed_at}."
        if report.signed_through
        else ""
    )
    return f"Whole: {report.events:,} events, {span}.{signed}"
