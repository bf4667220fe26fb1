"""What the page of freezes shows: values, ready to print, on each environment's own clock."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, time, timedelta
from zoneinfo import ZoneInfo

from apps.environments import selectors
from apps.environments.domain import calendar
from apps.environments.domain.calendar import NEVER, Kind, Listed, Once, Opening, Span, Weekly
from apps.environments.models import Calendar, Environment

DAYS_SHOWN = 14
WIDTH = 1_400  # of the drawing, in its own units: a hundred a day
AHEAD = timedelta(days=400)
WEEKDAYS = ("Mon", "Tue", "Wed", "Thu", "Fri", "Sat", "Sun")
STATE_WORDS = {"open": "open", "frozen": "frozen", "closed": "outside the change windows"}


@dataclass(frozen=True)
class Bar:
    """One stretch of the strip.

    Attributes:
        x: Where it begins, in units of the drawing.
        width: How long it is.
        state: "open", "frozen" or "closed".
        words: What it is, and from when to when.
    """

    x: float
    width: float
    state: str
    words: str


@dataclass(frozen=True)
class Day:
    """One day under the strip."""

    weekday: str
    number: int
    is_weekend: bool


@dataclass(frozen=True)
class Declared:
    """One freeze or window.

    Attributes:
        stands: Whether it holds at this moment.
        when: When it stands, in words.
        following: Its next occurrence, in words; "" when none is known.
    """

    row: Calendar
    stands: bool
    when: str
    following: str


@dataclass(frozen=True)
class Place:
    """One environment.

    Attributes:
        state: "open", "frozen" or "closed".
        words: What is so now and what changes it, in a sentence.
        now_x: Where the strip has come to.
        in_force: What was declared and is not over; what stands now comes first.
        ended: What was ended lately.
        may: Whether the reader may freeze it.
    """

    environment: Environment
    opening: Opening
    state: str
    words: str
    bars: tuple[Bar, ...]
    now_x: float
    days: tuple[Day, ...]
    in_force: tuple[Declared, ...]
    ended: tuple[Calendar, ...]
    may: bool


def place(
    environment: Environment, rows: Sequence[Calendar], now: datetime, *, may: bool
) -> Place:
    """Return what is shown of one environment; `rows` are its calendars, those in force first."""
    zone = ZoneInfo(environment.time_zone)
    standing = [row for row in rows if row.ended_at is None and not _is_over(row, now)]
    entries = selectors.entries(row for row in rows if row.ended_at is None)
    opening = calendar.standing(entries, now, zone)
    start = datetime.combine(now.astimezone(zone).date(), time(), tzinfo=zone)
    stop = start + timedelta(days=DAYS_SHOWN)
    state = "open" if opening.open else "frozen" if opening.standing else "closed"
    return Place(
        environment=environment,
        opening=opening,
        state=state,
        words=_sentence(opening, now, zone),
        bars=tuple(_bars(calendar.spans(entries, start, stop, zone), start, stop, zone)),
        now_x=_now_x(now, start, stop),
        days=tuple(
            Day(WEEKDAYS[day.weekday()], day.day, day.weekday() > 4)
            for day in (start + timedelta(days=n) for n in range(DAYS_SHOWN))
        ),
        in_force=tuple(
            sorted(
                (_declared(row, now, zone) for row in standing),
                key=lambda d: (d.row.kind, not d.stands, -d.row.pk),
            )
        ),
        ended=tuple(row for row in rows if row.ended_at is not None)[:5],
        may=may,
    )


def summary(places: Sequence[Place]) -> str:
    """Return the page's title: what is shut, or that nothing is."""
    shut = [p for p in places if not p.opening.open]
    if not shut:
        return "Every environment is open"
    verb = "is" if len(shut) == 1 else "are"
    words = "frozen" if all(p.state == "frozen" for p in shut) else "closed"
    return f"{_listed([p.environment.title for p in shut])} {verb} {words}"


def _listed(names: Sequence[str]) -> str:
    return " and ".join(filter(None, (", ".join(names[:-1]), names[-1])))


def _is_over(row: Calendar, now: datetime) -> bool:
    return row.kind == Kind.FREEZE and row.ends_at is not None and row.ends_at <= now


def _sentence(opening: Opening, now: datetime, zone: ZoneInfo) -> str:
    if opening.open:
        if opening.until is None:
            return "Rollouts may start at any time."
        return f"Rollouts may start until {_at(opening.until, zone)}."
    opens = (
        f"It opens {_at(opening.next_opening, zone)}."
        if opening.next_opening is not None
        else "Nothing that is declared opens it again; end what closes it, or declare a window."
    )
    return f"{opening.reason} {opens}"


def _bars(found: Iterable[Span], start: datetime, stop: datetime, zone: ZoneInfo) -> Iterable[Bar]:
    # In UTC: in one zone Python subtracts wall clocks, and a day of 25 hours would count for 24.
    begin, end = start.astimezone(UTC), stop.astimezone(UTC)
    unit = WIDTH / (end - begin).total_seconds()
    for span in found:
        titles = f": {', '.join(span.titles)}" if span.titles else ""
        yield Bar(
            x=round((span.start - begin).total_seconds() * unit, 1),
            width=round((span.end - span.start).total_seconds() * unit, 1),
            state=span.state,
            words=f"{_at(span.start, zone)} to {_at(span.end, zone)}: "
            f"{STATE_WORDS[span.state]}{titles}",
        )


def _now_x(now: datetime, start: datetime, stop: datetime) -> float:
    begin = start.astimezone(UTC)
    return round((now - begin) / (stop.astimezone(UTC) - begin) * WIDTH, 1)


def _declared(row: Calendar, now: datetime, zone: ZoneInfo) -> Declared:
    at = now.astimezone(UTC)
    entry = selectors.entries([row])
    periods = sorted(
        calendar.occurrences(entry, at, at + AHEAD, zone), key=lambda p: (p.start, p.end)
    )
    first = periods[0] if periods else None
    stands = first is not None and first.start <= at
    following = ""
    if first is not None and not isinstance(entry[0].when, Once):
        title = f"{first.title}, " if first.title != row.title else ""
        end = f"until {_at(first.end, zone)}" if stands else f"from {_at(first.start, zone)}"
        following = f"{'Now' if stands else 'Next'}: {title}{end}"
    return Declared(row, stands, _when(entry[0].when, row, zone), following)


def _when(when: Once | Weekly | Listed, row: Calendar, zone: ZoneInfo) -> str:
    match when:
        case Listed():
            return f"{row.events} event{'' if row.events == 1 else 's'} of an iCalendar file"
        case Once(starts_at, ends_at):
            end = f"to {_at(ends_at, zone)}" if ends_at else "until somebody ends it"
            return f"{_at(starts_at, zone)} {end}"
        case Weekly(days, start, end, days_later):
            names = ", ".join(WEEKDAYS[day] for day in sorted(days))
            later = f"{end:%H:%M}"
            if days_later and len(days) == 1:
                later = f"{WEEKDAYS[(next(iter(days)) + days_later) % 7]} {end:%H:%M}"
            elif days_later:
                later = f"{end:%H:%M}, {days_later} day{'' if days_later == 1 else 's'} later"
            return f"Every {names} from {start:%H:%M} to {later}"


def _at(moment: datetime, zone: ZoneInfo) -> str:
    """Return a moment on the environment's clock: "Fri 25 Dec 2026, 00:00"."""
    if moment == NEVER:
        return "somebody ends it"
    local = moment.astimezone(zone)
    return f"{WEEKDAYS[local.weekday()]} {local.day} {local:%b %Y, %H:%M}"
