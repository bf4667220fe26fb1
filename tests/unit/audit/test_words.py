"""Every entry of the ledger reads as a sentence."""

import ast
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path

import pytest

from apps.analysis.domain.states import AnalysisMove
from apps.approvals.domain.states import RequestMove
from apps.audit.domain import words
from apps.endpoints.domain.states import RevisionMove
from apps.releases.domain.states import ReleaseMove
from apps.rollouts.domain.states import RolloutMove

APPS = Path(words.__file__).parents[2]
AREAS = {path.name for path in APPS.iterdir() if path.is_dir()}
# Moves that are told under another name, or are told with what they belong to.
UNTOLD = {"analysis.start"}
AT = datetime(2026, 11, 22, 12, 0, tzinfo=UTC)


def told(verb: str, kind: str = "person", actor: str = "ada") -> words.Told:
    return words.tell(
        at=AT, actor_kind=kind, actor_name=actor, verb=verb, subject="iris v3", reason=""
    )


def test_a_known_verb_is_a_sentence() -> None:
    assert told("registry.version.register").words == "registered iris v3"
    assert told("registry.version.register").by_person


def test_an_unknown_verb_is_spelt_out() -> None:
    assert told("endpoints.revision.move_on").words == "revision move on: iris v3"


def test_a_worker_is_named_by_its_work() -> None:
    assert told("builds.start", "worker", "worker:builds").actor_name == "The builder"
    assert told("builds.start", "worker", "worker:new").actor_name == "new"
    assert not told("builds.start", "worker", "worker:builds").by_person


def test_a_subject_with_braces_is_left_alone() -> None:
    entry = words.tell(
        at=AT,
        actor_kind="person",
        actor_name="ada",
        verb="registry.model.edit",
        subject="{subject.__class__}",
        reason="",
    )
    assert entry.words == "edited {subject.__class__}"


def verbs_in_code() -> Iterator[str]:
    """Yield every verb that the code writes out: the argument of `record` and of its helpers."""
    for path in APPS.rglob("*.py"):
        for call in ast.walk(ast.parse(path.read_text())):
            if isinstance(call, ast.Call):
                yield from verbs_of(call)


def verbs_of(call: ast.Call) -> Iterator[str]:
    name = getattr(call.func, "attr", getattr(call.func, "id", ""))
    given = [k.value for k in call.keywords if k.arg == "verb" and name != "Search"]
    if name.strip("_") in ("tell", "record"):
        given += call.args[:2]
    for value in given:
        verb = value.value if isinstance(value, ast.Constant) else None
        if isinstance(verb, str) and verb.partition(".")[0] in AREAS and "." in verb:
            yield verb


def verbs_of_moves() -> Iterator[str]:
    """Yield the verbs that are composed of a move's name."""
    yield from (f"analysis.{move}" for move in AnalysisMove)
    yield from (f"approvals.{move}" for move in RequestMove)
    yield from (f"endpoints.revision.{move}" for move in RevisionMove)
    yield from (f"releases.{move.name.lower()}" for move in ReleaseMove)
    yield from (f"rollouts.{move}" for move in RolloutMove)


@pytest.mark.parametrize("verb", sorted({*verbs_in_code(), *verbs_of_moves()} - UNTOLD))
def test_every_verb_has_its_sentence(verb: str) -> None:
    assert verb in words.SENTENCES
