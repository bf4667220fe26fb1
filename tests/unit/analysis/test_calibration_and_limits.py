from dataclasses import replace
from datetime import UTC, datetime, timedelta

import numpy as np
import pytest

from apps.analysis.domain import calibration, limits
from apps.analysis.domain.limits import Limits, Recent
from apps.analysis.domain.values import Slice
from controlplane.kernel.quantities import of_share

START = datetime(2026, 11, 1, tzinfo=UTC)


def run(rng: np.random.Generator, *, cv: float = 0.0, minutes: int = 600) -> list[Slice]:
    """Return an A/A run of 50 requests a second, each side's share drawn anew every minute."""
    found = []
    for minute in range(minutes):
        shares = 0.005 * (rng.gamma(1 / cv**2, cv**2, 2) if cv else np.ones(2))
        for part in range(6):
            hits = rng.binomial([4500, 500], shares)
            at = START + timedelta(seconds=60 * minute + 10 * part)
            found.append(
                Slice(at, 10, of_share(4500, float(hits[0])), of_share(500, float(hits[1])))
            )
    return found


def test_independent_requests_show_no_dispersion() -> None:
    found = calibration.dispersion(run(np.random.default_rng(1)))
    assert 1 <= found.value < 1.15


def test_what_varies_by_minute_is_seen_though_slices_are_short() -> None:
    # Var(difference) over its Bernoulli part: 1 + cv^2 p * 2 / (1/3000 + 1/27000) per minute.
    expected = 1 + 0.36 * 0.005 * 2 / (1 / 3000 + 1 / 27000)
    found = calibration.dispersion(run(np.random.default_rng(2), cv=0.6))
    assert found.value == pytest.approx(expected, rel=0.2)


def test_few_spans_hardly_count() -> None:
    noisy = run(np.random.default_rng(3), cv=0.6, minutes=2)
    few = calibration.dispersion(noisy)
    many = calibration.dispersion(run(np.random.default_rng(3), cv=0.6))
    assert few.value < many.value / 2
    assert few.looked_at == 2


def test_nothing_is_no_dispersion() -> None:
    assert calibration.dispersion([]) == calibration.Calibration(1.0, 0, 0)
    quiet = [
        replace(part, stable=of_share(10, 0), canary=of_share(5, 0))
        for part in run(np.random.default_rng(4), minutes=5)
    ]
    assert calibration.dispersion(quiet).value == 1.0


def test_a_span_does_not_reach_over_a_gap() -> None:
    slices = run(np.random.default_rng(5), minutes=2)
    apart = [*slices[:3], *(replace(p, at=p.at + timedelta(days=1)) for p in slices[3:])]
    assert len(calibration.spans(slices, seconds=60)) == 2
    assert len(calibration.spans(apart, seconds=60)) == 1


def minute(
    canary: tuple[float, float], stable: tuple[float, float] = (2700, 13), *, at: int = 0
) -> list[Slice]:
    """Return six slices of ten seconds."""
    return [
        Slice(
            START + timedelta(seconds=at + 10 * index), 10,
            of_share(stable[0] / 6, stable[1] / 6), of_share(canary[0] / 6, canary[1] / 6),
        )
        for index in range(6)
    ]  # fmt: skip


def test_a_canary_that_fails_every_fifth_request_is_stopped_at_once() -> None:
    said = limits.hit(Limits(), Recent(minute((300, 60))))
    assert said is not None
    assert "60 of 300" in said
    assert "10.0 %" in said


@pytest.mark.parametrize(
    ("canary", "stable"),
    [
        ((300, 29), (2700, 13)),  # just below the share
        ((20, 9), (180, 1)),  # too few errors
        ((300, 60), (2700, 540)),  # both fail alike
        ((300, 60), (2700, 190)),  # stable fails less, but something is behind both
        ((0, 0), (2700, 13)),
    ],
)
def test_what_is_not_beyond_the_limit_goes_on(
    canary: tuple[float, float], stable: tuple[float, float]
) -> None:
    assert limits.hit(Limits(), Recent(minute(canary, stable))) is None


def test_a_stable_side_without_requests_does_not_save_a_failing_canary() -> None:
    assert limits.hit(Limits(), Recent(minute((300, 200), (0, 0)))) is not None


def test_only_the_last_minute_counts() -> None:
    old, new = minute((300, 200)), minute((300, 0), at=60)
    assert limits.hit(Limits(), Recent([*old, *new])) is None
    assert limits.hit(Limits(), Recent([*new, *minute((300, 200), at=120)])) is not None


def test_restarts_and_readiness_have_limits_of_their_own() -> None:
    assert limits.hit(Limits(), Recent(restarts=2)) is None
    assert "keeps crashing" in (limits.hit(Limits(), Recent(restarts=3)) or "")
    assert limits.hit(Limits(), Recent(not_ready_for=timedelta(seconds=30))) is None
    assert "not been ready" in (
        limits.hit(Limits(), Recent(not_ready_for=timedelta(seconds=31))) or ""
    )
    assert limits.hit(Limits(), Recent()) is None


def test_the_limit_follows_the_objective() -> None:
    assert limits.of_availability(0.999).page_share == pytest.approx(0.0144)
    assert limits.of_availability(0.9).page_share == limits.MOST_PAGE_SHARE
    assert limits.of_availability(None) == Limits()
