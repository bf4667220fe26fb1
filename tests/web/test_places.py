"""The pages of freezes and of objectives."""

import re
from datetime import timedelta
from html import unescape
from typing import Any
from zoneinfo import ZoneInfo

import pytest
from django.core.files.uploadedfile import SimpleUploadedFile
from django.db import connection
from django.test import Client
from django.test.utils import CaptureQueriesContext

from apps.audit.models import AuditEvent
from apps.environments.models import Calendar, Environment
from apps.registry.models import Alias
from apps.slos.models import ServiceObjective
from controlplane.kernel.clock import SystemClock
from tests import factories
from tests.unit.environments.test_calendar import HOLIDAYS

pytestmark = pytest.mark.django_db
LATER = SystemClock().now() + timedelta(days=40)
FREEZE = {
    "way": "once", "environment": "production", "kind": "freeze", "title": "Year end",
    "reason": "Few are here", "starts_at": "2020-12-20T00:00",
    "ends_at": f"{LATER:%Y-%m-%dT%H:%M}",
}  # fmt: skip
WEEKLY = {
    "way": "weekly", "environment": "staging", "kind": "window", "title": "Office hours",
    "days": ["0", "1"], "start": "09:00", "end": "16:00", "days_later": "0",
}  # fmt: skip
PROMISE = {
    "production-availability_percent": "99.95", "production-latency_percent": "99",
    "production-latency_ms": "25", "production-window_days": "28",
    "production-expected_peak_rps": "40", "production-reason": "agreed with checkout",
}  # fmt: skip


def words(answer: Any) -> str:
    text = re.sub(r"<[^>]+>", " ", answer.content.decode())
    return " ".join(unescape(text).split())


def test_without_any_freeze_everything_is_open(ada: Client) -> None:
    said = words(ada.get("/freezes"))
    assert "Every environment is open" in said
    assert "Before a holiday, declare a freeze." in said


def test_a_freeze_is_declared_shown_and_ended_with_a_reason(ada: Client) -> None:
    Environment.objects.filter(slug="production").update(time_zone="Europe/Berlin")
    said = words(ada.post("/freezes", FREEZE, follow=True))
    assert "Production is frozen" in said
    assert "Frozen: Year end (Few are here)." in said
    row = Calendar.objects.get()
    berlin = ZoneInfo("Europe/Berlin")
    assert row.starts_at is not None
    assert row.starts_at.astimezone(berlin).isoformat() == "2020-12-20T00:00:00+01:00"
    said = words(ada.post(f"/freezes/{row.public_id}/end", {"reason": " "}, follow=True))
    assert "Ending a freeze early needs a reason." in said
    said = words(ada.post(f"/freezes/{row.public_id}/end", {"reason": "over"}, follow=True))
    assert "Every environment is open" in said
    assert "Year end was ended by ada" in said
    verbs = AuditEvent.objects.filter(target="environment/production").order_by("id")
    assert [e.verb for e in verbs] == ["environments.freeze", "environments.freeze.end"]


def test_windows_repeat_every_week(ada: Client) -> None:
    said = words(ada.post("/freezes", WEEKLY, follow=True))
    assert "Every Mon, Tue from 09:00 to 16:00" in said
    assert "Next:" in said or "Now:" in said


def test_a_calendar_is_uploaded_or_pasted(ada: Client) -> None:
    given = {"way": "calendar", "environment": "production", "kind": "freeze", "title": "Holidays"}
    file = SimpleUploadedFile("x.ics", HOLIDAYS.encode(), content_type="text/calendar")
    assert ada.post("/freezes", {**given, "file": file}).status_code == 302
    assert ada.post("/freezes", {**given, "ics": HOLIDAYS}).status_code == 302
    assert [row.events for row in Calendar.objects.all()] == [2, 2]
    said = words(ada.get("/freezes"))
    assert "2 events of an iCalendar file" in said
    neither = ada.post("/freezes", given)
    assert neither.status_code == 422
    assert "exactly one is needed" in words(neither)


