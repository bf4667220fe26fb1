"""What of a route can be in force, and how it splits requests. Pure.

Drivers write what is possible and read it back; whoever wants a route compares with what is
possible as well. Otherwise a route that nobody can put in force would be asked for again and
again.
"""

from dataclasses import replace

from apps.endpoints.domain.values import WHOLE, Route, Segment, Share

Split = tuple[tuple[int, int], ...]  # revision numbers with their percent, none of them 0


def possible(route: Route) -> Route:
    """Return `route` with what can be in force of its trial now.

    Nothing is copied, and no segment goes, to a candidate without replicas: its requests would
    fail where the live revision would have answered them. Where nobody answers there is nothing to
    split. The preview address stays, since it is the candidate's alone, and says what is wrong.
    """
    candidate = share(route, route.candidate)
    answers = candidate is not None and bool(candidate.ports) and route.serves()
    return replace(
        route,
        mirror=route.mirror if answers else 0,
        preview=route.preview and candidate is not None,
        faulty=route.faulty and route.preview and candidate is not None and bool(candidate.ports),
        sticky=route.sticky if route.serves() else None,
        segments=_segments(route) if answers else (),
    )


def share(route: Route, number: int | None) -> Share | None:
    """Return the share of revision `number`; None when it has none."""
    return next((s for s in route.shares if s.number == number), None)


def stable(route: Route) -> Share | None:
    """Return the share beside the candidate's that answers what the candidate does not.

    It is the one with most weight; where none has weight, one with replicas, and of several the
    newest.
    """
    others = (s for s in route.shares if s.number != route.candidate)
    return max(others, key=lambda s: (s.weight, bool(s.ports), s.number), default=None)


def general_split(route: Route) -> Split:
    """Return how requests of no segment are split.

    The candidate comes first. A caller is placed by a hash on a line from 0 to 99, so the
    candidate's part begins at 0 whatever its weight, and who is in it stays in it as it grows.
    """
    first = sorted(route.shares, key=lambda s: s.number != route.candidate)
    return tuple((s.number, s.weight) for s in first if s.weight)


def segment_split(route: Route, segment: Segment) -> Split:
    """Return how requests of `segment` are split, the candidate first."""
    others = stable(route)
    rest = others.number if others else None
    sides = [(route.candidate, segment.weight), (rest, WHOLE - segment.weight)]
    return tuple((number, weight) for number, weight in sides if number is not None and weight)


def _segments(route: Route) -> tuple[Segment, ...]:
    """Return the segments that can be met, and whose sides are there."""
    first: dict[tuple[str, str], Segment] = {}
    for segment in route.segments:
        first.setdefault((segment.header, segment.value), segment)
    return tuple(s for s in first.values() if _has_its_sides(route, s))


def _has_its_sides(route: Route, segment: Segment) -> bool:
    return sum(weight for _, weight in segment_split(route, segment)) == WHOLE
