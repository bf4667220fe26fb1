"""The shape that every REST address shares: problems, pages, entity tags, repetition."""

import json
import threading
from typing import Any

import pytest
from django.db import connection
from django.test import Client

from apps.accounts.models import ApiToken, Team
from controlplane.http.models import StoredAnswer
from tests import factories

pytestmark = pytest.mark.django_db
PROBLEM = "application/problem+json"


@pytest.fixture
def admin() -> Client:
    return Client(headers=factories.bearer("admin"))


def post(client: Client, path: str, body: Any, **headers: str) -> Any:
    return client.post(f"/api/v1{path}", body, content_type="application/json", headers=headers)


# --- problems ---------------------------------------------------------------------------------


def test_somebody_unknown_gets_401_and_is_told_how_to_sign_in(client: Client) -> None:
    response = client.get("/api/v1/me")
    assert response.status_code == 401
    assert response["Content-Type"] == PROBLEM
    assert response["WWW-Authenticate"].startswith("Bearer")
    assert response.json()["code"] == "access.unauthenticated"
    assert "Bearer" in response.json()["remedy"]


@pytest.mark.parametrize(
    ("header", "code"),
    [
        ("Bearer nonsense", "token.malformed"),
        ("Bearer my_" + "a" * 46, "token.malformed"),
        ("Digest x", "token.malformed"),
        ("Basic !!!", "token.malformed"),
        ("Bearer", "token.malformed"),
    ],
)
def test_a_token_that_is_none_is_refused(client: Client, header: str, code: str) -> None:
    response = client.get("/api/v1/me", headers={"authorization": header})
    assert response.status_code == 401, response.content
    assert response["Content-Type"] == PROBLEM
    assert "token" in response.json()["detail"].lower() or "Authorization" in str(response.json())


@pytest.mark.parametrize(
    ("body", "content_type", "status", "code"),
    [
        ("{", "application/json", 400, "request.malformed"),
        ('{"slug": NaN}', "application/json", 400, "request.malformed"),
        ('{"slug": "a", "slug": "b"}', "application/json", 400, "request.malformed"),
        ('{"slug": "a\\u0000"}', "application/json", 400, "request.malformed"),
        ('{"slug": "\\ud800"}', "application/json", 400, "request.malformed"),
        (b'{"slug": "\xff"}', "application/json", 400, "request.malformed"),
        ("[]", "application/json", 400, "request.malformed"),
        ("null", "application/json", 400, "request.malformed"),
        ("[" * 100_000, "application/json", 400, "request.malformed"),
        ("slug=a", "application/x-www-form-urlencoded", 415, "request.unsupported_media_type"),
        ("<a/>", "text/xml", 415, "request.unsupported_media_type"),
        ("{}", "application/json", 422, "request.invalid"),
        ('{"slug": ""}', "application/json", 422, "request.invalid"),
        ('{"slug": {"a": 1}}', "application/json", 422, "request.invalid"),
        ('{"slug": "A b"}', "application/json", 422, "accounts.bad_name"),
    ],
)
def test_a_body_that_is_wrong_is_answered_with_what_is_wrong(
    admin: Client, body: str | bytes, content_type: str, status: int, code: str
) -> None:
    response = admin.post("/api/v1/teams", body, content_type=content_type)
    assert response.status_code == status, response.content
    assert response["Content-Type"] == PROBLEM
    problem = response.json()
    assert problem["code"] == code
    assert problem["status"] == status
    assert problem["detail"].endswith((".", ")"))
    assert problem["type"].endswith("#" + code)
    assert problem["request_id"] == response["X-Request-Id"]


def test_an_unknown_field_is_refused_and_named(admin: Client) -> None:
    response = post(admin, "/teams", {"slug": "a", "nmae": "A"})
    assert response.status_code == 422
    (error,) = response.json()["errors"]
    assert error["field"] == "nmae"
    assert error["code"] == "unknown_field"
    assert "name" in error["detail"]
    assert not Team.objects.filter(slug="a").exists()


def test_an_unknown_query_parameter_is_refused_and_the_known_are_named(admin: Client) -> None:
    response = admin.get("/api/v1/audit-events?actr=ada")
    assert response.status_code == 422
    (error,) = response.json()["errors"]
    assert (error["field"], error["code"]) == ("actr", "unknown_parameter")
    assert "actor" in error["detail"]


@pytest.mark.parametrize("path", ["/api/v1/nothing", "/api/", "/api/v1/people/nobody/nothing"])
def test_an_address_that_leads_nowhere_is_a_problem_too(admin: Client, path: str) -> None:
    response = admin.get(path)
    assert (response.status_code, response["Content-Type"]) == (404, PROBLEM)


