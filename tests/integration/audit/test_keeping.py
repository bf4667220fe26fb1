"""From events to files that an outsider verifies, and to what the self-check finds."""

import json
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner, Result
from django.db import DatabaseError, connection, transaction
from django.test import override_settings

from apps.audit import (
    archive,
    checking,
    checkpoints,
    exporting,
    keys,
    sealing,
    segments,
    selectors,
)
from apps.audit.models import AuditEvent, Checkpoint, Seal, Segment
from apps.audit.selectors import Search
from apps.audit.services import record
from apps.notifications.models import Notification
from controlplane.cli.main import main
from controlplane.kernel.actor import worker
from tests import factories
from workers import ledger

pytestmark = pytest.mark.django_db
NOW = datetime(2026, 11, 22, 20, 2, tzinfo=UTC)


@pytest.fixture(autouse=True)
def folder(tmp_path: Path) -> Iterator[Path]:
    with override_settings(
        LEDGER_KEY=tmp_path / "secrets" / "ledger-key", LEDGER_FOLDER=tmp_path / "ledger"
    ):
        yield tmp_path / "ledger"


def write(count: int, *, at: datetime = NOW, name: str = "tests") -> None:
    with transaction.atomic():
        for n in range(count):
            event = record(
                actor=worker(name),
                verb="registry.model.edit",
                target="model/x",
                subject=f"ü{n}",
                after={"n": n, "é": 1e-7},
            )
            tamper("UPDATE audit_auditevent SET at = %s WHERE id = %s", at, event.pk)


def tamper(statement: str, *values: object, table: str = "audit_auditevent") -> None:
    """Do what somebody can who owns the database."""
    with connection.cursor() as cursor:
        cursor.execute(f"ALTER TABLE {table} DISABLE TRIGGER USER")
        cursor.execute(statement, values)
        cursor.execute(f"ALTER TABLE {table} ENABLE TRIGGER USER")


def verify(*files: Path, json_too: bool = False, **options: Path) -> Result:
    given = [f"--{name}={path}" for name, path in options.items()]
    before = ["--json"] if json_too else []
    return CliRunner().invoke(main, [*before, "audit", "verify", *map(str, files), *given])


def exported(folder: Path, lines: Iterator[bytes]) -> Path:
    path = folder.parent / "export.jsonl"
    path.write_bytes(b"".join(lines))
    return path


def whole(folder: Path) -> Path:
    return exported(folder, exporting.whole(signer=keys.signer(), at=NOW))


def public_key(folder: Path) -> Path:
    path = folder.parent / "ledger.pub"
    path.write_bytes(keys.signer().public_pem())
    return path


def test_a_pass_writes_what_an_outsider_verifies_with_the_key_alone(folder: Path) -> None:
    for hour in range(5):
        write(4, at=NOW + timedelta(hours=hour))
        sealing.seal()
        ledger.keep(NOW + timedelta(hours=hour))
        ledger.keep(NOW + timedelta(hours=hour, minutes=1))
    ledger.keep(NOW + timedelta(hours=6))
    names = sorted(path.name for path in folder.iterdir())
    key = next(folder.glob("*.pub"))
    assert names == [
        "checkpoints.jsonl", "events-000000000001.jsonl", "events-000000000009.jsonl",
        "events-000000000017.jsonl", key.name,
    ]  # fmt: skip
    told = verify(folder, key=key, checkpoints=folder / "checkpoints.jsonl")
    assert told.exit_code == 0, told.output
    assert (
        "Whole: 20 events, #1 to #20. The last of 5 checkpoints was signed at #20" in told.stdout
    )
    (folder / "events-000000000009.jsonl").unlink()
    told = verify(folder, key=key)
    assert (told.exit_code, told.stdout) == (1, "NOT WHOLE, first at #9.\n")
    assert "#9 to #16 are missing" in told.stderr


def test_an_event_that_was_changed_in_the_database_shows_in_the_export(folder: Path) -> None:
    write(5)
    sealing.seal()
    checkpoints.checkpoint(signer=keys.signer(), now=NOW)
    assert verify(whole(folder), key=public_key(folder)).exit_code == 0
    victim = Seal.objects.get(position=3).event_id
    tamper("UPDATE audit_auditevent SET actor_name = 'eve' WHERE id = %s", victim)
    told = verify(whole(folder), key=public_key(folder))
    assert (told.exit_code, told.stdout) == (1, "NOT WHOLE, first at #3.\n")
    tamper("DELETE FROM audit_auditevent WHERE id = %s", victim)
    assert "#3 is missing" in verify(whole(folder), key=public_key(folder)).stderr


