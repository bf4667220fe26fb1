"""When an environment accepts rollouts: freezes close it, change windows open it.

Pure: entries, an instant and a time zone in, an answer out. Everything travels in UTC; wall
clocks (a weekly window, an all-day holiday, a floating time of an .ics file) are read in the
environment's own zone, so a window from 09:00 stays at 09:00 when the clocks change.
"""

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from datetime import UTC, date, datetime, time, timedelta
from enum import StrEnum
from itertools import pairwise
from zoneinfo import ZoneInfo

from apps.environments.domain import ical

NEAR = timedelta(days=35)
FAR = timedelta(days=400)  # a window that comes once a year is found; beyond that, nobody plans
ALWAYS = datetime.min.replace(tzinfo=UTC)
NEVER = datetime.max.replace(tzinfo=UTC)
LONGEST_WEEKLY = timedelta(days=7)


class Kind(StrEnum):
    """What an entry does while it stands."""

    FREEZE = "freeze"
    WINDOW = "window"


@dataclass(frozen=True)
class Once:
    """One stretch of time; without an end, until somebody ends it."""

    starts_at: datetime
    ends_at: datetime | None = None


@dataclass(frozen=True)
class Weekly:
    """The same hours on some days of every week, on the environment's own clock.

    Attributes:
        days: 0 for Monday to 6 for Sunday: the days on which it starts.
        start: When it starts.
        end: When it ends.
        days_later: How many days after its start it ends: Friday 16:00 to Monday 08:00 is 3.
    """

    days: frozenset[int]
    start: time
    end: time
    days_later: int = 0


@dataclass(frozen=True)
class Listed:
    """The events of an iCalendar file."""

    text: str


@dataclass(frozen=True)
class Entry:
    """One freeze, change window or calendar of either.

    Attributes:
        key: Tells it from the others.
        title: What people call it ("Year end").
        reason: Why.
    """

    kind: Kind
    title: str
    when: Once | Weekly | Listed
    reason: str = ""
    key: str = ""


@dataclass(frozen=True)
class Period:
    """One occurrence of an entry, in UTC; `end` is the first instant after it."""

    start: datetime
    end: datetime
    entry: Entry
    title: str


@dataclass(frozen=True)
class Span:
    """A stretch of time with one answer.

    Attributes:
        state: "open", "frozen", or "closed" for outside the change windows.
        titles: The freezes that stand in it.
    """

    start: datetime
    end: datetime
    state: str
    titles: tuple[str, ...] = ()


@dataclass(frozen=True)
class Opening:
    """Whether rollouts may start.

    Attributes:
        open: Whether they may, at the instant that was asked about.
        reason: What closes it, for a person; "" when it is open.
        until: When this answer changes; None when nothing declared so far changes it.
        next_opening: When it opens; None while it is open, or when no opening is declared.
        standing: The freezes that stand.
    """

    open: bool
    reason: str = ""
    until: datetime | None = None
    next_opening: datetime | None = None
    standing: tuple[Period, ...] = ()


def standing(entries: Sequence[Entry], at: datetime, zone: ZoneInfo) -> Opening:
    """Return whether rollouts may start at `at`, and when that changes.

    Without any window the environment is open unless a freeze stands; with windows, it is open
    only inside one, and a freeze closes even that.

    Args:
        entries: What was declared and not ended.
        at: The instant asked about.
        zone: Where the environment's clock hangs.
    """
    at = at.astimezone(UTC)
    near = _look(entries, at, zone, NEAR)
    return near if near.until is not None else _look(entries, at, zone, FAR)


def spans(entries: Sequence[Entry], start: datetime, stop: datetime, zone: ZoneInfo) -> list[Span]:
    """Return the answers from `start` to `stop`, without gaps, each as long as it holds."""
    start, stop = start.astimezone(UTC), stop.astimezone(UTC)
    periods = list(occurrences(entries, start, stop, zone))
    freezes = [p for p in periods if p.entry.kind is Kind.FREEZE]
    windows = _windows(entries, periods)
    edges = {start, stop, *(e for p in freezes for e in (p.start, p.end))}
    edges |= {edge for window in windows for edge in window}
    inside = sorted(edge for edge in edges if start <= edge <= stop)
    found: list[Span] = []
    for begin, end in pairwise(inside):
        titles = tuple(sorted({p.title for p in freezes if p.start <= begin < p.end}))
        is_window = any(s <= begin < e for s, e in windows)
        state = "frozen" if titles else "open" if is_window else "closed"
        if found and (found[-1].state, found[-1].titles) == (state, titles):
            found[-1] = Span(found[-1].start, end, state, titles)
        else:
            found.append(Span(begin, end, state, titles))
    return found


