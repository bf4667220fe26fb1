from contextlib import suppress
from datetime import UTC, datetime, time, timedelta
from itertools import pairwise
from zoneinfo import ZoneInfo

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from apps.environments.domain import calendar
from apps.environments.domain.calendar import Entry, Kind, Listed, Once, Weekly
from apps.environments.domain.ical import check
from controlplane.kernel.errors import Invalid

BERLIN = ZoneInfo("Europe/Berlin")
NEW_YORK = ZoneInfo("America/New_York")
EVERY_DAY = frozenset(range(7))

HOLIDAYS = """BEGIN:VCALENDAR
VERSION:2.0
PRODID:-//Example//Holidays//EN
X-WR-CALNAME:Feiertage
BEGIN:VEVENT
UID:christmas@example.com
DTSTAMP:20240101T000000Z
DTSTART;VALUE=DATE:20201225
DTEND;VALUE=DATE:20201227
RRULE:FREQ=YEARLY
TRANSP:TRANSPARENT
SUMMARY:Christmas\\, both days
END:VEVENT
BEGIN:VEVENT
UID:labour@example.com
DTSTAMP:20240101T000000Z
DTSTART;VALUE=DATE:20200501
RRULE:FREQ=YEARLY
EXDATE;VALUE=DATE:20270501
SUMMARY:Labour Day
END:VEVENT
END:VCALENDAR
"""
OUTLOOK = """BEGIN:VCALENDAR
PRODID:-//Microsoft Corporation//Outlook 16.0 MIMEDIR//EN
VERSION:2.0
METHOD:PUBLISH
BEGIN:VTIMEZONE
TZID:House Time
BEGIN:STANDARD
DTSTART:16011028T030000
RRULE:FREQ=YEARLY;BYDAY=-1SU;BYMONTH=10
TZOFFSETFROM:+0200
TZOFFSETTO:+0100
END:STANDARD
BEGIN:DAYLIGHT
DTSTART:16010325T020000
RRULE:FREQ=YEARLY;BYDAY=-1SU;BYMONTH=3
TZOFFSETFROM:+0100
TZOFFSETTO:+0200
END:DAYLIGHT
END:VTIMEZONE
BEGIN:VEVENT
UID:change@example.com
DTSTART;TZID="House Time":20260106T090000
DTEND;TZID="House Time":20260106T110000
RRULE:FREQ=WEEKLY;BYDAY=TU
SUMMARY:Change
  window
END:VEVENT
BEGIN:VEVENT
UID:change@example.com
RECURRENCE-ID;TZID="House Time":20260324T090000
DTSTART;TZID="House Time":20260325T140000
DTEND;TZID="House Time":20260325T150000
SUMMARY:Moved by a day
END:VEVENT
END:VCALENDAR
"""


def at(text, zone=UTC):
    return datetime.fromisoformat(text).replace(tzinfo=zone)


def freeze(when, title="Year end", reason=""):
    return Entry(Kind.FREEZE, title, when, reason)


def window(when, title="Office hours"):
    return Entry(Kind.WINDOW, title, when)


def test_an_environment_without_a_calendar_is_always_open():
    seen = calendar.standing([], at("2026-11-22T10:00"), BERLIN)
    assert (seen.open, seen.until, seen.next_opening, seen.reason) == (True, None, None, "")


def test_a_freeze_closes_from_its_first_instant_until_the_one_after_its_last():
    entry = freeze(Once(at("2026-12-20T00:00"), at("2027-01-02T00:00")), reason="Few are here")
    before = calendar.standing([entry], at("2026-12-19T23:59:59"), UTC)
    during = calendar.standing([entry], at("2026-12-20T00:00"), UTC)
    after = calendar.standing([entry], at("2027-01-02T00:00"), UTC)
    assert (before.open, before.until) == (True, at("2026-12-20T00:00"))
    assert (during.open, during.next_opening) == (False, at("2027-01-02T00:00"))
    assert during.reason == "Frozen: Year end (Few are here)."
    assert after.open


def test_a_freeze_without_an_end_has_no_next_opening():
    seen = calendar.standing([freeze(Once(at("2026-01-01T00:00")))], at("2026-05-01T00:00"), UTC)
    assert (seen.open, seen.until, seen.next_opening) == (False, None, None)


def test_freezes_that_touch_are_closed_until_the_last_of_them_ends():
    entries = [
        freeze(Once(at("2026-12-20T00:00"), at("2026-12-25T00:00"))),
        freeze(Once(at("2026-12-25T00:00"), at("2026-12-30T00:00"))),
    ]
    seen = calendar.standing(entries, at("2026-12-21T00:00"), UTC)
    assert seen.next_opening == at("2026-12-30T00:00")


