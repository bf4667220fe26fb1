"""Rollouts by REST: reading them, and a person's verbs."""

import json
from datetime import timedelta
from typing import Any

import pytest
from django.db import connection
from django.test import Client
from django.test.utils import CaptureQueriesContext
from django.utils import timezone

from apps.audit.models import AuditEvent
from apps.rollouts.models import Rollout
from tests import factories, rollouting

pytestmark = pytest.mark.django_db


class Api:
    """Asks as an admin, or as whoever is told."""

    def __init__(self, client: Client, headers: dict[str, str]) -> None:
        self.client, self.headers = client, headers

    def __call__(
        self, method: str, path: str, body: Any = None, **headers: str
    ) -> tuple[int, Any, Any]:
        answer = self.client.generic(
            method,
            f"/api/v1{path}",
            data=json.dumps(body) if body is not None else "",
            content_type="application/json",
            headers={**self.headers, **headers},
        )
        return answer.status_code, answer.json() if answer.content else None, answer


@pytest.fixture
def api(client: Client) -> Api:
    return Api(client, factories.bearer("admin"))


def test_a_rollout_shows_its_steps_and_what_is_in_force(api: Api) -> None:
    row = rollouting.rollout(
        strategy={"kind": "canary", "steps": [{"weight": 5, "hold_seconds": 60}, {"weight": 40}]},
        waits_for="The step's minimum hold.",
        fit={"fitting": "fits", "sentence": "It fits.", "remedy": "", "outage": None},
    )
    status, seen, answer = api("GET", f"/rollouts/{row.public_id}")
    assert status == 200
    assert (seen["state"], seen["step"], seen["weight"]) == ("progressing", 0, 5)
    assert (seen["version"], seen["stable_version"]) == (2, 1)
    assert [step["weight"] for step in seen["steps"]] == [5, 40]
    first = seen["steps"][0]
    assert (first["hold_seconds"], first["until"], first["deadline_seconds"]) == (
        60.0,
        "judged",
        3600.0,
    )
    assert "5, 40, then 100" in seen["sentence"]
    assert seen["strategy"]["on_deadline"] == "ask"
    assert seen["fit"]["fitting"] == "fits"
    assert seen["pause"] is None
    assert seen["analysis"]["answer"] == "not_yet"
    assert seen["links"]["release"] == "/api/v1/releases/7"
    again = api("GET", f"/rollouts/{row.public_id}", None, **{"if-none-match": answer["ETag"]})
    assert again[0] == 304


def test_a_rollout_shows_what_the_judge_says(api: Api) -> None:
    row = rollouting.rollout()
    run = rollouting.judged(row, sentence="412 requests so far.", remaining_seconds=90.0)
    seen = api("GET", f"/rollouts/{row.public_id}")[1]
    assert seen["analysis"] == {
        "id": run.public_id, "answer": "not_yet", "sentence": "412 requests so far.",
        "remaining_seconds": 90.0, "limit_hit": "", "problem": "",
    }  # fmt: skip


def test_rollouts_are_listed_newest_first_and_filtered(api: Api) -> None:
    iris = factories.model(name="iris")
    first = rollouting.rollout(model=iris)
    second = rollouting.rollout(environment="staging")
    third = rollouting.rollout(state="promoted", ended_at=timezone.now())

    def listed(query: str = "") -> list[str]:
        return [row["id"] for row in api("GET", f"/rollouts{query}")[1]["results"]]

    assert listed() == [third.public_id, second.public_id, first.public_id]
    assert listed("?active=true") == [second.public_id, first.public_id]
    assert listed("?model=iris") == [first.public_id]
    assert listed("?environment=staging") == [second.public_id]
    assert listed("?state=promoted") == [third.public_id]
    assert listed("?state=promoted&active=true") == []


@pytest.mark.parametrize(
    ("query", "code"),
    [
        ("state=live", "rollout.unknown_state"),
        ("active=yes", "rollout.unknown_active"),
    ],
)
def test_a_filter_that_means_nothing_is_refused(api: Api, query: str, code: str) -> None:
    status, refused, _ = api("GET", f"/rollouts?{query}")
    assert (status, refused["code"]) == (422, code)


