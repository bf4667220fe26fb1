"""Who fills which seat, and when that is enough."""

import itertools
import json
from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from apps.approvals.domain.digestset import changes, seal
from apps.approvals.domain.quorum import Kind, Seat, Standing, Verdict, Vote, standing
from controlplane.kernel.actor import Grant, Role

T0 = datetime(2026, 1, 1, tzinfo=UTC)
OWNER = Seat("Owner", frozenset({Role.REVIEWER}), "fraud")
OPS = Seat("Operations", frozenset({Role.OPERATOR}))
R_FRAUD, R_RISK = Grant(Role.REVIEWER, "fraud"), Grant(Role.REVIEWER, "risk")
R_ALL, O_ALL = Grant(Role.REVIEWER), Grant(Role.OPERATOR)
O_DEV = Grant(Role.OPERATOR, None, "dev")
DIGEST = "sha256:a"


def vote(person: int, *grants: Grant, kind: Kind = Kind.APPROVE, digest: str = DIGEST,
         seat_of: int | None = None) -> Vote:  # fmt: skip
    return Vote(
        person, person if seat_of is None else seat_of, frozenset(grants), kind, digest,
        T0 + timedelta(minutes=person),
    )  # fmt: skip


def come_to(
    *votes: Vote, seats: tuple[Seat, ...] = (OWNER, OPS), excluded: tuple[int, ...] = ()
) -> Standing:
    return standing(seats, votes, digest=DIGEST, excluded=excluded, environment="production")


@pytest.mark.parametrize(
    ("votes", "verdict", "filled"),
    [
        ((), Verdict.OPEN, (None, None)),
        ((vote(1, R_FRAUD),), Verdict.OPEN, (1, None)),
        ((vote(1, R_FRAUD), vote(2, O_ALL)), Verdict.GRANTED, (1, 2)),
        ((vote(1, R_ALL), vote(2, O_ALL)), Verdict.GRANTED, (1, 2)),
        ((vote(1, R_RISK), vote(2, O_ALL)), Verdict.OPEN, (None, 2)),
        ((vote(1, R_FRAUD), vote(2, O_DEV)), Verdict.OPEN, (1, None)),
        # One who could fill both makes room for one who could fill only the first.
        ((vote(1, R_FRAUD, O_ALL), vote(2, R_FRAUD)), Verdict.GRANTED, (2, 1)),
        ((vote(1, R_FRAUD, O_ALL),), Verdict.OPEN, (1, None)),
        ((vote(1, R_FRAUD, digest="sha256:b"), vote(2, O_ALL)), Verdict.OPEN, (None, 2)),
        ((vote(1, R_FRAUD), vote(2, O_ALL), vote(3, kind=Kind.CHANGES)), Verdict.CHANGES, (1, 2)),
        ((vote(1, R_FRAUD), vote(2, O_ALL), vote(3, kind=Kind.DECLINE)), Verdict.DECLINED, (1, 2)),
        ((vote(3, kind=Kind.DECLINE, digest="sha256:b"),), Verdict.OPEN, (None, None)),
    ],
)
def test_what_votes_come_to(
    votes: tuple[Vote, ...], verdict: Verdict, filled: tuple[int | None, ...]
) -> None:
    assert come_to(*votes) == Standing(verdict, filled)


def test_those_who_made_it_fill_no_seat_neither_themselves_nor_by_a_substitute() -> None:
    assert come_to(vote(1, R_FRAUD), excluded=(1,)).filled == (None, None)
    assert come_to(vote(2, R_FRAUD, seat_of=1), excluded=(1,)).filled == (None, None)
    assert come_to(vote(2, R_FRAUD, seat_of=1), excluded=(2,)).filled == (None, None)


def test_somebody_and_their_substitute_are_one_yes() -> None:
    two = (OWNER, OWNER)
    both = come_to(vote(1, R_FRAUD), vote(2, R_FRAUD, seat_of=1), seats=two)
    assert both.missing == 1


def test_no_seats_need_nobody() -> None:
    assert come_to(seats=()).verdict is Verdict.GRANTED


GRANTS = st.frozensets(st.sampled_from([R_FRAUD, R_RISK, R_ALL, O_ALL, O_DEV]))
SEATS = st.lists(st.sampled_from([OWNER, OPS]), max_size=4)


@given(st.lists(GRANTS, max_size=5), SEATS)
def test_as_many_seats_are_filled_as_any_seating_could(
    people: list[frozenset[Grant]], seats: list[Seat]
) -> None:
    votes = [vote(i, *grants) for i, grants in enumerate(people)]
    found = come_to(*votes, seats=tuple(seats))
    seated = [person for person in found.filled if person is not None]
    assert len(set(seated)) == len(seated)
    assert len(seated) == best(people, seats)
    for seat, person in zip(seats, found.filled, strict=True):
        assert person is None or seat.accepts(people[person], "production")


def best(people: list[frozenset[Grant]], seats: list[Seat]) -> int:
    order = [*range(len(people)), *[None] * len(seats)]
    return max(
        sum(
            person is not None and seat.accepts(people[person], "production")
            for seat, person in zip(seats, seated, strict=True)
        )
        for seated in itertools.permutations(order, len(seats))
    )


JSON = st.recursive(
    st.none() | st.booleans() | st.integers(-9, 9) | st.text(max_size=4),
    lambda inner: st.dictionaries(st.text(max_size=3), inner, max_size=3),
    max_leaves=6,
)
CONTENT = st.dictionaries(
    st.sampled_from(["gates", "policy", "bundle"]),
    st.dictionaries(st.text(max_size=3), JSON, max_size=3),
    min_size=1,
)


@given(CONTENT, CONTENT)
def test_another_content_is_another_digest_and_the_other_way_round(
    one: dict[str, dict[str, object]], other: dict[str, dict[str, object]]
) -> None:
    assert (seal(one).digest == seal(other).digest) == (written(one) == written(other))


def written(content: object) -> str:
    return json.dumps(content, sort_keys=True)


def test_changes_are_named_one_by_one() -> None:
    before = {
        "configuration": {"replicas": 1, "settings": {"threads": 2}},
        "gates": {"a": "passed"},
    }
    after = {"configuration": {"replicas": 1, "settings": {"threads": 4}}, "gates": {}}
    assert [c.sentence for c in changes(before, after)] == [
        "configuration, settings.threads: 2 to 4",
        "gates, a: passed to nothing",
    ]
