"""Strategy templates and previews by REST."""

import json
from datetime import timedelta
from typing import Any

import pytest
from django.test import Client
from django.utils import timezone

from apps.audit.models import AuditEvent
from apps.endpoints.models import Revision
from apps.rollouts.models import Rollout, StrategyTemplate
from tests import factories, governed

pytestmark = pytest.mark.django_db
TEMPLATES = "/environments/production/strategy-templates"
CANARY = {"kind": "canary", "steps": [{"weight": 20, "hold_seconds": 30}]}


@pytest.fixture
def api(client: Client) -> Any:
    headers = factories.bearer("admin")

    def ask(method: str, path: str, body: Any = None, **more: str) -> tuple[int, Any, Any]:
        answer = client.generic(
            method, f"/api/v1{path}", data=json.dumps(body) if body is not None else "",
            content_type="application/json", headers={**headers, **more},
        )  # fmt: skip
        return answer.status_code, answer.json() if answer.content else None, answer

    return ask


def test_every_environment_begins_with_four_templates_and_no_default(api: Any) -> None:
    for slug in ("dev", "staging", "production"):
        rows = api("GET", f"/environments/{slug}/strategy-templates")[1]["results"]
        assert sorted(row["name"] for row in rows) == [
            "blue-green", "careful-canary", "quick-canary", "shadow-then-canary",
        ]  # fmt: skip
        assert not any(row["is_default"] for row in rows)
    careful = api("GET", f"{TEMPLATES}/careful-canary")[1]
    assert careful["least_seconds"] == 2400
    assert careful["sentence"].startswith("5, 10, 25, 50, then 100")


def test_a_template_is_written_changed_and_removed(api: Any) -> None:
    where = f"{TEMPLATES}/mine"
    status, made, answer = api("PUT", where, {"title": "Mine", "document": CANARY})
    assert (status, made["name"], made["is_default"]) == (201, "mine", False)
    assert made["document"]["on_deadline"] == "ask", "defaults are written out"
    changed = {"title": "Mine", "document": {"kind": "all_at_once"}, "is_default": True}
    status, row, _ = api("PUT", where, changed, **{"if-match": answer["ETag"]})
    assert (status, row["is_default"]) == (200, True)
    status, stale, _ = api("PUT", where, changed, **{"if-match": answer["ETag"]})
    assert (status, stale["code"]) == (412, "request.stale")
    assert api("DELETE", where, {"reason": "Unused."})[0] == 204
    status, gone, _ = api("GET", where)
    assert (status, gone["code"]) == (404, "rollout.template_missing")
    verbs = AuditEvent.objects.filter(target__startswith="strategy-template/").order_by("id")
    assert [event.verb for event in verbs] == [
        "rollouts.template.save", "rollouts.template.save", "rollouts.template.remove",
    ]  # fmt: skip


def test_only_one_template_is_the_default(api: Any) -> None:
    for name in ("one", "two"):
        body = {"title": name, "document": CANARY, "is_default": True}
        assert api("PUT", f"{TEMPLATES}/{name}", body)[0] == 201
    rows = api("GET", TEMPLATES)[1]["results"]
    assert [row["name"] for row in rows if row["is_default"]] == ["two"]
    assert rows[0]["name"] == "two", "the default stands first"


@pytest.mark.parametrize(
    ("name", "body", "field"),
    [
        ("Mine", {"title": "Mine", "document": CANARY}, "name"),
        ("x" * 41, {"title": "Mine", "document": CANARY}, "name"),
        ("mine", {"title": " ", "document": CANARY}, "title"),
        ("mine", {"document": CANARY}, "title"),
        ("mine", {"title": "Mine", "document": {"kind": "leap"}}, "strategy.kind"),
        ("mine", {"title": "Mine", "document": {**CANARY, "colour": 1}}, "strategy.colour"),
        (
            "mine",
            {"title": "Mine", "document": {"kind": "canary", "steps": [{"weight": 0}]}},
            "strategy.steps[0].weight",
        ),
        ("mine", {"title": "Mine", "document": {"kind": "ab"}}, "strategy.metric"),
    ],
)
def test_a_template_that_makes_no_sense_names_its_field(
    api: Any, name: str, body: Any, field: str
) -> None:
    status, refused, _ = api("PUT", f"{TEMPLATES}/{name}", body)
    assert status == 422, refused
    named = [refused.get("field"), *(error["field"] for error in refused.get("errors", ()))]
    assert field in named
    assert StrategyTemplate.objects.filter(edited_by__startswith="person").count() == 0


def test_an_admin_of_one_team_writes_no_template_for_all(client: Client) -> None:
    somebody = factories.person()
    factories.grant(person=somebody, role="admin", team=factories.team(slug="fraud"))
    _, secret = factories.token(owner=somebody)
    answer = client.put(
        f"/api/v1{TEMPLATES}/mine", json.dumps({"title": "M", "document": CANARY}),
        content_type="application/json", headers={"authorization": f"Bearer {secret}"},
    )  # fmt: skip
    assert answer.status_code == 403


