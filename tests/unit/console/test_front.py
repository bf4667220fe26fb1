from apps.console.domain import front
from apps.console.domain.front import Point

NATIVE = Point("native", 5.0, 0.0, True)
ONNX = Point("onnx", 0.5, 1e-7, True)
SLOW = Point("onnx-optimised", 0.6, 1e-6, True)
LOSSY = Point("onnx-int8-dynamic", 0.1, 0.3, False)


def test_the_front_holds_what_nothing_beats() -> None:
    assert front.unbeaten([NATIVE, ONNX, SLOW, LOSSY]) == [ONNX, NATIVE]


def test_a_variant_that_is_too_lossy_is_never_the_fastest() -> None:
    assert front.fastest([LOSSY, NATIVE]) is NATIVE
    assert front.fastest([LOSSY]) is None


def test_the_title_is_the_finding() -> None:
    assert front.finding([NATIVE, ONNX]) == (
        "onnx is 10 times faster and stays inside the tolerance"
    )
    assert front.finding([NATIVE, LOSSY]) == "native is the fastest that passed"
    assert front.finding([LOSSY]) == "No variant has passed its proof"
    even = Point("onnx", 4.9, 0.0, True)
    assert front.finding([NATIVE, even]) == "onnx is no faster than the original"


def test_one_variant_is_no_chart() -> None:
    assert front.figure([NATIVE], 1e-3) is None


def test_the_best_is_blue_and_the_lossy_is_red() -> None:
    drawn = front.figure([NATIVE, ONNX, LOSSY], 1e-3)
    assert drawn is not None
    assert drawn["data"][1]["marker"]["color"] == ["role:stable", "role:canary", "role:bad"]
    low, high = drawn["layout"]["yaxis"]["range"]
    assert low > high, "up is better"
