"""The ledger cannot be rewritten, and is written with every change."""

import pytest
from django.db import DatabaseError, connection, transaction

from apps.accounts import services
from apps.audit import selectors
from apps.audit.models import AuditEvent
from apps.audit.services import record
from apps.environments import selectors as environments
from controlplane.kernel.actor import worker
from tests import factories
from tests.plugins.ledger import Watch

pytestmark = pytest.mark.django_db


def an_event() -> AuditEvent:
    with transaction.atomic():
        return record(
            actor=worker("tests"), verb="registry.model.edit", target="model/x", subject="x"
        )


@pytest.mark.parametrize(
    "statement",
    [
        "UPDATE audit_auditevent SET reason = 'never mind'",
        "DELETE FROM audit_auditevent",
        "TRUNCATE audit_auditevent",
        "TRUNCATE audit_auditevent CASCADE",
    ],
)
def test_the_database_refuses_to_rewrite_the_ledger(statement: str) -> None:
    event = an_event()
    with pytest.raises(DatabaseError), transaction.atomic(), connection.cursor() as cursor:
        cursor.execute(statement)
    assert AuditEvent.objects.get(pk=event.pk).reason == ""


@pytest.mark.django_db(transaction=True)
def test_recording_outside_a_transaction_is_refused() -> None:
    with pytest.raises(RuntimeError, match="outside a transaction"):
        record(actor=worker("tests"), verb="registry.model.edit", target="model/x")


@pytest.mark.django_db(transaction=True)
@pytest.mark.parametrize("turn", [1, 2])
def test_a_test_that_commits_leaves_an_empty_ledger_and_the_first_environments(turn: int) -> None:
    an_event()
    assert AuditEvent.objects.count() == 1
    assert environments.in_order().count() == 3


def test_a_change_that_is_rolled_back_leaves_no_entry() -> None:
    admin = factories.actor_with("admin")
    with transaction.atomic():
        services.create_team(actor=admin, slug="fraud")
        transaction.set_rollback(True)
    assert not AuditEvent.objects.exists()


def test_searching_finds_by_actor_object_verb_and_words() -> None:
    admin = factories.actor_with("admin", name="ada")
    services.create_team(actor=admin, slug="fraud")
    services.create_team(actor=factories.actor_with("admin", name="adam"), slug="parcels")
    found = selectors.events(selectors.Search(actor="ada"))
    assert [e.subject for e in found] == ["fraud"]
    assert selectors.events(selectors.Search(verb="accounts")).count() == 2
    assert selectors.events(selectors.Search(verb="accounts.team")).count() == 2
    assert selectors.events(selectors.Search(verb="accounts.te")).count() == 0
    assert selectors.events(selectors.Search(target="team")).count() == 2
    assert selectors.events(selectors.Search(text="PARC")).count() == 1


def test_the_watch_names_a_service_that_wrote_without_an_entry(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    watch = Watch()
    monkeypatch.setattr("apps.accounts.services.people.audit.record", lambda **_: None)
    with transaction.atomic(), connection.execute_wrapper(watch):
        services.create_team(actor=factories.actor_with("admin"), slug="fraud")
        assert watch.silent() == ["apps.accounts.services.people.create_team wrote accounts_team"]
        transaction.set_rollback(True)


def test_the_watch_forgets_what_was_rolled_back(monkeypatch: pytest.MonkeyPatch) -> None:
    watch = Watch()
    monkeypatch.setattr("apps.accounts.services.people.audit.record", lambda **_: None)
    with connection.execute_wrapper(watch):
        with transaction.atomic():
            services.create_team(actor=factories.actor_with("admin"), slug="fraud")
            transaction.set_rollback(True)
        assert watch.silent() == []
