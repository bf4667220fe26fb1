"""Every event gets its place in the chain, once, whoever writes beside the sealing pass."""

import random
import threading
import time
from collections.abc import Callable

import psycopg
import pytest
from django.db import DatabaseError, connection, connections, transaction

from apps.audit import sealing
from apps.audit.domain import chain
from apps.audit.models import AuditEvent, Seal
from apps.audit.selectors import event_values
from apps.audit.services import record
from controlplane.kernel.actor import worker

WRITERS, EVENTS = 8, 60


def write(count: int = 1, **more: object) -> list[AuditEvent]:
    with transaction.atomic():
        return [
            record(
                actor=worker("tests"),
                verb="registry.model.edit",
                target="model/x",
                subject=f"ü {n} \u2028 €",
                before={"tolerance": 0.1, "none": None},
                after={"tolerance": 1e-07, "count": 10**30, "nested": {"b": [1, 2.0], "a": "é"}},
            )
            for n in range(count)
        ]


def assert_whole() -> None:
    link = chain.START
    for seal in Seal.objects.select_related("event").order_by("position"):
        link = chain.after(link, event_values(seal.event))
        assert (seal.position, seal.previous, seal.hash) == (
            link.position,
            link.previous,
            link.hash,
        )
    assert Seal.objects.count() == AuditEvent.objects.count() == link.position


@pytest.mark.django_db
def test_sealing_chains_what_is_new_and_nothing_twice() -> None:
    write(3)
    assert (sealing.seal(), sealing.seal()) == (3, 0)
    write(2)
    assert sealing.seal() == 2
    assert_whole()


@pytest.mark.django_db
def test_more_than_a_batch_is_sealed_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sealing, "BATCH", 4)
    write(11)
    assert sealing.seal(limit=8) == 8
    assert sealing.seal() == 3
    assert_whole()


@pytest.mark.django_db
@pytest.mark.parametrize(
    "statement",
    [
        "UPDATE audit_seal SET hash = previous",
        "DELETE FROM audit_seal",
        "TRUNCATE audit_seal",
        "TRUNCATE audit_checkpoint",
        "TRUNCATE audit_segment",
        "UPDATE audit_auditevent SET at = now()",
        "SET LOCAL modelyard.ledger_drop = '1'; DELETE FROM audit_auditevent",
        "SET LOCAL modelyard.ledger_drop = '1'; DELETE FROM audit_seal",
    ],
)
def test_the_database_refuses_to_rewrite_what_is_sealed(statement: str) -> None:
    write()
    sealing.seal()
    refused = pytest.raises(DatabaseError, match=r"cannot be|stays|Cannot")
    with refused, transaction.atomic(), connection.cursor() as cursor:
        cursor.execute(statement)
    assert_whole()


@pytest.mark.django_db(transaction=True)
def test_an_event_that_commits_late_is_sealed_after_those_that_were_written_later() -> None:
    late = threading.Event()
    written = threading.Event()

    def write_slowly() -> None:
        with transaction.atomic():
            write()
            written.set()
            late.wait(10)
        connections.close_all()

    thread = threading.Thread(target=write_slowly)
    thread.start()
    assert written.wait(10)
    write(2)
    assert sealing.seal() == 2
    late.set()
    thread.join()
    assert sealing.seal() == 1
    order = list(Seal.objects.order_by("position").values_list("event_id", flat=True))
    assert order[2] < order[0]  # its id was given out first
    assert_whole()


@pytest.mark.django_db(transaction=True)
def test_an_event_far_below_the_chain_is_found_by_the_thorough_pass() -> None:
    write(2)
    low = AuditEvent.objects.order_by("id").first()
    assert low is not None
    with connection.cursor() as cursor:  # as if ten thousand had been written since
        cursor.execute("SELECT setval(pg_get_serial_sequence('audit_auditevent', 'id'), %s)",
                       [low.pk + sealing_look_back() + 10])  # fmt: skip
    high = write()[0]
    with transaction.atomic():
        Seal.objects.create(
            position=1, event=high, previous=chain.GENESIS,
            hash=chain.after(chain.START, event_values(high)).hash,
        )  # fmt: skip
    assert sealing.seal() == 0
    assert sealing.seal_overlooked() == 2
    assert_whole()


def sealing_look_back() -> int:
    from apps.audit.selectors import LOOK_BACK

    return LOOK_BACK


def in_threads(count: int, work: Callable[[int], None]) -> list[threading.Thread]:
    problems: list[BaseException] = []

    def run(n: int) -> None:
        try:
            work(n)
        except BaseException as error:
            problems.append(error)
        finally:
            connections.close_all()

    threads = [threading.Thread(target=run, args=(n,)) for n in range(count)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert not problems, problems
    return threads


@pytest.mark.django_db(transaction=True)
def test_many_writers_and_three_sealers_make_one_whole_chain() -> None:
    writing = threading.Event()
    writing.set()
    done = threading.Semaphore(0)

    def write_or_seal(n: int) -> None:
        if n >= WRITERS:
            while writing.is_set() or sealing.seal():
                sealing.seal()
            return
        for k in range(EVENTS):
            with transaction.atomic():
                write()
                if random.random() < 0.2:
                    time.sleep(0.005)  # commits out of order
                if k % 10 == 9:
                    transaction.set_rollback(True)  # leaves a gap in the ids
        done.release()

    def stop_when_written() -> None:
        for _ in range(WRITERS):
            done.acquire()
        writing.clear()

    stopper = threading.Thread(target=stop_when_written)
    stopper.start()
    in_threads(WRITERS + 3, write_or_seal)
    stopper.join()
    sealing.seal()
    assert AuditEvent.objects.count() == WRITERS * EVENTS * 9 // 10
    assert_whole()


@pytest.mark.django_db(transaction=True)
def test_a_sealer_that_dies_leaves_no_seal_and_no_lock() -> None:
    write(3)
    with transaction.atomic():
        assert sealing._seal_batch(thorough=False) == 3
        transaction.set_rollback(True)
    assert not Seal.objects.exists()
    assert sealing.seal() == 3


@pytest.mark.django_db(transaction=True)
def test_a_pass_leaves_the_work_to_whoever_holds_the_lock() -> None:
    write()
    settings = connection.settings_dict
    with psycopg.connect(
        host=settings["HOST"], port=settings["PORT"], user=settings["USER"],
        dbname=settings["NAME"],
    ) as other:  # fmt: skip
        other.execute("SELECT pg_advisory_xact_lock(%s)", [sealing.LOCK])
        assert sealing.seal() == 0
    assert sealing.seal() == 1