# --- previews -----------------------------------------------------------------------------------


def test_a_preview_says_what_a_strategy_does_and_changes_nothing(api: Any) -> None:
    status, seen, _ = api("POST", "/strategies/preview", {"strategy": {"kind": "linear"}})
    assert status == 200
    assert [step["weight"] for step in seen["steps"]] == [20, 40, 60, 80]
    assert seen["least_seconds"] == 480
    assert seen["strategy"]["by"] == 20
    assert seen["needed"] is None
    assert seen["cost"].startswith("Takes at least 8\u202fmin, and needs room")
    assert AuditEvent.objects.count() == 0
    assert Rollout.objects.count() == 0


def test_a_preview_of_what_is_coming_says_what_it_needs_beside_what_is_live(api: Any) -> None:
    house = governed.house()
    asked = {
        "strategy": {"template": "careful-canary"}, "environment": "production",
        "model": house.model.name, "version": 1,
    }  # fmt: skip
    first = api("POST", "/strategies/preview", asked)[1]
    assert first["has_stable"] is False
    assert first["steps"] == [], "with nothing live there is nobody to take traffic from"
    assert first["cost"] == "Needs one replica, about 110\u202fMB."
    endpoint = factories.endpoint(model=house.model, environment="production")
    factories.revision(endpoint=endpoint, variant=house.variant)
    house.next_version()
    house.variant.memory_mb = 300.0
    house.variant.save()
    seen = api("POST", "/strategies/preview", {**asked, "version": 2})[1]
    assert seen["needed"]["sentence"] == "needs one more replica, about 330\u202fMB"
    assert (
        seen["cost"]
        == "Takes at least 40\u202fmin, and needs one more replica, about 330\u202fMB."
    )
    three = api("POST", "/strategies/preview", {**asked, "version": 2, "replicas": 3})[1]
    assert (three["needed"]["replicas"], three["needed"]["memory_mb"]) == (3, 990)


def test_a_preview_of_recreate_says_how_long_nobody_answers(api: Any) -> None:
    house = governed.house()
    endpoint = factories.endpoint(model=house.model, environment="production")
    now = timezone.now()
    for seconds in (3, 4, 20):
        factories.revision(
            endpoint=endpoint, variant=house.variant, state="retired",
            started_at=now - timedelta(seconds=seconds), ready_at=now,
        )  # fmt: skip
    factories.revision(endpoint=endpoint, variant=house.variant)
    house.next_version()
    seen = api(
        "POST", "/strategies/preview",
        {
            "strategy": {"kind": "recreate"}, "environment": "production",
            "model": house.model.name, "version": 2,
        },
    )[1]  # fmt: skip
    assert seen["needed"]["outage_seconds"] == 4.0, "the median of the starts that were seen"
    assert "nobody answers for about 4.0\u202fs" in seen["cost"]
    assert Revision.objects.count() == 4, "what would be served is never written"


@pytest.mark.parametrize(
    ("body", "code"),
    [
        ({"strategy": {"template": "careful-canary"}}, "rollout.template_of_no_environment"),
        (
            {"strategy": {"template": "x"}, "environment": "production"},
            "rollout.template_missing",
        ),
        ({"strategy": {"kind": "canary"}, "model": "iris"}, "rollout.preview_incomplete"),
        ({"environment": "production", "version": 1}, "rollout.preview_incomplete"),
        ({"strategy": {"kind": "ab", "metric": {}}}, "analysis.bad_metric"),
        ({"environment": "moon"}, "environments.missing"),
    ],
)
def test_a_preview_of_nothing_sensible_is_refused(api: Any, body: Any, code: str) -> None:
    status, refused, _ = api("POST", "/strategies/preview", body)
    assert status in (404, 422)
    assert refused["code"] == code


def test_without_a_strategy_the_environment_s_default_is_shown(api: Any) -> None:
    assert api("POST", "/strategies/preview", {"environment": "production"})[1]["steps"] == []
    StrategyTemplate.objects.filter(
        environment__slug="production", name="quick-canary"
    ).update(is_default=True)  # fmt: skip
    seen = api("POST", "/strategies/preview", {"environment": "production"})[1]
    assert [step["weight"] for step in seen["steps"]] == [10, 50]


def test_a_release_is_proposed_by_a_template_s_name_and_keeps_what_it_said(api: Any) -> None:
    house = governed.house()
    status, row, _ = api(
        "POST", "/releases",
        {
            "model": house.model.name, "version": 1, "environment": "production",
            "strategy": {"template": "quick-canary"},
        },
    )  # fmt: skip
    assert status == 201
    assert [step["weight"] for step in row["strategy"]["steps"]] == [10, 50]
    StrategyTemplate.objects.all().delete()
    kept = api("GET", f"/releases/{row['number']}")[1]["strategy"]
    assert kept == row["strategy"]