def test_the_command_tells_a_program_and_refuses_what_is_no_key(folder: Path) -> None:
    write(2)
    sealing.seal()
    path = whole(folder)
    answer = json.loads(verify(path, json_too=True).stdout)
    assert (answer["whole"], answer["events"], answer["trusted"]) == (True, 2, False)
    told = verify(path)
    assert (told.exit_code, "No signature was checked" in told.stderr) == (0, True)
    assert verify(path, key=path).exit_code == 2
    assert verify(path, checkpoints=path).exit_code == 2
    assert verify(folder.parent / "secrets").exit_code == 2
    assert verify(folder / "nowhere").exit_code == 2


def test_a_search_is_exported_with_what_is_not_sealed_yet(folder: Path) -> None:
    write(3, name="ada")
    write(2, name="bob")
    sealing.seal()
    write(1, name="ada")
    search = Search(actor="worker:ada", since=NOW - timedelta(days=1))
    path = exported(folder, exporting.selection(signer=keys.signer(), at=NOW, search=search))
    rows = [json.loads(line) for line in path.read_text().splitlines()]
    assert rows[0]["export"]["selection"] == {
        "actor": "worker:ada", "since": "2026-11-21T20:02:00.000000Z",
    }  # fmt: skip
    assert [r["position"] for r in rows[1:-1]] == [1, 2, 3, None]
    assert verify(path, key=public_key(folder)).exit_code == 0
    path.write_bytes(path.read_bytes().replace(b"\\u00fc1", b"\\u00fd1"))
    assert verify(path, key=public_key(folder)).exit_code == 1


def test_a_table_is_safe_in_a_spreadsheet() -> None:
    with transaction.atomic():
        record(actor=worker("x"), verb="a.b", target="t/1", subject="=HYPERLINK(1)", reason='a,"b')
    sealing.seal()
    rows = b"".join(exporting.table(search=Search())).decode().split("\r\n")
    assert rows[0].startswith("position,id,at,actor_kind")
    assert ",'=HYPERLINK(1)," in rows[1]
    assert ',"a,""b",' in rows[1]
    assert rows[2:] == [""]


