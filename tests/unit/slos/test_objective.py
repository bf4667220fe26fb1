from dataclasses import replace

import pytest

from apps.slos.domain import objective as domain
from apps.slos.domain.objective import Objective
from apps.slos.web.forms import percent
from controlplane.kernel.errors import Invalid

PROMISED = Objective(
    availability=0.999, latency_ms=50.0, latency_share=0.99, window_days=28, expected_peak_rps=40.0
)


def test_what_is_allowed_follows_from_what_is_promised() -> None:
    assert PROMISED.allowed_bad_share == pytest.approx(0.001)
    assert PROMISED.allowed_slow_share == pytest.approx(0.01)
    assert PROMISED.allowed_down_minutes == pytest.approx(40.32)
    assert PROMISED.test_rps == 60.0


@pytest.mark.parametrize(("good", "met"), [(999, True), (998, False), (1000, True)])
def test_availability_is_met_at_its_share(good: int, met: bool) -> None:
    assert domain.availability_is_met(PROMISED, good=good, total=1000) is met


@pytest.mark.parametrize(("fast", "met"), [(990, True), (989, False)])
def test_latency_is_met_at_its_share(fast: int, met: bool) -> None:
    assert domain.latency_is_met(PROMISED, fast=fast, total=1000) is met


@pytest.mark.parametrize(
    ("measured", "within"), [(50.0, True), (50.1, False), (None, None), (float("nan"), None)]
)
def test_a_measured_quantile_is_within_or_not_or_unknown(
    measured: float | None, within: bool | None
) -> None:
    assert domain.quantile_is_within(PROMISED, measured) is within


def test_silence_is_not_health() -> None:
    assert domain.availability_is_met(PROMISED, good=0, total=0) is None
    assert domain.latency_is_met(PROMISED, fast=0, total=0) is None


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("availability", 0.0), ("availability", 1.0), ("availability", float("nan")),
        ("latency_share", -0.1), ("latency_share", 1.5), ("latency_ms", 0.0),
        ("latency_ms", float("inf")), ("latency_ms", float("nan")), ("window_days", 0),
        ("window_days", 91), ("expected_peak_rps", 0.0), ("expected_peak_rps", 1e9),
    ],
)  # fmt: skip
def test_a_number_without_sense_is_refused_naming_its_field(field: str, value: float) -> None:
    with pytest.raises(Invalid) as refused:
        domain.check(replace(PROMISED, **{field: value}))  # type: ignore[arg-type]
    assert refused.value.field == field
    assert refused.value.remedy
    assert refused.value.code == "slos.bad_objective"


@pytest.mark.parametrize(
    ("share", "written"), [(0.999, "99.9"), (0.9995, "99.95"), (0.5, "50"), (0.99999, "99.999")]
)
def test_a_share_is_written_as_people_say_it(share: float, written: str) -> None:
    assert percent(share) == written