def test_a_method_that_is_not_there_says_which_are(admin: Client) -> None:
    response = admin.delete("/api/v1/me")
    assert (response.status_code, response["Content-Type"]) == (405, PROBLEM)
    assert "GET" in response["Allow"]


def test_an_answer_in_a_form_that_we_do_not_have_is_406(admin: Client) -> None:
    response = admin.get("/api/v1/me", headers={"accept": "text/xml"})
    assert (response.status_code, response["Content-Type"]) == (406, PROBLEM)


def test_a_fault_nobody_foresaw_is_a_problem_with_the_id_of_the_request(
    admin: Client, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("apps.accounts.selectors.teams", lambda actor: 1 / 0)
    admin.raise_request_exception = False
    response = admin.get("/api/v1/teams", headers={"x-request-id": "find-me"})
    assert (response.status_code, response["Content-Type"]) == (500, PROBLEM)
    assert response.json()["request_id"] == "find-me"
    assert "find-me" in response.json()["remedy"]
    assert "division" not in response.content.decode()


def test_a_body_that_is_too_large_is_413(admin: Client) -> None:
    body = json.dumps({"slug": "a", "name": "x" * (11 * 1024 * 1024)})
    response = admin.post("/api/v1/teams", body, content_type="application/json")
    assert (response.status_code, response["Content-Type"]) == (413, PROBLEM)


# --- pages ------------------------------------------------------------------------------------


def test_following_next_visits_every_row_once_while_rows_come_and_go(admin: Client) -> None:
    made = [factories.team(slug=f"t-{n:02}") for n in range(7)]
    seen: list[str] = []
    address = "/api/v1/teams?limit=3"
    while address:
        page = admin.get(address).json()
        seen += [row["slug"] for row in page["results"]]
        if len(seen) == 3:
            made[0].delete()
            factories.team(slug="a-newcomer")
        address = page["next"]
    assert [s for s in seen if s.startswith("t-")] == [f"t-{n:02}" for n in range(7)]
    assert "a-newcomer" not in seen


def test_previous_leads_back_to_the_same_rows(admin: Client) -> None:
    for n in range(5):
        factories.team(slug=f"t-{n}")
    first = admin.get("/api/v1/teams?limit=2").json()
    second = admin.get(first["next"]).json()
    assert first["previous"] is None
    assert admin.get(second["previous"]).json()["results"] == first["results"]
    third = admin.get(second["next"]).json()
    assert third["next"] is None
    assert admin.get(third["previous"]).json()["results"] == second["results"]


@pytest.mark.parametrize("limit", ["0", "201", "-1", "x", "1.5", "٣", "9" * 40])
def test_a_limit_outside_1_to_200_is_refused(admin: Client, limit: str) -> None:
    response = admin.get("/api/v1/teams", {"limit": limit})
    assert response.status_code == 422
    assert response.json()["field"] == "limit"


@pytest.mark.parametrize("cursor", ["x", "a:b:c", "é", "W10:1tEst:abc"])
def test_a_cursor_that_is_not_ours_is_refused(admin: Client, cursor: str) -> None:
    response = admin.get("/api/v1/teams", {"cursor": cursor})
    assert response.status_code == 422
    assert response.json()["code"] == "page.bad_cursor"


def test_a_cursor_of_another_list_is_refused(admin: Client) -> None:
    for n in range(3):
        factories.team(slug=f"t-{n}")
    cursor = admin.get("/api/v1/teams?limit=1").json()["next"].partition("cursor=")[2]
    assert admin.get(f"/api/v1/people?cursor={cursor}").status_code == 422


def test_fields_keeps_only_what_is_asked_for(admin: Client) -> None:
    factories.team(slug="fraud")
    assert admin.get("/api/v1/teams?fields=slug").json()["results"] == [{"slug": "fraud"}]
    assert admin.get("/api/v1/teams?fields=slug,nonsense").status_code == 422


# --- entity tags ------------------------------------------------------------------------------


def test_what_the_client_has_already_is_304(admin: Client) -> None:
    first = admin.get("/api/v1/environments/dev")
    again = admin.get("/api/v1/environments/dev", headers={"if-none-match": first["ETag"]})
    assert (again.status_code, again.content) == (304, b"")
    assert again["ETag"] == first["ETag"]


def test_a_change_to_what_somebody_else_changed_is_412(admin: Client) -> None:
    tag = admin.get("/api/v1/environments/dev")["ETag"]

    def rename(title: str) -> Any:
        return admin.patch(
            "/api/v1/environments/dev",
            {"title": title},
            content_type="application/json",
            headers={"if-match": tag},
        )

    assert rename("One").status_code == 200
    refused = rename("Two")
    assert (refused.status_code, refused.json()["code"]) == (412, "request.stale")
    assert admin.get("/api/v1/environments/dev").json()["title"] == "One"


# --- repetition -------------------------------------------------------------------------------


def test_the_same_post_with_the_same_key_happens_once(admin: Client) -> None:
    first = post(admin, "/teams", {"slug": "fraud"}, **{"idempotency-key": "k1"})
    again = post(admin, "/teams", {"slug": "fraud"}, **{"idempotency-key": "k1"})
    assert (first.status_code, again.status_code) == (201, 201)
    assert first.json() == again.json()
    assert again["Content-Type"] == "application/json"
    assert again["Idempotency-Replayed"] == "true"
    assert Team.objects.filter(slug="fraud").count() == 1


def test_a_key_that_comes_with_another_body_is_422(admin: Client) -> None:
    post(admin, "/teams", {"slug": "fraud"}, **{"idempotency-key": "k1"})
    other = post(admin, "/teams", {"slug": "parcels"}, **{"idempotency-key": "k1"})
    assert (other.status_code, other.json()["code"]) == (422, "idempotency.key_reused")
    elsewhere = post(admin, "/people", {"slug": "fraud"}, **{"idempotency-key": "k1"})
    assert elsewhere.status_code == 422


def test_a_refusal_is_not_kept_so_that_it_can_be_mended(admin: Client) -> None:
    assert post(admin, "/teams", {"slug": "A"}, **{"idempotency-key": "k"}).status_code == 422
    assert post(admin, "/teams", {"slug": "a"}, **{"idempotency-key": "k"}).status_code == 201


def test_a_key_of_somebody_else_means_nothing(admin: Client) -> None:
    post(admin, "/teams", {"slug": "fraud"}, **{"idempotency-key": "k"})
    other = Client(headers=factories.bearer("viewer"))
    assert post(other, "/teams", {"slug": "fraud"}, **{"idempotency-key": "k"}).status_code == 403


def test_a_secret_is_never_kept_for_a_repetition(admin: Client) -> None:
    first = post(admin, "/tokens", {"name": "ci"}, **{"idempotency-key": "k"})
    again = post(admin, "/tokens", {"name": "ci"}, **{"idempotency-key": "k"})
    assert first.json()["secret"].startswith("my_")
    assert again.json() == {**first.json(), "secret": None}
    kept = StoredAnswer.objects.get()
    assert first.json()["secret"].encode() not in bytes(kept.body)
    assert ApiToken.objects.filter(name="ci").count() == 1


@pytest.mark.parametrize("key", ["", " ", "x" * 256, "a\x01b"])
def test_a_key_that_is_none_is_refused(admin: Client, key: str) -> None:
    response = post(admin, "/teams", {"slug": "fraud"}, **{"idempotency-key": key})
    assert (response.status_code, response.json()["code"]) == (422, "idempotency.bad_key")


@pytest.mark.django_db(transaction=True)
def test_a_repetition_while_the_first_still_runs_is_409(
    admin: Client, monkeypatch: pytest.MonkeyPatch
) -> None:
    from apps.accounts import services

    entered, leave = threading.Event(), threading.Event()
    create = services.create_team

    def slow(**given: Any) -> Team:
        entered.set()
        leave.wait(10)
        return create(**given)

    monkeypatch.setattr(services, "create_team", slow)
    answers: list[Any] = []

    def first() -> None:
        answers.append(post(admin, "/teams", {"slug": "fraud"}, **{"idempotency-key": "k"}))
        connection.close()

    thread = threading.Thread(target=first)
    thread.start()
    assert entered.wait(10)
    meanwhile = post(admin, "/teams", {"slug": "fraud"}, **{"idempotency-key": "k"})
    leave.set()
    thread.join(10)
    assert (meanwhile.status_code, meanwhile.json()["code"]) == (
        409,
        "idempotency.still_running",
    )
    assert answers[0].status_code == 201
    assert post(admin, "/teams", {"slug": "fraud"}, **{"idempotency-key": "k"}).status_code == 201


@pytest.mark.django_db(transaction=True)
def test_work_that_dies_half_way_leaves_neither_rows_nor_a_claim(
    admin: Client, monkeypatch: pytest.MonkeyPatch
) -> None:
    from apps.accounts.api import views

    admin.raise_request_exception = False
    with monkeypatch.context() as broken:
        broken.setattr(views.TeamAnswer, "get_members", lambda self, team: 1 / 0)
        assert (
            post(admin, "/teams", {"slug": "fraud"}, **{"idempotency-key": "k"}).status_code == 500
        )
    assert not Team.objects.filter(slug="fraud").exists()
    assert post(admin, "/teams", {"slug": "fraud"}, **{"idempotency-key": "k"}).status_code == 201