def test_a_list_costs_the_same_at_one_and_at_ten_rows(
    api: Api, django_assert_num_queries: Any
) -> None:
    rollouting.rollout()
    api("GET", "/rollouts")  # the first use of a token is noted
    with CaptureQueriesContext(connection) as one:
        api("GET", "/rollouts")
    for _ in range(9):
        rollouting.rollout()
    with django_assert_num_queries(len(one)):
        assert len(api("GET", "/rollouts")[1]["results"]) == 10


def test_the_log_is_read_page_by_page_newest_first(api: Api) -> None:
    row = rollouting.rollout()
    for number in range(3):
        rollouting.event(row, "advanced", f"Step {number}.")
    page = api("GET", f"/rollouts/{row.public_id}/events?limit=2")[1]
    assert [event["sentence"] for event in page["results"]] == ["Step 2.", "Step 1."]
    rest = page["next"].partition("/api/v1")[2]
    assert [event["sentence"] for event in api("GET", rest)[1]["results"]] == ["Step 0."]


def test_a_person_pauses_resumes_skips_and_promotes(api: Api) -> None:
    row = rollouting.rollout()
    where = f"/rollouts/{row.public_id}"
    status, seen, _ = api("POST", f"{where}/pause", {"reason": "A sale runs."})
    assert (status, seen["state"]) == (200, "paused")
    assert seen["pause"]["kind"] == "person"
    assert seen["pause"]["reason"] == "A sale runs."
    assert seen["pause"]["by"]
    assert api("POST", f"{where}/resume", {})[1]["state"] == "progressing"
    assert api("POST", f"{where}/skip", {"reason": "Seen in staging."})[1]["step"] == 1
    status, seen, _ = api("POST", f"{where}/promote", {"reason": "Good enough."})
    assert (status, seen["state"]) == (200, "promoting")
    assert seen["decided_at"]
    verbs = AuditEvent.objects.filter(target=f"rollout/{row.public_id}").order_by("id")
    told = [event.verb for event in verbs]
    assert told == [
        "rollouts.pause", "rollouts.resume", "rollouts.skip", "rollouts.advance",
        "rollouts.promote",
    ]  # fmt: skip
    kinds = [event["kind"] for event in api("GET", f"{where}/events")[1]["results"]]
    assert kinds == ["promoted", "advanced", "skipped", "resumed", "paused"]


def test_an_abort_sends_everything_back_and_a_second_one_is_409(api: Api) -> None:
    row = rollouting.rollout()
    where = f"/rollouts/{row.public_id}"
    status, seen, _ = api("POST", f"{where}/abort", {"reason": "Customers complain."})
    assert (status, seen["state"], seen["reason"]) == (200, "rolling_back", "Customers complain.")
    row.endpoint.refresh_from_db()
    assert row.endpoint.trial is None or row.endpoint.trial["weight"] == 0
    status, refused, _ = api("POST", f"{where}/abort", {"reason": "Again."})
    assert (status, refused["code"]) == (409, "rollout.illegal_move")
    assert "cannot abort now" in refused["detail"]


def test_before_it_starts_an_abort_just_ends_it(api: Api) -> None:
    row = rollouting.rollout(state="pending")
    seen = api("POST", f"/rollouts/{row.public_id}/abort", {"reason": "Wrong version."})[1]
    assert seen["state"] == "cancelled"


@pytest.mark.parametrize("verb", ["pause", "skip", "promote", "abort"])
def test_a_verb_that_moves_traffic_says_why(api: Api, verb: str) -> None:
    row = rollouting.rollout()
    for body in ({}, {"reason": ""}, {"reason": "  "}):
        status, refused, _ = api("POST", f"/rollouts/{row.public_id}/{verb}", body)
        assert status == 422
        named = [refused.get("field"), *(e["field"] for e in refused.get("errors", ()))]
        assert "reason" in named
    row.refresh_from_db()
    assert row.state == "progressing"


@pytest.mark.parametrize("verb", ["resume", "skip", "promote", "pause"])
def test_what_has_ended_takes_no_verb(api: Api, verb: str) -> None:
    row = rollouting.rollout(state="rolled_back", ended_at=timezone.now())
    status, refused, _ = api("POST", f"/rollouts/{row.public_id}/{verb}", {"reason": "r"})
    assert (status, refused["code"]) == (409, "rollout.illegal_move")
    assert refused["remedy"] == "Possible now: nothing."