def test_with_windows_it_is_open_only_inside_one_and_a_freeze_closes_even_that():
    hours = window(Weekly(frozenset({0, 1, 2, 3}), time(9), time(16)))
    pause = freeze(Once(at("2026-11-23T00:00"), at("2026-11-24T12:00")))
    monday = at("2026-11-23T10:00", BERLIN)
    assert calendar.standing([hours], monday, BERLIN).open
    assert calendar.standing([hours], monday, BERLIN).until == at("2026-11-23T16:00", BERLIN)
    frozen = calendar.standing([hours, pause], monday, BERLIN)
    assert (frozen.open, frozen.next_opening) == (False, at("2026-11-24T12:00"))
    saturday = calendar.standing([hours], at("2026-11-28T10:00"), BERLIN)
    assert saturday.reason == "It is outside the change windows."
    assert saturday.next_opening == at("2026-11-30T09:00", BERLIN)


def test_a_window_that_is_over_keeps_the_environment_closed():
    over = window(Once(at("2026-01-01T00:00"), at("2026-01-02T00:00")))
    seen = calendar.standing([over], at("2026-11-22T00:00"), UTC)
    assert (seen.open, seen.next_opening) == (False, None)


def test_a_weekly_freeze_may_last_from_friday_to_monday():
    weekend = freeze(Weekly(frozenset({4}), time(16), time(8), days_later=3))
    seen = calendar.standing([weekend], at("2026-11-22T12:00"), BERLIN)
    assert (seen.open, seen.until) == (False, at("2026-11-23T08:00", BERLIN))


@pytest.mark.parametrize(
    ("day", "opens_at_utc"),
    [("2026-03-28", 8), ("2026-03-29", 7), ("2026-10-24", 7), ("2026-10-25", 8)],
)
def test_a_window_stays_at_nine_on_the_wall_when_the_clocks_change(day, opens_at_utc):
    hours = window(Weekly(EVERY_DAY, time(9), time(16)))
    seen = calendar.standing([hours], at(f"{day}T05:00"), BERLIN)
    assert seen.next_opening == at(f"{day}T{opens_at_utc:02}:00")


def test_an_all_day_holiday_is_a_day_of_the_environments_own_zone():
    holidays = freeze(Listed(HOLIDAYS), title="Public holidays")
    for zone in (BERLIN, NEW_YORK):
        seen = calendar.standing([holidays], at("2026-12-25T12:00"), zone)
        assert seen.reason == "Frozen: Christmas, both days."
        assert seen.until == at("2026-12-27T00:00", zone)
        assert calendar.standing([holidays], at("2026-12-24T23:59", zone), zone).open


def test_a_holiday_without_an_end_comes_back_every_year_but_for_its_exceptions():
    holidays = [freeze(Listed(HOLIDAYS))]
    assert not calendar.standing(holidays, at("2041-05-01T12:00"), BERLIN).open
    assert calendar.standing(holidays, at("2027-05-01T12:00"), BERLIN).open


def test_a_holiday_almost_a_year_away_is_found():
    seen = calendar.standing([freeze(Listed(HOLIDAYS))], at("2027-01-10T12:00"), UTC)
    assert seen.until == at("2027-12-25T00:00")  # Labour Day of 2027 is an exception


def test_a_calendar_of_outlook_keeps_its_own_zone_and_its_moved_occurrence():
    changes = [window(Listed(OUTLOOK))]
    assert calendar.standing(changes, at("2026-03-17T08:30"), UTC).open  # 09:30 in winter
    assert calendar.standing(changes, at("2026-03-31T07:30"), UTC).open  # 09:30 in summer
    assert not calendar.standing(changes, at("2026-03-24T08:30"), UTC).open
    assert calendar.standing(changes, at("2026-03-25T13:30"), UTC).open


def test_spans_leave_no_gap_and_say_what_stands():
    entries = [
        window(Weekly(frozenset({0}), time(9), time(16))),
        freeze(Once(at("2026-11-23T12:00"), at("2026-11-23T13:00"))),
    ]
    found = calendar.spans(entries, at("2026-11-23T00:00"), at("2026-11-24T00:00"), UTC)
    assert [(s.state, s.start.hour, s.titles) for s in found] == [
        ("closed", 0, ()),
        ("open", 9, ()),
        ("frozen", 12, ("Year end",)),
        ("open", 13, ()),
        ("closed", 16, ()),
    ]


BASE = at("2026-03-27T00:00")  # two days before the clocks change in Berlin
hours = st.integers(0, 24 * 9)
once = st.builds(
    lambda kind, begin, length: Entry(
        kind, "x", Once(BASE + timedelta(hours=begin), BASE + timedelta(hours=begin + length))
    ),
    st.sampled_from(Kind), hours, st.integers(1, 60),
)  # fmt: skip
weekly = st.builds(
    lambda kind, days, start, length, later: Entry(
        kind, "x", Weekly(days, time(start), time(min(23, start + length)), later)
    ),
    st.sampled_from(Kind), st.frozensets(st.integers(0, 6), min_size=1), st.integers(0, 21),
    st.integers(1, 3), st.integers(0, 3),
)  # fmt: skip