@pytest.mark.parametrize(
    ("given", "sentence"),
    [
        ({**FREEZE, "ends_at": "2020-12-19T00:00"}, "It ends before it starts."),
        ({**FREEZE, "ends_at": "2020-12-21T00:00"}, "It is over already."),
        ({**FREEZE, "reason": ""}, "A freeze needs a reason."),
        ({**FREEZE, "kind": "window", "ends_at": ""}, "A window that happens once has an end."),
        ({**FREEZE, "environment": "moon"}, "Select a valid choice."),
        ({**FREEZE, "starts_at": "soon"}, "Enter a valid date/time."),
        ({**WEEKLY, "days": []}, "Choose at least one day."),
        ({**WEEKLY, "end": "08:00"}, "It ends at 08:00, before it starts at 09:00."),
        (
            {**FREEZE, "way": "calendar", "ics": HOLIDAYS.replace("RRULE:FREQ=YEARLY", "RRULE:x")},
            "Line 10 of the calendar is a rule without FREQ",
        ),
    ],
)
def test_what_makes_no_sense_is_said_at_its_field(
    ada: Client, given: dict[str, object], sentence: str
) -> None:
    answer = ada.post("/freezes", given)
    assert answer.status_code == 422
    assert sentence in words(answer)
    assert not Calendar.objects.exists()


def test_readers_see_freezes_and_no_form(viewer: Client) -> None:
    said = words(viewer.get("/freezes"))
    assert "Ask one of them" in said
    assert "Declare it" not in said
    assert viewer.post("/freezes", FREEZE).status_code == 403


def test_the_page_of_freezes_costs_the_same_however_many_there_are(ada: Client) -> None:
    def queries() -> int:
        with CaptureQueriesContext(connection) as seen:
            assert ada.get("/freezes").status_code == 200
        return len(seen)

    one = queries()
    now = SystemClock().now()
    for number in range(30):
        Calendar.objects.create(
            environment=Environment.objects.order_by("id")[number % 3], kind="freeze",
            title=f"f{number}", starts_at=now + timedelta(days=number),
            ends_at=now + timedelta(days=number + 1), created_by="x",
        )  # fmt: skip
    assert queries() == one <= 12


def test_an_objective_is_declared_and_said_in_plain_words(ada: Client) -> None:
    factories.model(name="iris")
    said = words(ada.get("/models/iris/objectives"))
    assert "iris promises nothing yet" in said
    said = words(ada.post("/models/iris/objectives/production", PROMISE, follow=True))
    assert "99.95 % of requests are answered and 99 % take at most 25" in said
    assert "1 in 2,000 requests, as much as 20 minutes without any answer in 28 days" in said
    row = ServiceObjective.objects.get()
    assert (row.availability, row.latency_share, row.declared_by) == (0.9995, 0.99, "ada")
    assert AuditEvent.objects.get(verb="slos.objective.edit").reason == "agreed with checkout"


@pytest.mark.parametrize(
    ("field", "value", "sentence"),
    [
        ("availability_percent", "100", "availability is 100 %"),
        ("latency_percent", "0", "latency_share is 0"),
        ("latency_ms", "-1", "latency_ms is -1"),
        ("latency_ms", "soon", "Enter a number."),
        ("window_days", "400", "from 1 to 90"),
        ("expected_peak_rps", "", "This field is required."),
    ],
)
def test_a_bad_number_is_said_at_its_field(
    ada: Client, field: str, value: str, sentence: str
) -> None:
    factories.model(name="iris")
    answer = ada.post(
        "/models/iris/objectives/production", {**PROMISE, f"production-{field}": value}
    )
    assert answer.status_code == 422
    assert sentence in words(answer)
    assert not ServiceObjective.objects.exists()


def test_the_model_page_says_which_alias_follows_what_is_live(ada: Client) -> None:
    model = factories.model(name="iris")
    assert "champion follows what is live in production" in words(ada.get("/models/iris"))
    version = factories.version(model=model)
    Alias.objects.create(model=model, name="champion", version=version)
    assert "follows production, since" in words(ada.get("/models/iris"))
