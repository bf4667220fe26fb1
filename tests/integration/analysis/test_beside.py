"""Whoever is slow to answer a question holds up nobody else."""

import time
from datetime import UTC, datetime
from threading import Event, Thread
from typing import Any

import pytest
from django.db import connections

from apps.analysis import services
from apps.analysis.asking import AskingReconciler
from apps.analysis.domain.queries import Measured, Query, Side
from apps.analysis.domain.values import SourceKind
from apps.analysis.models import Asking, Measurement
from controlplane.drivers.memory.metrics import MemorySource
from controlplane.kernel.actor import worker
from tests import factories
from workers import loop
from workers.loop import Kind

NOW = datetime(2026, 11, 28, 12, 0, tzinfo=UTC)


def metric(name: str) -> dict[str, Any]:
    return {
        "name": name, "kind": "mean", "source": "prometheus", "query": name,
        "tolerance": {"relative": 0.1}, "margin": {"relative": 0.2},
    }  # fmt: skip


def begin(number: int, *names: str) -> None:
    stable = factories.revision()
    services.begin(
        actor=worker("rollouts"), subject=f"rollout/{number}", stable=stable,
        candidate=factories.revision(endpoint=stable.endpoint, state="shifting"),
        plan={"metrics": [metric(name) for name in names]}, wakes=("rollout", number), now=NOW,
    )  # fmt: skip


@pytest.mark.django_db(transaction=True)
def test_a_silent_source_holds_up_neither_other_questions_nor_other_workers() -> None:
    begin(1, "slow", "quick")
    begin(2, "quick")
    release = Event()
    source = MemorySource({side: Measured(1.0) for side in Side})

    def hook(query: Query) -> None:
        if query.text == "slow":
            release.wait(10)

    source.hook = hook
    kinds = {
        "asking": Kind(
            Asking, lambda: AskingReconciler({SourceKind.PROMETHEUS: source}), threads=4
        )
    }
    ran: list[int] = []

    def work() -> None:
        try:
            ran.append(loop.sweep_strangers(kinds, now=lambda: NOW))
        finally:
            connections.close_all()

    threads = [Thread(target=work) for _ in range(2)]
    began = time.monotonic()
    for thread in threads:
        thread.start()
    while Measurement.objects.filter(metric="quick").count() < 2 or ran != [0]:
        assert time.monotonic() - began < 8
        time.sleep(0.02)
    assert not Measurement.objects.filter(metric="slow").exists()
    release.set()
    for thread in threads:
        thread.join()
    assert sorted(ran) == [0, 3]
    assert Measurement.objects.count() == 3


@pytest.mark.django_db
def test_nothing_due_costs_one_query_a_kind(django_assert_num_queries: Any) -> None:
    kinds = {"asking": Kind(Asking, lambda: AskingReconciler({}), threads=4)}
    with django_assert_num_queries(1):
        assert loop.sweep_strangers(kinds, now=lambda: NOW) == 0