def open_by_the_clock(entries, moment):
    """Say whether it is open, minute by minute and without any of the arithmetic of spans."""

    def inside(when):
        if isinstance(when, Once):
            return when.starts_at <= moment < when.ends_at
        local = moment.astimezone(BERLIN).replace(tzinfo=None)
        for back in range(5):
            day = local.date() - timedelta(days=back)
            begin = datetime.combine(day, when.start)
            end = datetime.combine(day + timedelta(days=when.days_later), when.end)
            if day.weekday() in when.days and begin <= local < end:
                return True
        return False

    windows = [e for e in entries if e.kind is Kind.WINDOW]
    frozen = any(inside(e.when) for e in entries if e.kind is Kind.FREEZE)
    return not frozen and (not windows or any(inside(e.when) for e in windows))


@settings(max_examples=150, deadline=None)
@given(st.lists(once | weekly, max_size=6), hours)
def test_the_answer_is_that_of_the_wall_clock_and_holds_until_it_says(entries, offset):
    moment = BASE + timedelta(hours=offset, minutes=30)
    if moment.astimezone(BERLIN).fold or (moment + timedelta(hours=1)).astimezone(BERLIN).fold:
        return  # the hour that comes twice has no one answer by the clock
    seen = calendar.standing(entries, moment, BERLIN)
    assert seen.open is open_by_the_clock(entries, moment)
    if seen.until is not None:
        assert calendar.standing(entries, seen.until, BERLIN).open is not seen.open
        half = moment + (seen.until - moment) / 2
        assert calendar.standing(entries, half, BERLIN).open is seen.open
    assert seen.next_opening == (None if seen.open else seen.until)


@settings(max_examples=100, deadline=None)
@given(st.lists(once | weekly, max_size=6), hours)
def test_spans_and_standing_never_disagree(entries, offset):
    moment = BASE + timedelta(hours=offset, minutes=30)
    found = calendar.spans(entries, BASE, BASE + timedelta(days=11), BERLIN)
    assert found[0].start == BASE
    assert all(a.end == b.start for a, b in pairwise(found))
    span = next(s for s in found if s.start <= moment < s.end)
    assert (span.state == "open") is calendar.standing(entries, moment, BERLIN).open


def event(*lines):
    return "\n".join(["BEGIN:VCALENDAR", "BEGIN:VEVENT", *lines, "END:VEVENT", "END:VCALENDAR"])


START = "DTSTART:20261224T100000Z"


@pytest.mark.parametrize(
    ("text", "sentence"),
    [
        ("", "Line 1 of the calendar does not begin with BEGIN:VCALENDAR."),
        ("\n\n<html>", "Line 3 of the calendar does not begin"),
        ("BEGIN:VCALENDAR\nEND:VCALENDAR", "Line 2 of the calendar ends the file, and no event"),
        (
            "BEGIN:VCALENDAR\nBEGIN:VEVENT\nEND:VCALENDAR",
            "Line 3 of the calendar is END:VCALENDAR",
        ),
        ("BEGIN:VCALENDAR\nBEGIN:VEVENT\n", "Line 2 of the calendar is BEGIN:VEVENT, which never"),
        (event("SUMMARY:x"), "Line 2 of the calendar begins an event without DTSTART"),
        (event(START, "hello"), "Line 4 of the calendar is no NAME:VALUE: 'hello'"),
        (event("SUMMARY:long", " and folded", "DTSTART:2026122"), "Line 5 of the calendar cannot"),
        (event(START, "RRULE:FREQ=SOMETIMES"), "Line 4 of the calendar cannot be read"),
        (event(START, "RRULE:FREQ=SECONDLY"), "Line 4 of the calendar repeats more often"),
        (event(START, "RRULE:FREQ=DAILY;BYMINUTE=1,2"), "Line 4 of the calendar repeats more"),
        (
            event(START, "RRULE:FREQ=DAILY;BYMONTH=2;BYMONTHDAY=30"),
            "Line 4 of the calendar never happens",
        ),
        (event(START, "DTEND:20261223T100000Z"), "Line 4 of the calendar ends the event before"),
        (event(START, "DTEND;VALUE=DATE:20261225"), "Line 4 of the calendar is a day where"),
        (event(START, "DURATION:soon"), "Line 4 of the calendar cannot be read"),
        (
            event("DTSTART;TZID=Mars/Base:20261224T100000"),
            "Line 3 of the calendar names the time zone 'Mars/Base'",
        ),
    ],
)
def test_a_bad_calendar_is_refused_naming_the_line(text, sentence):
    with pytest.raises(Invalid) as refused:
        check(text)
    assert refused.value.sentence.startswith(sentence)
    assert refused.value.code == "environments.bad_calendar"
    assert refused.value.remedy


def test_calendars_of_real_programs_are_read_whatever_their_line_ends():
    for text in (HOLIDAYS, OUTLOOK, "\ufeff" + HOLIDAYS.replace("\n", "\r\n")):
        assert check(text) == 2


@settings(max_examples=200, deadline=None)
@given(st.text(max_size=200) | st.lists(st.sampled_from(HOLIDAYS.splitlines())).map("\n".join))
def test_whatever_text_comes_it_is_read_or_refused_in_words(text):
    with suppress(Invalid):
        assert check(text) > 0
