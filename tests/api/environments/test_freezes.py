"""Freezes, windows, openings, aliases of environments and objectives by REST."""

import json
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from django.test import Client

from apps.audit.models import AuditEvent
from apps.environments import selectors
from apps.environments.models import Calendar, Environment
from apps.slos.models import ServiceObjective
from tests import factories
from tests.unit.environments.test_calendar import HOLIDAYS

pytestmark = pytest.mark.django_db
PRODUCTION = "/api/v1/environments/production"
SOON = (datetime.now(UTC) + timedelta(days=9)).isoformat()
NOW_ON = {"title": "Move", "reason": "Nodes are replaced", "starts_at": "2026-01-01T00:00:00Z"}
WEEKLY = {"days": ["fri"], "start": "16:00", "end": "08:00", "days_later": 3}


class Api:
    """Asks as an admin, or as whoever is told."""

    def __init__(self, client: Client, headers: dict[str, str]) -> None:
        self.client, self.headers = client, headers

    def __call__(self, method: str, path: str, body: Any = None) -> tuple[int, Any]:
        answer = self.client.generic(
            method, path, data=_json(body), content_type="application/json", headers=self.headers
        )
        return answer.status_code, answer.json() if answer.content else None


def _json(body: Any) -> str:
    return json.dumps(body) if body is not None else ""


@pytest.fixture
def api(client: Client) -> Api:
    return Api(client, factories.bearer("admin"))


def test_a_freeze_closes_and_its_end_opens(api: Api) -> None:
    assert api("GET", f"{PRODUCTION}/opening")[1]["open"] is True
    status, made = api("POST", f"{PRODUCTION}/freezes", NOW_ON)
    assert (status, made["kind"], made["ends_at"]) == (201, "freeze", None)
    closed = api("GET", f"{PRODUCTION}/opening")[1]
    assert closed == {
        "open": False,
        "reason": "Frozen: Move (Nodes are replaced).",
        "until": None,
        "next_opening": None,
        "standing": [{"title": "Move", "reason": "Nodes are replaced", "until": None}],
    }
    where = f"{PRODUCTION}/freezes/{made['id']}"
    assert api("GET", where)[1]["title"] == "Move"
    status, refused = api("DELETE", where)
    assert (status, refused["code"]) == (422, "environments.reason_missing")
    status, ended = api("DELETE", where, {"reason": "done"})
    assert (status, ended["ended_because"]) == (200, "done")
    assert api("DELETE", where, {"reason": "done"})[1]["code"] == "environments.calendar_ended"
    assert api("GET", f"{PRODUCTION}/opening")[1]["open"] is True
    listed = api("GET", f"{PRODUCTION}/freezes")[1]["results"]
    assert [row["id"] for row in listed] == [made["id"]]
    assert AuditEvent.objects.filter(target="environment/production").count() == 2


def test_freezes_come_weekly_and_by_calendar(api: Api) -> None:
    weekly = {"title": "Weekend", "reason": "Nobody is here", "weekly": WEEKLY}
    status, made = api("POST", f"{PRODUCTION}/freezes", weekly)
    assert (status, made["weekly"]) == (201, WEEKLY)
    status, made = api("POST", f"{PRODUCTION}/freezes", {"title": "Holidays", "ics": HOLIDAYS})
    assert (status, made["events"]) == (201, 2)


def test_a_window_is_no_freeze(api: Api) -> None:
    made = api("POST", f"{PRODUCTION}/windows", {"title": "Hours", "weekly": WEEKLY})[1]
    status, missing = api("GET", f"{PRODUCTION}/freezes/{made['id']}")
    assert (status, missing["code"]) == (404, "environments.no_such_calendar")
    status, _ = api("GET", f"/api/v1/environments/dev/windows/{made['id']}")
    assert status == 404


@pytest.mark.parametrize(
    ("body", "field"),
    [
        ({**NOW_ON, "reason": ""}, "reason"),
        ({**NOW_ON, "title": " "}, "title"),
        ({**NOW_ON, "ends_at": "2025-12-01T00:00:00Z"}, "ends_at"),
        ({**NOW_ON, "starts_at": "2099-01-01T00:00:00Z"}, "starts_at"),
        ({**NOW_ON, "starts_at": "soon"}, "starts_at"),
        ({**NOW_ON, "weekly": WEEKLY}, "starts_at"),
        ({"title": "t", "reason": "r"}, "starts_at"),
        ({"title": "t", "reason": "r", "weekly": {**WEEKLY, "days": []}}, "weekly.days"),
        ({"title": "t", "reason": "r", "weekly": {**WEEKLY, "days_later": 0}}, "end"),
        ({"title": "t", "ics": "BEGIN:VCALENDAR\nnonsense"}, "ics"),
        ({**NOW_ON, "colour": "red"}, "colour"),
    ],
)
def test_a_bad_freeze_is_refused_naming_the_field(api: Api, body: Any, field: str) -> None:
    status, refused = api("POST", f"{PRODUCTION}/freezes", body)
    assert status in (400, 422)
    named = [refused["field"], *(error["field"] for error in refused.get("errors", ()))]
    assert field in named
    assert not Calendar.objects.exists()


