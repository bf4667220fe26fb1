"""The page of the ledger says what happened, how much of it is proven, and how to check it."""

import json
from collections.abc import Iterator
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner
from django.db import connection, transaction
from django.test import AsyncClient, Client, override_settings
from django.utils import timezone

from apps.accounts.models import Person
from apps.audit import sealing
from apps.audit.models import AuditEvent
from apps.audit.services import record
from controlplane.cli.main import main
from controlplane.kernel.actor import Actor, ActorKind, worker
from tests import factories
from workers import ledger

pytestmark = pytest.mark.django_db


@pytest.fixture(autouse=True)
def folder(tmp_path: Path) -> Iterator[Path]:
    with override_settings(
        LEDGER_KEY=tmp_path / "ledger-key",
        LEDGER_FOLDER=tmp_path / "ledger",
        BUNDLE_KEY=tmp_path / "bundle-key",
    ):
        yield tmp_path


def happen(verb: str, subject: str = "x", actor: Actor | None = None, **more: Any) -> AuditEvent:
    with transaction.atomic():
        who = actor or Actor(ActorKind.PERSON, "grace")
        return record(actor=who, verb=verb, target="model/x", subject=subject, **more)


def text(client: Client, path: str = "/audit") -> str:
    page = client.get(path)
    assert page.status_code == 200
    return page.content.decode()


def downloaded(client: Client, path: str) -> bytes:
    answer = client.get(path)
    assert answer.status_code == 200
    return b"".join(answer.streaming_content)  # type: ignore[attr-defined]


def test_an_entry_is_a_sentence_with_its_reason_and_its_seal(ada: Client) -> None:
    happen("releases.approve", "card-fraud v42 to production", reason="It is better")
    happen("builds.start", "iris v1", actor=worker("builds"))
    sealing.seal()
    happen("registry.model.edit")
    page = text(ada)
    assert "<strong>grace</strong> approved card-fraud v42 to production" in page
    assert "“It is better”" in page
    assert "The builder asked for a build of iris v1" in page
    assert ">#1</span>" in page
    assert "not yet" in page


def test_the_page_says_how_much_is_proven(ada: Client) -> None:
    assert "Nothing has happened yet" in text(ada)
    for _ in range(3):
        happen("registry.model.edit")
    assert "3 entries wait" in text(ada)
    sealing.seal()
    assert "Not read over yet" in text(ada)
    ledger.keep(timezone.now())
    page = text(ada)
    assert "Whole" in page
    assert "up to #3" in page
    assert "modelyard audit verify" in page


def test_a_changed_ledger_is_the_first_thing_the_page_says(ada: Client) -> None:
    happen("registry.model.edit")
    sealing.seal()
    with connection.cursor() as cursor:
        cursor.execute("ALTER TABLE audit_auditevent DISABLE TRIGGER USER")
        cursor.execute("UPDATE audit_auditevent SET actor_name = 'eve'")
        cursor.execute("ALTER TABLE audit_auditevent ENABLE TRIGGER USER")
    ledger.keep(timezone.now())
    page = text(ada, "/audit?actor=nobody")
    assert "<h1>The ledger was changed at #1</h1>" in page
    assert "is not what was sealed" in page
    assert "Changed" in text(ada)


def test_workers_that_stand_still_are_told_of(ada: Client) -> None:
    event = happen("registry.model.edit")
    with connection.cursor() as cursor:
        cursor.execute("ALTER TABLE audit_auditevent DISABLE TRIGGER USER")
        cursor.execute(
            "UPDATE audit_auditevent SET at = %s WHERE id = %s",
            [timezone.now() - timedelta(hours=1), event.pk],
        )
        cursor.execute("ALTER TABLE audit_auditevent ENABLE TRIGGER USER")
    assert "look whether they run" in text(ada)


