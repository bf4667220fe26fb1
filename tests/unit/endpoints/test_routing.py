"""What of a route can be in force, and how it splits requests."""

from dataclasses import replace
from itertools import product
from typing import Any

import pytest

from apps.endpoints.domain import routing
from apps.endpoints.domain.values import Route, Segment, Share, Sticky, StickyBy

STICKY = Sticky(StickyBy.HEADER, "x-user-id")
NORTH, SOUTH = Segment("x-region", "north", 30), Segment("x-region", "south", 100)


def route(*shares: Share, **more: Any) -> Route:
    known: dict[str, Any] = {
        "endpoint": "abc", "generation": 1, "environment": "dev", "name": "m",
        "shares": shares, "unavailable": "Nobody is ready.", "timeout_ms": 500,
        "max_request_bytes": 10, "admitted": None, "candidate": 2,
    }  # fmt: skip
    return Route(**{**known, **more})


def full(*shares: Share) -> Route:
    return route(*shares, mirror=50, preview=True, sticky=STICKY, segments=(NORTH, SOUTH))


def test_a_route_whose_sides_are_there_is_possible_as_it_is() -> None:
    for weight in (0, 10, 100):
        asked = full(Share(1, 100 - weight, (1,)), Share(2, weight, (2,)))
        assert routing.possible(asked) == asked


@pytest.mark.parametrize("without", ["replicas", "a share", "a number"])
def test_nothing_goes_to_a_candidate_that_is_not_there(without: str) -> None:
    shares = [Share(1, 100, (1,))] + [Share(2, 0, ())] * (without == "replicas")
    asked = full(*shares)
    if without == "a number":
        asked = replace(asked, candidate=None)
    left = routing.possible(asked)
    assert (left.mirror, left.segments, left.sticky) == (0, (), STICKY)
    assert left.preview == (without == "replicas")
    assert left.shares == asked.shares


def test_where_nobody_answers_only_the_preview_address_is_left() -> None:
    left = routing.possible(full(Share(1, 0, ()), Share(2, 0, (2,))))
    assert left == route(Share(1, 0, ()), Share(2, 0, (2,)), preview=True)


def test_a_segment_needs_both_of_its_sides_and_is_met_once() -> None:
    alone = full(Share(2, 100, (2,)))
    assert routing.possible(alone).segments == (SOUTH,)
    again = replace(NORTH, weight=99)
    both = replace(full(Share(1, 90, (1,)), Share(2, 10, (2,))), segments=(NORTH, SOUTH, again))
    assert routing.possible(both).segments == (NORTH, SOUTH)


def test_what_is_possible_stays_possible() -> None:
    sides = [Share(n, w, p) for n, w, p in product((1, 2), (0, 40), ((), (7,)))]
    for one, two in product(sides[:4], sides[4:]):
        left = routing.possible(full(one, two))
        assert routing.possible(left) == left


@pytest.mark.parametrize(
    ("shares", "number"),
    [
        ((Share(1, 90, (1,)), Share(2, 10, (2,)), Share(3, 0, (3,))), 1),
        ((Share(1, 0, (1,)), Share(2, 100, (2,)), Share(3, 0, ())), 1),
        ((Share(1, 0, (1,)), Share(2, 100, (2,)), Share(3, 0, (3,))), 3),
        ((Share(2, 100, (2,)),), None),
    ],
)
def test_stable_is_who_answers_what_the_candidate_does_not(
    shares: tuple[Share, ...], number: int | None
) -> None:
    found = routing.stable(route(*shares))
    assert (found and found.number) == number


def test_the_candidate_comes_first_and_nobody_without_weight_is_listed() -> None:
    asked = route(Share(1, 90, (1,)), Share(2, 10, (2,)), Share(3, 0, (3,)))
    assert routing.general_split(asked) == ((2, 10), (1, 90))
    assert routing.general_split(replace(asked, candidate=None)) == ((1, 90), (2, 10))
    assert routing.segment_split(asked, NORTH) == ((2, 30), (1, 70))
    assert routing.segment_split(asked, SOUTH) == ((2, 100),)
    assert routing.segment_split(asked, replace(NORTH, weight=0)) == ((1, 100),)