def test_whoever_skips_a_step_skips_the_one_that_they_saw(api: Api) -> None:
    row = rollouting.rollout()
    where = f"/rollouts/{row.public_id}"
    tag = api("GET", where)[2]["ETag"]
    # A worker's pass writes by `update`, so the row's own time of change stays as it was.
    Rollout.objects.filter(pk=row.pk).update(step=1, step_seen_at=timezone.now())
    status, refused, _ = api("POST", f"{where}/skip", {"reason": "r"}, **{"if-match": tag})
    assert (status, refused["code"]) == (412, "request.stale")
    fresh = api("GET", where)[2]["ETag"]
    assert api("POST", f"{where}/skip", {"reason": "r"}, **{"if-match": fresh})[1]["step"] == 2


def test_the_same_key_skips_one_step_however_often_it_is_sent(api: Api) -> None:
    row = rollouting.rollout()
    where = f"/rollouts/{row.public_id}/skip"
    answers = [api("POST", where, {"reason": "r"}, **{"idempotency-key": "k"}) for _ in range(3)]
    assert {body["step"] for _, body, _ in answers} == {1}
    assert [answer.get("Idempotency-Replayed") for *_, answer in answers] == [None, "true", "true"]


def test_what_is_another_team_s_is_not_there(client: Client) -> None:
    row = rollouting.rollout()
    somebody = factories.person()
    factories.grant(person=somebody, role="admin", team=factories.team(slug="parcels"))
    _, secret = factories.token(owner=somebody)
    api = Api(client, {"authorization": f"Bearer {secret}"})
    assert api("GET", "/rollouts")[1]["results"] == []
    status, refused, _ = api("POST", f"/rollouts/{row.public_id}/abort", {"reason": "r"})
    assert (status, refused["code"]) == (404, "rollout.missing")


def test_a_contributor_stops_and_does_not_promote(client: Client) -> None:
    row = rollouting.rollout()
    api = Api(client, factories.bearer("contributor"))
    status, refused, _ = api("POST", f"/rollouts/{row.public_id}/promote", {"reason": "r"})
    assert (status, refused["code"]) == (403, "access.denied")
    assert api("POST", f"/rollouts/{row.public_id}/pause", {"reason": "r"})[0] == 200


def test_a_silent_judge_is_said_to_be_silent(api: Api) -> None:
    row = rollouting.rollout()
    long_ago = timezone.now() - timedelta(minutes=5)
    rollouting.judged(row, looked_at=long_ago, answer="not_worse", sentence="Fine.")
    said = api("GET", f"/rollouts/{row.public_id}")[1]["analysis"]
    assert said["answer"] == "not_yet"
    assert "Nobody has looked" in said["problem"]


def test_a_rehearsal_is_begun_beside_what_is_live_and_shows_itself_as_one(api: Api) -> None:
    revision = factories.revision(endpoint=factories.endpoint(environment="staging"))
    asked = {
        "model": revision.endpoint.name, "version": revision.version.number,
        "environment": "staging", "reason": "Before the release.",
    }  # fmt: skip
    status, begun, _ = api("POST", "/rollouts/rehearse", asked)
    assert status == 201
    assert (begun["rehearsal"], begun["state"], begun["release_number"]) == (True, "pending", None)
    assert (begun["version"], begun["stable_version"]) == (1, 1)
    assert [step["weight"] for step in begun["steps"]] == [10]
    row = Rollout.objects.get(public_id=begun["id"])
    assert row.authorization["ground"] == "rehearsal"
    assert row.candidate_id != revision.pk
    status, refused, _ = api("POST", f"/rollouts/{row.public_id}/promote", {"reason": "now"})
    assert (status, refused["code"]) == (409, "rollout.only_a_rehearsal")


def test_a_rehearsal_is_refused_where_something_is_protected(api: Api) -> None:
    revision = factories.revision(endpoint=factories.endpoint(environment="production"))
    asked = {
        "model": revision.endpoint.name, "version": 1, "environment": "production", "reason": "x",
    }  # fmt: skip
    status, refused, _ = api("POST", "/rollouts/rehearse", asked)
    assert (status, refused["code"]) == (409, "rollout.rehearsal_where_protected")
    assert not Rollout.objects.exists()
