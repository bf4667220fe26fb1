"""docs/strategies.md: every example is a strategy, and every field has its line."""

import json
import re
from pathlib import Path
from typing import Any

import pytest

from apps.rollouts.domain import document
from apps.rollouts.domain.strategy import StrategyKind
from apps.rollouts.web import fields

DOCS = (Path(__file__).resolve().parents[3] / "docs/strategies.md").read_text()
EXAMPLES = [json.loads(text) for text in re.findall(r"```json\n(.*?)```", DOCS, re.S)]
IN_THE_METRICS_OWN_PAGE = {"metrics", "metric"}


def names(found: Any) -> set[str]:
    """Return every name of a document, those of its parts too."""
    if isinstance(found, list):
        return set().union(*map(names, found)) if found else set()
    if not isinstance(found, dict):
        return set()
    return set(found).union(
        *(names(v) for k, v in found.items() if k not in IN_THE_METRICS_OWN_PAGE)
    )


@pytest.mark.parametrize("example", EXAMPLES, ids=lambda e: e["kind"])
def test_every_example_is_a_strategy(example: dict[str, Any]) -> None:
    assert document.parse(example).kind == example["kind"]


def test_there_is_an_example_of_nearly_every_kind() -> None:
    assert {e["kind"] for e in EXAMPLES} == set(StrategyKind) - {StrategyKind.ALL_AT_ONCE}


@pytest.mark.parametrize("kind", list(StrategyKind))
def test_every_field_of_a_kind_has_its_line(kind: StrategyKind) -> None:
    explained = set(re.findall(r"`([a-z_]+)`", "\n".join(re.findall(r"^\|.*\|$", DOCS, re.M))))
    assert names(fields.usual(kind)) - explained <= {"by", "name"}
