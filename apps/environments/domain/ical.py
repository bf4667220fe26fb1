"""Reading iCalendar files (RFC 5545): whether one is sound, and when its events are.

`check` is for people: it names the line at fault. `periods` is for the loop: it reads what
`check` has let through.
"""

import re
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, date, datetime, time, timedelta
from functools import lru_cache
from zoneinfo import ZoneInfo

import icalendar
import recurring_ical_events  # type: ignore[import-untyped]  # it says nothing of its types
from icalendar.parser import Contentline

from controlplane.kernel.errors import Invalid

LONGEST = 1_000_000  # characters
MOST_EVENTS = 2_000
TIMES = ("DTSTART", "DTEND", "DURATION", "RRULE", "RDATE", "EXDATE", "RECURRENCE-ID")
COARSE = frozenset({"YEARLY", "MONTHLY", "WEEKLY", "DAILY"})
LONGEST_MONTHS = {2: 29, 4: 30, 6: 30, 9: 30, 11: 30}
MARGIN = timedelta(days=2)  # floating times are compared before their zone is known
CODE = "environments.bad_calendar"
BYTE_ORDER_MARK = "\ufeff"  # Windows begins files with it

Stretch = tuple[datetime, datetime, str]


@dataclass(frozen=True)
class Line:
    """One content line, unfolded; `number` is where it begins in the file."""

    number: int
    text: str


def check(text: str) -> int:
    """Return how many events the calendar holds.

    Raises:
        Invalid: It is no calendar, or one of its lines cannot be read or would repeat without
            sense; the sentence names the line.
    """
    if len(text) > LONGEST:
        raise _bad(0, f"has {len(text)} characters; at most {LONGEST} are taken")
    if "\x00" in text:
        raise _bad(text[: text.index("\x00")].count("\n") + 1, "holds a NUL character")
    lines = list(_unfolded(text))
    if not lines or lines[0].text.strip().upper() != "BEGIN:VCALENDAR":
        raise _bad(lines[0].number if lines else 1, "does not begin with BEGIN:VCALENDAR")
    zones = frozenset(_zones(lines))
    events = list(_events(lines))
    if not events:
        raise _bad(lines[-1].number, "ends the file, and no event (VEVENT) came before it")
    if len(events) > MOST_EVENTS:
        raise _bad(0, f"has {len(events)} events; at most {MOST_EVENTS} are taken")
    for event in events:
        _check_event(event, zones)
    _expandable(text, events[0][0])
    return len(events)


def periods(text: str, start: datetime, stop: datetime, zone: ZoneInfo) -> Iterator[Stretch]:
    """Yield when the events that overlap [start, stop) begin and end, in UTC, and their titles.

    All-day events are days of `zone`, and so are times without a zone. Cancelled events are
    left out.
    """
    first, last = start.astimezone(zone).date(), stop.astimezone(zone).date()
    yield from _between(text, first, last, zone)


@lru_cache(maxsize=256)
def _between(text: str, first: date, last: date, zone: ZoneInfo) -> tuple[Stretch, ...]:
    begin = datetime.combine(first, time(), tzinfo=zone) - MARGIN
    end = datetime.combine(last, time(), tzinfo=zone) + MARGIN
    calendar = _calendar(text)
    found = []
    for event in recurring_ical_events.of(calendar).between(begin, end):
        if str(event.get("STATUS", "")).upper() != "CANCELLED":
            found.append((_instant(event.start, zone), _instant(event.end, zone), _title(event)))
    return tuple(found)


@lru_cache(maxsize=64)
def _calendar(text: str) -> icalendar.Component:
    return icalendar.Calendar.from_ical(text.removeprefix(BYTE_ORDER_MARK))


def _instant(value: date, zone: ZoneInfo) -> datetime:
    if not isinstance(value, datetime):
        return datetime.combine(value, time(), tzinfo=zone).astimezone(UTC)
    return (value if value.tzinfo else value.replace(tzinfo=zone)).astimezone(UTC)


def _title(event: icalendar.Component) -> str:
    return str(event.get("SUMMARY", "")).strip()[:200]


def _unfolded(text: str) -> Iterator[Line]:
    """Yield content lines: a line that begins with a blank goes on with the one before."""
    begun: Line | None = None
    for number, raw in enumerate(text.removeprefix(BYTE_ORDER_MARK).splitlines(), start=1):
        if raw[:1] in (" ", "\t") and begun is not None:
            begun = Line(begun.number, begun.text + raw[1:])
        elif raw.strip():
            if begun is not None:
                yield begun
            begun = Line(number, raw)
    if begun is not None:
        yield begun


def _zones(lines: list[Line]) -> Iterator[str]:
    """Yield the names of the time zones that the file itself describes."""
    inside = False
    for line in lines:
        word = line.text.strip().upper()
        if word in ("BEGIN:VTIMEZONE", "END:VTIMEZONE"):
            inside = word.startswith("BEGIN")
        elif inside and word.startswith("TZID"):
            yield line.text.strip().partition(":")[2]