def test_only_so_many_stand_at_once(api: Api) -> None:
    place = selectors.by_slug("production")
    Calendar.objects.bulk_create(
        Calendar(environment=place, kind="freeze", title="x", starts_at=SOON) for _ in range(200)
    )
    status, refused = api("POST", f"{PRODUCTION}/freezes", NOW_ON)
    assert (status, refused["code"]) == (409, "environments.too_many_calendars")


def test_an_operator_of_one_team_freezes_nothing_for_all(client: Client) -> None:
    somebody = factories.person()
    factories.grant(person=somebody, role="operator", team=factories.team(slug="fraud"))
    headers = {"authorization": f"Bearer {factories.token(owner=somebody)[1]}"}
    assert Api(client, headers)("POST", f"{PRODUCTION}/freezes", NOW_ON)[0] == 403


def test_the_alias_of_an_environment_is_chosen_by_an_admin(api: Api) -> None:
    assert selectors.protected_aliases() == {"champion": "production"}
    changed = {"alias": "live", "alias_drift": "adopt", "time_zone": "Europe/Berlin"}
    assert api("PATCH", PRODUCTION, changed)[0] == 200
    assert selectors.protected_aliases() == {"live": "production"}
    status, refused = api("PATCH", "/api/v1/environments/staging", {"alias": "live"})
    assert (status, refused["code"]) == (409, "environments.alias_taken")
    assert api("PATCH", PRODUCTION, {"alias": ""})[0] == 200
    assert selectors.protected_aliases() == {}


@pytest.mark.parametrize(
    ("change", "code"),
    [
        ({"alias": "Champion"}, "environments.bad_alias"),
        ({"alias": "v3"}, "environments.bad_alias"),
        ({"alias": "latest"}, "environments.bad_alias"),
        ({"alias": "a b"}, "environments.bad_alias"),
        ({"time_zone": "Mars/Base"}, "environments.bad_time_zone"),
    ],
)
def test_a_bad_word_for_an_environment_is_refused(api: Api, change: Any, code: str) -> None:
    status, refused = api("PATCH", PRODUCTION, change)
    assert (status, refused["code"]) == (422, code)
    assert Environment.objects.get(slug="production").alias == "champion"


def test_an_objective_is_declared_read_and_replaced(api: Api) -> None:
    model = factories.model(name="iris")
    where = "/api/v1/models/iris/objectives/production"
    status, missing = api("GET", where)
    assert (status, missing["code"]) == (404, "slos.not_declared")
    given = {"latency_ms": 50, "expected_peak_rps": 20, "reason": "agreed"}
    status, made = api("PUT", where, given)
    assert (status, made["availability"], made["window_days"]) == (200, 0.999, 28)
    assert api("PUT", where, given)[0] == 200
    assert api("PUT", where, {**given, "latency_ms": 40})[1]["latency_ms"] == 40
    assert api("GET", where)[1]["latency_ms"] == 40
    events = AuditEvent.objects.filter(verb="slos.objective.edit").order_by("id")
    assert [(e.before.get("latency_ms"), e.after["latency_ms"]) for e in events] == [
        (None, 50), (50, 40),
    ]  # fmt: skip
    assert ServiceObjective.objects.get().model_id == model.pk


@pytest.mark.parametrize(
    ("change", "field"),
    [
        ({"latency_ms": 0}, "latency_ms"),
        ({"latency_ms": "nan"}, "latency_ms"),
        ({"availability": 1}, "availability"),
        ({"latency_share": 99}, "latency_share"),
        ({"window_days": 0}, "window_days"),
        ({"expected_peak_rps": "inf"}, "expected_peak_rps"),
    ],
)
def test_a_bad_objective_is_refused_naming_the_field(api: Api, change: Any, field: str) -> None:
    factories.model(name="iris")
    given = {"latency_ms": 50, "expected_peak_rps": 20, **change}
    status, refused = api("PUT", "/api/v1/models/iris/objectives/production", given)
    assert (status, refused["field"]) == (422, field)
    assert not ServiceObjective.objects.exists()
