from pathlib import Path

import numpy as np
import pytest

from apps.builds.domain.variants import ProofVerdict
from workers.toolchain import prove
from workers.toolchain.spec import Spec

SPEC = Spec(job=Path("/nowhere"), format="sklearn", tolerance=0.01, min_agreement=0.9)
LABELS = np.array([0, 1, 0, 1])
NUMBERS = np.array([[0.9, 0.1], [0.2, 0.8], [0.7, 0.3], [0.4, 0.6]])


def judged(change: float = 0.0, flipped: int = 0, nan: bool = False) -> tuple[str, prove.Parity]:
    labels, numbers = LABELS.copy(), NUMBERS.astype(np.float32) + np.float32(change)
    labels[:flipped] = 1 - labels[:flipped]
    if nan:
        numbers[2, 0] = np.nan
    reference = {"label": LABELS, "probabilities": NUMBERS}
    parity = prove.compare(reference, {"label": labels, "probabilities": numbers})
    return prove.verdict(parity, SPEC)[0], parity


def test_equal_answers_pass() -> None:
    verdict, parity = judged()
    assert verdict is ProofVerdict.PASSED
    assert parity.agreement == 1.0
    assert parity.max_difference == pytest.approx(0, abs=1e-7)


def test_a_difference_above_the_tolerance_is_too_lossy() -> None:
    verdict, parity = judged(change=0.02)
    assert verdict is ProofVerdict.TOO_LOSSY
    assert parity.max_difference == pytest.approx(0.02, abs=1e-6)
    assert parity.mean_difference == pytest.approx(0.02, abs=1e-6)


def test_too_few_equal_labels_are_too_lossy() -> None:
    verdict, parity = judged(flipped=1)
    assert verdict is ProofVerdict.TOO_LOSSY
    assert parity.agreement == 0.75


def test_an_answer_that_is_no_number_never_passes() -> None:
    verdict, parity = judged(nan=True)
    assert verdict is ProofVerdict.TOO_LOSSY
    assert parity.not_numbers == 1
    assert parity.worst[0] == 2


def test_outputs_that_do_not_match_are_unknown() -> None:
    parity = prove.compare({"a": NUMBERS, "c": NUMBERS}, {"b": NUMBERS})
    assert prove.verdict(parity, SPEC)[0] is ProofVerdict.UNKNOWN


def test_one_output_on_each_side_is_compared_whatever_its_name() -> None:
    parity = prove.compare({"prediction": NUMBERS[:, 0]}, {"variable": NUMBERS[:, :1]})
    assert parity.max_difference == 0


def test_words_are_compared_as_labels() -> None:
    want = {"label": np.array(["no", "yes"], dtype=object)}
    parity = prove.compare(want, {"label": np.array(["no", "no"], dtype=object)})
    assert parity.agreement == 0.5
