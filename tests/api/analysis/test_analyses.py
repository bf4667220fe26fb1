"""REST of analyses."""

from datetime import timedelta
from typing import Any

import pytest

from apps.analysis import services
from apps.analysis.domain import spec
from apps.analysis.models import AnalysisRun
from apps.analysis.reconcile import AnalysisReconciler
from apps.endpoints.models import Revision
from apps.monitoring.domain import histogram, windows
from apps.monitoring.models import LastReading, TrafficWindow
from controlplane.db.reconcile import claim_one
from controlplane.kernel.actor import worker
from controlplane.kernel.clock import SystemClock
from tests import factories

pytestmark = pytest.mark.django_db
WINDOWS = 6


@pytest.fixture
def run() -> AnalysisRun:
    """Return an analysis that has just looked at a minute of traffic."""
    stable = factories.revision()
    candidate = factories.revision(endpoint=stable.endpoint, state="shifting")
    now = windows.floor(SystemClock().now())
    begun = services.begin(
        actor=worker("rollouts"), subject="rollout/abc", stable=stable, candidate=candidate,
        plan={"metrics": spec.as_document(spec.defaults(250)), "alpha": 0.05},
        wakes=("rollout", 1), now=now - WINDOWS * windows.WINDOW,
    )  # fmt: skip
    for index in range(1, WINDOWS + 1):
        traffic(stable, 500, 1, at=now - index * windows.WINDOW)
        traffic(candidate, 50, 0, at=now - index * windows.WINDOW)
    LastReading.objects.create(pk=1, read_at=now)
    claim = claim_one(AnalysisRun, begun.pk, now=now, lease=timedelta(seconds=45))
    assert claim is not None
    AnalysisReconciler()(claim, now)
    return AnalysisRun.objects.get(pk=begun.pk)


def traffic(revision: Revision, requests: int, errors: int, *, at: Any) -> None:
    latency = histogram.empty()
    latency[4] = requests
    TrafficWindow.objects.create(
        revision=revision, starts_at=at, requests=requests, errors_5xx=errors, latency=latency
    )


@pytest.fixture
def get(client: Any) -> Any:
    headers = factories.bearer("viewer")
    return lambda path: client.get(f"/api/v1/analysis-runs/{path}", headers=headers)


def test_an_analysis_says_what_it_knows_and_by_what(get: Any, run: AnalysisRun) -> None:
    told = get(run.public_id).json()
    assert (told["id"], told["subject"], told["state"]) == (
        run.public_id, "rollout/abc", "running",
    )  # fmt: skip
    assert (told["stable"], told["candidate"], told["step"]) == (1, 2, 0)
    assert told["standing"]["answer"] == "not_yet"
    assert told["standing"]["stale"] is False
    assert [f["metric"] for f in told["findings"]] == ["errors", "slow", "refused"]
    errors = told["findings"][0]
    assert (errors["stable_total"], errors["canary_total"]) == (3000, 300)
    assert (errors["stable"], errors["canary"]) == (pytest.approx(0.002), 0)
    assert told["plan"]["alpha"] == 0.05


def test_the_looks_of_a_metric_are_its_curve(get: Any, run: AnalysisRun) -> None:
    first, slow = get(f"{run.public_id}/looks").json(), get(f"{run.public_id}/looks?metric=slow")
    assert (first["metric"], slow.json()["metric"]) == ("errors", "slow")
    assert [look["stable_total"] for look in first["looks"]] == [3000]


def test_a_metric_that_is_not_compared_is_refused(get: Any, run: AnalysisRun) -> None:
    refused = get(f"{run.public_id}/looks?metric=moods")
    assert (refused.status_code, refused.json()["code"]) == (422, "analysis.no_such_metric")
    assert "errors, slow" in refused.json()["remedy"]


def test_an_analysis_without_a_stable_revision_shows_none(get: Any) -> None:
    made = services.begin(
        actor=worker("rollouts"), subject="rollout/first", stable=None,
        candidate=factories.revision(), plan={"metrics": []}, wakes=("rollout", 1),
        now=SystemClock().now(),
    )  # fmt: skip
    assert get(made.public_id).json()["stable"] is None
    assert get(f"{made.public_id}/looks").status_code == 422


def test_what_is_not_there_is_missing(get: Any) -> None:
    assert get("nothing00000").status_code == 404
