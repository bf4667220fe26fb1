from datetime import UTC, datetime

from apps.audit.domain import words

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
    assert told("builds.start", "worker", "worker:builds").actor_name == "the builder"
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