def test_an_export_reads_in_chunks_and_is_whole_over_their_edges(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(exporting, "CHUNK", 3)
    for n in (3, 2, 4):
        write(n)
        sealing.seal()
        checkpoints.checkpoint(signer=keys.signer(), now=NOW + timedelta(hours=n))
    answer = json.loads(verify(whole(folder), key=public_key(folder), json_too=True).stdout)
    assert (answer["whole"], answer["events"]) == (True, 9)
    found = exported(folder, exporting.selection(signer=keys.signer(), at=NOW, search=Search()))
    assert json.loads(verify(found, json_too=True).stdout)["events"] == 9


def test_a_long_chain_gets_several_checkpoints_and_small_segments(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(checkpoints, "MOST_EVENTS", 4)
    monkeypatch.setattr(checkpoints, "SOON", 4)
    monkeypatch.setattr(segments, "MOST_EVENTS", 4)
    write(10)
    sealing.seal()
    assert checkpoints.checkpoint(signer=keys.signer(), now=NOW) == 2  # two more wait their time
    later = NOW + timedelta(hours=2)
    assert checkpoints.checkpoint(signer=keys.signer(), now=later) == 1
    while segments.write_due(folder, signer=keys.signer(), now=later + timedelta(hours=2)):
        pass
    spans = list(Segment.objects.order_by("first").values_list("first", "last"))
    assert spans == [(1, 4), (5, 8), (9, 10)]
    assert verify(folder, key=public_key(folder)).exit_code == 0


def test_the_file_of_checkpoints_is_mended_after_a_crash(folder: Path) -> None:
    for n in range(3):
        write(1)
        sealing.seal()
        checkpoints.checkpoint(signer=keys.signer(), now=NOW + timedelta(hours=n))
    checkpoints.write_out(folder, keys.signer())
    path = folder / archive.CHECKPOINTS
    content = path.read_bytes()
    path.write_bytes(content[: content.index(b"\n") + 30])  # one line, and a torn one
    checkpoints.write_out(folder, keys.signer())
    assert path.read_bytes() == content
    checkpoints.write_out(folder, keys.signer())
    assert path.read_bytes() == content


def kept(folder: Path, *, days: int) -> None:
    """Seal, sign and carry out ten events that are `days` old, and one of today."""
    then = NOW - timedelta(days=days)
    write(10, at=then)
    sealing.seal()
    ledger.keep(then)
    ledger.keep(then + timedelta(hours=2))
    write(1)
    sealing.seal()
    ledger.keep(NOW)


def test_what_is_old_leaves_once_it_lies_elsewhere_and_the_chain_goes_on(folder: Path) -> None:
    kept(folder, days=400)
    assert segments.drop_expired(folder, days=401, now=NOW) == 0
    assert segments.drop_expired(folder, days=365, now=NOW) == 10
    dropped = AuditEvent.objects.get(verb="audit.drop")
    assert dropped.after["last"] == 10
    assert AuditEvent.objects.count() == Seal.objects.count() + 1 == 2
    sealing.seal()
    ledger.keep(NOW + timedelta(hours=2))
    assert checking.check(folder, now=NOW).problem == ""
    told = verify(whole(folder), key=public_key(folder))
    assert (told.exit_code, "begins at #11" in told.stderr) == (0, True)
    ledger.keep(NOW + timedelta(hours=4))
    answer = json.loads(verify(folder, key=public_key(folder), json_too=True).stdout)
    assert (answer["whole"], answer["first"], answer["last"]) == (True, 1, 12)
    assert segments.drop_expired(folder, days=365, now=NOW + timedelta(hours=5)) == 0


def test_what_is_not_carried_out_or_was_changed_there_stays(folder: Path) -> None:
    kept(folder, days=400)
    segment = folder / Segment.objects.get().name
    segment.write_bytes(segment.read_bytes()[:-1])
    assert segments.drop_expired(folder, days=365, now=NOW) == 0
    segment.unlink()
    assert segments.drop_expired(folder, days=365, now=NOW) == 0
    assert AuditEvent.objects.count() == 11


@pytest.mark.parametrize(("days", "refused"), [(100, True), (400, False)])
def test_the_database_itself_keeps_what_is_younger_than_six_months(
    folder: Path, days: int, refused: bool
) -> None:
    now = datetime.now(UTC)  # the trigger's clock is the database's
    then = now - timedelta(days=days)
    write(3, at=then)
    sealing.seal()
    ledger.keep(then)
    ledger.keep(then + timedelta(hours=2))
    write(1)
    sealing.seal()
    if refused:
        with pytest.raises(DatabaseError, match="stays"), transaction.atomic():
            segments.drop_expired(folder, days=1, now=now)
    else:
        assert segments.drop_expired(folder, days=1, now=now) == 3


def test_a_pass_drops_nothing_unless_it_was_told_to(folder: Path) -> None:
    kept(folder, days=400)
    ledger.keep(NOW)
    assert AuditEvent.objects.count() == 11
    with override_settings(AUDIT_DAYS=183):
        ledger.keep(NOW)
    assert AuditEvent.objects.filter(verb="audit.drop").exists()


TAMPERED: dict[str, tuple[str, str, Any]] = {
    "an edited event": (
        "UPDATE audit_auditevent SET after = '{}' WHERE subject = 'ü2'", "audit_auditevent", 3),
    "a removed event": (
        "DELETE FROM audit_auditevent WHERE subject = 'ü4'", "audit_auditevent", 5),
    "a removed seal": ("DELETE FROM audit_seal WHERE position = 4", "audit_seal", 4),
    "a changed seal": (
        "UPDATE audit_seal SET previous = repeat('a', 64) WHERE position = 2", "audit_seal", 2),
    "a chain that was cut": ("DELETE FROM audit_seal WHERE position > 6", "audit_seal", 7),
    "two events that changed places": (
        "UPDATE audit_seal SET event_id = (SELECT sum(event_id) FROM audit_seal WHERE position IN "
        "(2, 3)) - event_id WHERE position IN (2, 3)", "audit_seal", 2),
    "another hash in a checkpoint": (
        "UPDATE audit_checkpoint SET hash = repeat('b', 64)", "audit_checkpoint", 8),
    "a removed checkpoint": ("DELETE FROM audit_checkpoint", "audit_checkpoint", 8),
}  # fmt: skip


@pytest.mark.parametrize(("statement", "table", "position"), TAMPERED.values(), ids=TAMPERED)
def test_the_self_check_finds_what_was_changed_in_the_database(
    folder: Path, statement: str, table: str, position: int
) -> None:
    write(8)
    sealing.seal()
    ledger.keep(NOW)
    assert selectors.health(now=NOW).state == "whole"
    if "sum(event_id)" in statement:  # unique: by way of a place that is free
        statement = (
            "UPDATE audit_seal SET event_id = -event_id WHERE position = 2; "
            "UPDATE audit_seal SET event_id = event_id - 1 WHERE position = 3; "
            "UPDATE audit_seal SET event_id = -event_id + 1 WHERE position = 2"
        )
    tamper(statement, table=table)
    checking.check(folder, now=NOW + timedelta(minutes=1))
    found = selectors.health(now=NOW + timedelta(minutes=2))
    assert (found.state, found.broken_at) == ("broken", position)
    assert found.broken_since == NOW + timedelta(minutes=1)
    checking.check(folder, now=NOW + timedelta(minutes=3))
    assert selectors.health(now=NOW).broken_since == NOW + timedelta(minutes=1)


def test_a_chain_that_was_made_anew_is_found_by_its_checkpoint(folder: Path) -> None:
    write(8)
    sealing.seal()
    ledger.keep(NOW)
    tamper("UPDATE audit_auditevent SET actor_name = 'eve' WHERE subject = 'ü2'")
    tamper("DELETE FROM audit_seal", table="audit_seal")
    assert sealing.seal() == 8
    found = checking.check(folder, now=NOW)
    assert (found.broken_at, "Checkpoint 1" in found.problem) == (8, True)
    seal = Seal.objects.get(position=8)
    tamper("UPDATE audit_checkpoint SET hash = %s", seal.hash, table="audit_checkpoint")
    assert checking.check(folder, now=NOW).broken_at == 8
    line = Checkpoint.objects.get().line
    forged = line.replace(json.loads(line)["checkpoint"]["hash"], seal.hash)
    tamper("UPDATE audit_checkpoint SET line = %s", forged, table="audit_checkpoint")
    assert checking.check(folder, now=NOW).broken_at == 8


def test_admins_of_the_whole_house_are_told_once_of_a_break(folder: Path) -> None:
    ada = factories.person(username="ada", role="admin")
    factories.grant(person=factories.person(), role="admin", team=factories.team(slug="fraud"))
    factories.person(role="operator")
    write(3)
    sealing.seal()
    ledger.keep(NOW)
    assert not Notification.objects.exists()
    tamper("UPDATE audit_auditevent SET reason = 'x' WHERE subject = 'ü1'")
    for minute in range(3):
        ledger.keep(NOW + timedelta(minutes=minute))
    told = Notification.objects.get()
    assert (told.person, told.kind, told.link) == (ada, "ledger.broken", "/audit")
    assert told.title == "The ledger was changed at #2"


def test_a_break_that_is_mended_is_no_longer_told(folder: Path) -> None:
    write(3)
    sealing.seal()
    ledger.keep(NOW)
    tamper("UPDATE audit_auditevent SET reason = 'x' WHERE subject = 'ü1'")
    assert checking.check(folder, now=NOW).broken_at == 2
    tamper("UPDATE audit_auditevent SET reason = '' WHERE subject = 'ü1'")
    assert checking.check(folder, now=NOW).broken_at is None
    assert selectors.health(now=NOW).state == "whole"


def test_the_self_check_goes_on_where_it_was_and_begins_again(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(checking, "SLICE", 4)
    monkeypatch.setattr(checking, "CHUNK", 2)
    write(7)
    sealing.seal()
    assert checking.check(folder, now=NOW).through == 4
    done = checking.check(folder, now=NOW)
    assert (done.through, done.whole_at) == (0, NOW)


def test_events_that_wait_for_their_seal_are_told_of(folder: Path) -> None:
    assert selectors.health(now=NOW).state == "empty"
    write(2)
    fresh = selectors.health(now=NOW)
    assert (fresh.state, fresh.waiting, fresh.position) == ("whole", 2, 0)
    later = selectors.health(now=NOW + timedelta(minutes=2))
    assert (later.state, later.waiting_since) == ("behind", NOW)