def _events(lines: list[Line]) -> Iterator[list[Line]]:
    """Yield the lines of each event, and check that what begins also ends."""
    begun: list[Line] = []
    event: list[Line] | None = None
    for line in lines:
        word = line.text.strip().upper()
        if word.startswith("BEGIN:"):
            begun.append(line)
            if word == "BEGIN:VEVENT":
                event = []
        if event is not None and begun[-1].text.strip().upper() == "BEGIN:VEVENT":
            event.append(line)
        if word.startswith("END:"):
            if not begun or begun[-1].text.strip().upper() != f"BEGIN:{word[4:]}":
                raise _bad(line.number, f"is {line.text.strip()[:60]}, which nothing began")
            begun.pop()
            if word == "END:VEVENT" and event is not None:
                yield event
                event = None
    if begun:
        raise _bad(begun[-1].number, f"is {begun[-1].text.strip()[:60]}, which never ends")


def _check_event(event: list[Line], zones: frozenset[str]) -> None:
    """Check the lines of one event that say when it is."""
    values: dict[str, date] = {}
    for line in event:
        name = re.split("[;:]", line.text.strip(), maxsplit=1)[0].upper()
        if not _has_parts(line.text):
            raise _bad(line.number, f"is no NAME:VALUE: {line.text.strip()[:60]!r}")
        if name not in TIMES:
            continue
        _check_line(name, line, zones)
        when = getattr(_parsed(line)[name], "dt", None)
        if name in ("DTSTART", "DTEND") and isinstance(when, date):
            values[name] = when
    if "DTSTART" not in values:
        raise _bad(event[0].number, "begins an event without DTSTART")
    _check_order(event, values)


def _check_line(name: str, line: Line, zones: frozenset[str]) -> None:
    shown = line.text.strip()[:80]
    try:
        component = _parsed(line)
        value = component[name]
        when = getattr(value, "dt", None)
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise _bad(line.number, f"cannot be read: {shown!r}") from error
    if component.errors:
        raise _bad(line.number, f"cannot be read: {shown!r}")
    if isinstance(value, icalendar.vRecur):
        _check_rule(line, value)
    zone = re.search(r';TZID="?([^":;]+)', line.text)
    if zone and isinstance(when, datetime) and when.tzinfo is None and zone[1] not in zones:
        raise _bad(line.number, f"names the time zone {zone[1][:60]!r}, which nobody knows")


def _check_rule(line: Line, rule: icalendar.vRecur) -> None:
    """Refuse rules that repeat more often than daily, or never: both would keep us counting."""
    if not rule.get("FREQ"):
        raise _bad(line.number, "is a rule without FREQ, so nobody knows how often it repeats")
    fine = [part for part in ("BYHOUR", "BYMINUTE", "BYSECOND") if rule.get(part)]
    if str(rule.get("FREQ", [""])[0]).upper() not in COARSE or fine:
        raise _bad(line.number, "repeats more often than once a day; FREQ is DAILY at most")
    months = [int(str(m)) for m in rule.get("BYMONTH", [])]
    days = [int(str(d)) for d in rule.get("BYMONTHDAY", [])]
    possible = any(1 <= abs(d) <= LONGEST_MONTHS.get(m, 31) for m in months for d in days)
    if months and days and not possible:
        raise _bad(line.number, "never happens: no such day is in these months")


def _check_order(event: list[Line], values: dict[str, date]) -> None:
    begin, end = values["DTSTART"], values.get("DTEND")
    if end is None:
        return
    line = next(one for one in event if one.text.strip().upper().startswith("DTEND"))
    if isinstance(begin, datetime) is not isinstance(end, datetime):
        raise _bad(line.number, "is a day where DTSTART is a time, or the other way round")
    if _instant(end, ZoneInfo("UTC")) < _instant(begin, ZoneInfo("UTC")):
        raise _bad(line.number, "ends the event before it begins")


def _parsed(line: Line) -> icalendar.Component:
    """Return an event that holds this one line."""
    return icalendar.Event.from_ical(f"BEGIN:VEVENT\r\n{line.text.strip()}\r\nEND:VEVENT\r\n")


def _has_parts(text: str) -> bool:
    try:
        Contentline(text.strip()).parts()  # type: ignore[no-untyped-call]  # its own lack
    except ValueError:
        return False
    return True


def _expandable(text: str, line: Line) -> None:
    """Try what `periods` will do, for what no single line shows."""
    today = date(2026, 1, 1)
    try:
        _between(text, today, today + timedelta(days=366), ZoneInfo("UTC"))
    except Exception as error:  # the libraries raise errors of every kind
        words = f"{type(error).__name__}: {error}"[:200]
        raise _bad(line.number, f"begins events that cannot be counted out ({words})") from error


def _bad(line: int, problem: str) -> Invalid:
    where = f"Line {line} of the calendar" if line else "The calendar"
    return Invalid(
        f"{where} {problem}.",
        remedy="Export it again as an iCalendar file (.ics), or mend that line.",
        field="ics",
        code=CODE,
    )
