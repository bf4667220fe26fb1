"""Tokens as text, and the waiting time after failures."""

import secrets as randomness
from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from apps.accounts.domain import scopes, secrets, throttle
from apps.accounts.domain.access import TABLE
from apps.accounts.domain.throttle import Failures

NOW = datetime(2026, 11, 22, 12, 0, tzinfo=UTC)


def test_a_fresh_token_has_the_form_of_one() -> None:
    token = secrets.new_token(randomness.choice)
    assert len(token) == 3 + 40 + 6
    assert secrets.is_token(token)
    assert secrets.hash_of(token) != secrets.hash_of(secrets.new_token(randomness.choice))


@given(st.integers(3, 48), st.sampled_from(secrets.ALPHABET))
def test_one_mistyped_character_is_noticed_before_the_database_is_asked(
    at: int, typed: str
) -> None:
    token = secrets.new_token(lambda letters: letters[7])
    mistyped = token[:at] + typed + token[at + 1 :]
    assert secrets.is_token(mistyped) == (mistyped == token)


@pytest.mark.parametrize("text", ["", "my_", "my_" + "é" * 46, "x" * 49, "my_" + "0" * 100])
def test_what_is_no_token_is_no_token(text: str) -> None:
    assert not secrets.is_token(text)


def test_the_first_failures_are_free_and_then_the_wait_doubles_to_a_limit() -> None:
    waits = [
        throttle.wait(Failures(count, NOW), now=NOW).total_seconds() for count in range(4, 16)
    ]
    assert waits == [0, 5, 10, 20, 40, 80, 160, 320, 640, 900, 900, 900]


def test_a_wait_passes() -> None:
    failed = Failures(6, NOW)
    assert throttle.wait(failed, now=NOW + timedelta(seconds=9)) == timedelta(seconds=1)
    assert throttle.wait(failed, now=NOW + timedelta(seconds=10)) == timedelta()


def test_failures_are_forgotten_after_an_hour_of_peace() -> None:
    failed = Failures(9, NOW)
    assert throttle.after_failure(failed, now=NOW + timedelta(minutes=59)).count == 10
    assert throttle.after_failure(failed, now=NOW + timedelta(minutes=61)).count == 1


@pytest.mark.parametrize(
    ("seconds", "said"), [(1, "1 second"), (59, "59 seconds"), (60, "1 minute"), (61, "2 minutes")]
)
def test_a_wait_is_said_as_a_person_would(seconds: int, said: str) -> None:
    assert throttle.say(seconds) == said


def test_the_presets_hold_only_verbs_that_exist() -> None:
    for preset in scopes.PRESETS:
        assert preset.verbs is None or preset.verbs <= set(TABLE), preset.key
    assert scopes.named(None) == "Everything I may do"
    assert scopes.named(sorted(scopes.READ)) == "Only read"
    assert scopes.named(["registry.read"]) == "1 verb"