def occurrences(
    entries: Iterable[Entry], start: datetime, stop: datetime, zone: ZoneInfo
) -> Iterator[Period]:
    """Yield the occurrences of `entries` that overlap [start, stop), in UTC, in no order."""
    for entry in entries:
        for begin, end, title in _times(entry, start, stop, zone):
            if begin < stop and end > start and begin < end:
                yield Period(begin, end, entry, title or entry.title)


def _look(entries: Sequence[Entry], at: datetime, zone: ZoneInfo, ahead: timedelta) -> Opening:
    stop = at + ahead
    periods = list(occurrences(entries, at, stop, zone))
    freezes = _merged((p.start, p.end) for p in periods if p.entry.kind is Kind.FREEZE)
    openings = _without(_windows(entries, periods), freezes)
    for begin, end in openings:
        if begin <= at < end:
            return Opening(open=True, until=end if end <= stop else None)
    now = tuple(
        sorted(
            (p for p in periods if p.entry.kind is Kind.FREEZE and p.start <= at < p.end),
            key=lambda p: (p.end, p.title),
            reverse=True,
        )
    )
    following = next((begin for begin, _ in openings if begin > at), None)
    opens = following if following is not None and following < stop else None
    return Opening(open=False, reason=_reason(now), until=opens, next_opening=opens, standing=now)


def _reason(freezes: Sequence[Period]) -> str:
    if not freezes:
        return "It is outside the change windows."
    words = [
        f"{p.title} ({p.entry.reason})"
        if p.entry.reason and p.entry.reason != p.title
        else p.title
        for p in freezes
    ]
    return f"Frozen: {'; '.join(words)}."


def _windows(
    entries: Iterable[Entry], periods: Iterable[Period]
) -> list[tuple[datetime, datetime]]:
    """Return when windows are open; always, when none is declared."""
    if not any(entry.kind is Kind.WINDOW for entry in entries):
        return [(ALWAYS, NEVER)]
    return _merged((p.start, p.end) for p in periods if p.entry.kind is Kind.WINDOW)


def _merged(
    stretches: Iterable[tuple[datetime, datetime]],
) -> list[tuple[datetime, datetime]]:
    """Return the union of half-open stretches, in order, those that touch joined."""
    found: list[tuple[datetime, datetime]] = []
    for begin, end in sorted(stretches):
        if found and begin <= found[-1][1]:
            found[-1] = (found[-1][0], max(end, found[-1][1]))
        else:
            found.append((begin, end))
    return found


def _without(
    stretches: Sequence[tuple[datetime, datetime]], holes: Sequence[tuple[datetime, datetime]]
) -> list[tuple[datetime, datetime]]:
    """Return merged `stretches` with merged `holes` taken out, in order."""
    found = []
    for begin, end in stretches:
        for hole_begin, hole_end in holes:
            if hole_end <= begin or hole_begin >= end:
                continue
            if begin < hole_begin:
                found.append((begin, hole_begin))
            begin = max(begin, hole_end)
        if begin < end:
            found.append((begin, end))
    return found


def _times(
    entry: Entry, start: datetime, stop: datetime, zone: ZoneInfo
) -> Iterator[tuple[datetime, datetime, str]]:
    match entry.when:
        case Once(starts_at, ends_at):
            yield starts_at.astimezone(UTC), ends_at.astimezone(UTC) if ends_at else NEVER, ""
        case Weekly() as weekly:
            yield from _weekly(weekly, start, stop, zone)
        case Listed(text):
            yield from ical.periods(text, start, stop, zone)


def _weekly(
    weekly: Weekly, start: datetime, stop: datetime, zone: ZoneInfo
) -> Iterator[tuple[datetime, datetime, str]]:
    day = start.astimezone(zone).date() - LONGEST_WEEKLY
    last = stop.astimezone(zone).date()
    while day <= last:
        if day.weekday() in weekly.days:
            end_day = day + timedelta(days=weekly.days_later)
            yield _on_clock(day, weekly.start, zone), _on_clock(end_day, weekly.end, zone), ""
        day += timedelta(days=1)


def _on_clock(day: date, at: time, zone: ZoneInfo) -> datetime:
    """Return when the clock shows `at`; an hour that is skipped counts from before the change."""
    return datetime.combine(day, at, tzinfo=zone).astimezone(UTC)