def test_an_export_of_the_page_is_verified_by_the_command_with_the_key_of_the_page(
    ada: Client, tmp_path: Path
) -> None:
    for n in range(5):
        happen("registry.model.edit", f"ü{n}")
    sealing.seal()
    ledger.keep(timezone.now())
    (tmp_path / "ledger.jsonl").write_bytes(downloaded(ada, "/audit/export"))
    (tmp_path / "ledger.pub").write_bytes(ada.get("/audit/ledger.pub").content)
    command = ["audit", "verify", str(tmp_path / "ledger.jsonl")]
    told = CliRunner().invoke(main, [*command, "--key", str(tmp_path / "ledger.pub")])
    assert (told.exit_code, told.stdout.startswith("Whole: 5 events, #1 to #5.")) == (0, True)
    exported = AuditEvent.objects.get(verb="audit.export")
    assert (exported.actor_name, exported.after) == ("ada", {"format": "jsonl"})


def test_a_search_is_downloaded_as_lines_and_as_a_table(ada: Client) -> None:
    happen("registry.model.edit", "mine")
    happen("builds.start", "yours")
    lines = downloaded(ada, "/audit/export?verb=registry&format=jsonl").splitlines()
    rows = [json.loads(line) for line in lines]
    assert [r["event"]["subject"] for r in rows if "event" in r] == ["mine"]
    table = downloaded(ada, "/audit/export?verb=builds&format=csv").decode()
    assert "yours" in table
    assert "mine" not in table
    assert ada.get("/audit/export?format=xml").status_code == 422
    assert ada.get("/audit/export?since=yesterday").status_code == 422


def test_whoever_may_only_look_is_offered_no_export(viewer: Client) -> None:
    happen("registry.model.edit")
    page = text(viewer)
    assert "/audit/export" not in page
    assert "Ask a reviewer, operator or admin" in page
    assert viewer.get("/audit/export").status_code == 403
    assert viewer.get("/audit/ledger.pub").content.startswith(b"-----BEGIN PUBLIC KEY-----")
    assert viewer.get("/audit/bundle.pub").content.startswith(b"-----BEGIN PUBLIC KEY-----")


def test_the_api_has_what_the_page_has(ada: Client) -> None:
    happen("registry.model.edit")
    assert ada.get("/api/v1/audit-events").json()["results"][0]["position"] is None
    sealing.seal()
    ledger.keep(timezone.now())
    (event,) = ada.get("/api/v1/audit-events").json()["results"]
    (checkpoint,) = ada.get("/api/v1/audit-checkpoints").json()["results"]
    assert (event["position"], event["hash"]) == (1, checkpoint["hash"])
    assert json.loads(checkpoint["line"])["checkpoint"]["hash"] == checkpoint["hash"]
    health = ada.get("/api/v1/audit-health").json()
    assert (health["state"], health["position"], health["broken_at"]) == ("whole", 1, None)
    keys = {key["use"]: key for key in ada.get("/api/v1/audit-key").json()["keys"]}
    assert keys["ledger"]["id"] == json.loads(checkpoint["line"])["checkpoint"]["key"]
    lines = downloaded(ada, "/api/v1/audit-events/export")
    assert json.loads(lines.splitlines()[-1])["end"]["count"] == 1
    wrong = ada.get("/api/v1/audit-events/export?format=xml")
    assert (wrong.status_code, wrong.json()["code"]) == (422, "audit.bad_format")


async def _streamed(admin: Person) -> list[bytes]:
    client = AsyncClient()
    await client.aforce_login(admin)
    answer = await client.get("/audit/export")
    return [piece async for piece in answer.streaming_content]  # type: ignore[attr-defined]


@pytest.mark.django_db(transaction=True)
def test_under_asgi_an_export_is_sent_while_it_is_made(monkeypatch: pytest.MonkeyPatch) -> None:
    from asgiref.sync import async_to_sync

    monkeypatch.setattr("controlplane.http.streaming.PIECE", 500)
    admin = factories.person(username="ada", role="admin")
    for _ in range(5):
        happen("registry.model.edit")
    sealing.seal()
    pieces = async_to_sync(_streamed)(admin)
    assert len(pieces) > 3
    rows = [json.loads(line) for line in b"".join(pieces).splitlines()]
    assert rows[-1]["end"]["count"] == 5
