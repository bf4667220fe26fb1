"""The catalogue, its programs and its page say the same."""

from pathlib import Path

import pytest

from apps.gates.domain import mltest
from apps.gates.domain.catalogue import CATALOGUE, Kind, gate
from apps.gates.domain.catalogue_page import page
from apps.gates.programs import PROGRAMS
from controlplane.kernel.errors import Invalid

ROOT = Path(__file__).parents[3]


def test_every_gate_has_a_program_and_every_program_a_gate() -> None:
    assert set(PROGRAMS) == set(CATALOGUE)


def test_every_test_of_the_score_that_names_a_gate_names_one_that_is_there() -> None:
    assert {t.gate for t in mltest.TESTS if t.gate} <= set(CATALOGUE)


@pytest.mark.parametrize("told", CATALOGUE.values(), ids=lambda g: g.name)
def test_every_gate_says_what_it_checks_and_what_to_do(told: object) -> None:
    found = gate(told.name)  # type: ignore[attr-defined]
    assert found.checks.endswith(".")
    assert found.remedy.endswith(".")
    assert not found.title.endswith(".")
    assert bool(found.sent) == (found.kind is not Kind.MEASURED) or found.name in (
        "signature.compatible",
        "model.fresh",
        "rollback.rehearsed",
        "monitoring.proven",
    )


def test_an_unknown_gate_is_refused_with_the_ones_there_are() -> None:
    with pytest.raises(Invalid) as caught:
        gate("nonsense")
    assert "artifact.scanned" in caught.value.remedy


def test_the_page_of_gates_is_as_the_catalogue_has_it() -> None:
    assert (ROOT / "docs" / "gates.md").read_text() == page()
