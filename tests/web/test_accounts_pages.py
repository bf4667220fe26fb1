"""Signing in, tokens, people and the ledger, as a browser without JavaScript sees them."""

import re
from typing import Any

import pytest
from django.test import Client

from apps.accounts import identify
from apps.accounts.models import ApiToken, Person, RoleGrant, Team
from apps.audit.models import AuditEvent
from tests import factories

pytestmark = pytest.mark.django_db


def signed_in(role: str | None = "admin", **given: Any) -> tuple[Client, Person]:
    browser, somebody = Client(), factories.person(role=role, **given)
    browser.force_login(somebody)
    return browser, somebody


def test_a_page_sends_a_stranger_to_sign_in_and_back(client: Client) -> None:
    factories.person(username="ada", role="viewer")
    away = client.get("/audit?actor=ada")
    assert away.status_code == 302
    assert away["Location"] == "/sign-in?next=/audit%3Factor%3Dada"
    page = client.get(away["Location"])
    assert 'value="/audit?actor=ada"' in page.content.decode()
    form = {"username": "ada", "password": factories.PASSWORD, "next": "/audit?actor=ada"}
    back = client.post("/sign-in", form)
    assert (back.status_code, back["Location"]) == (302, "/audit?actor=ada")
    assert client.get("/audit?actor=ada").status_code == 200
    assert AuditEvent.objects.get().verb == "accounts.sign_in"


@pytest.mark.parametrize(
    "target", ["https://evil.example", "//evil.example", "/\\evil.example", "javascript:x", ""]
)
def test_signing_in_never_leads_to_another_site(client: Client, target: str) -> None:
    factories.person(username="ada", role="viewer")
    form = {"username": "ada", "password": factories.PASSWORD, "next": target}
    assert client.post("/sign-in", form)["Location"] == "/"


def test_a_wrong_password_is_said_without_saying_which(client: Client) -> None:
    factories.person(username="ada")
    pages = [
        client.post("/sign-in", {"username": name, "password": "guess"})
        for name in ("ada", "nobody")
    ]
    assert [p.status_code for p in pages] == [422, 422]
    said = [re.findall(r'role="alert">.*?</div></div>', p.content.decode()) for p in pages]
    assert said[0] == said[1]
    assert "wrong" in said[0][0]


def test_too_many_guesses_are_told_when_to_try_again(client: Client) -> None:
    factories.person(username="ada")
    for _ in range(5):
        client.post("/sign-in", {"username": "ada", "password": "guess"})
    page = client.post("/sign-in", {"username": "ada", "password": "guess"})
    assert page.status_code == 429
    assert 1 <= int(page["Retry-After"]) <= 5
    assert "Try again in" in page.content.decode()


def test_signing_out_ends_the_session() -> None:
    browser, _ = signed_in("viewer")
    assert browser.get("/sign-out").status_code == 200
    assert browser.post("/sign-out")["Location"] == "/sign-in"
    assert browser.get("/api/v1/me").status_code == 401


def test_a_form_without_its_anti_forgery_token_is_refused_on_a_readable_page() -> None:
    browser = Client(enforce_csrf_checks=True)
    browser.force_login(factories.person(role="admin"))
    page = browser.post("/people", {"username": "bob"})
    assert page.status_code == 403
    assert "Load the page again" in page.content.decode()
    api = browser.post("/api/v1/teams", {"slug": "x"}, content_type="application/json")
    assert (api.status_code, api.json()["code"]) == (403, "request.forged")


def test_a_one_time_password_must_be_changed_before_anything_else() -> None:
    admin, _ = signed_in()
    page = admin.post("/people", {"username": "ada"}).content.decode()
    password = re.search(r'id="secret">([a-z0-9-]+)<', page)
    assert password
    browser = Client()
    browser.post("/sign-in", {"username": "ada", "password": password[1]})
    assert browser.get("/tokens")["Location"] == "/password"
    form = {"current": password[1], "new": "a better password", "again": "a better password"}
    assert browser.post("/password", {**form, "again": "another"}).status_code == 422
    assert browser.post("/password", form)["Location"] == "/"
    assert browser.get("/password").status_code == 200


def test_a_token_is_shown_once_and_works() -> None:
    browser, somebody = signed_in("contributor")
    page = browser.post("/tokens", {"name": "ci", "scope": "ci", "days": "30"})
    secret = re.search(r"my_[0-9A-Za-z]{46}", page.content.decode())
    assert secret
    assert page["Cache-Control"].find("no-store") >= 0
    assert identify.by_token(secret[0]).name == f"{somebody.username}/ci"
    assert secret[0] not in browser.get("/tokens").content.decode()


def test_a_token_page_says_what_is_wrong_beside_the_field() -> None:
    browser, somebody = signed_in("viewer")
    factories.token(owner=somebody, name="ci")
    page = browser.post("/tokens", {"name": "ci", "scope": "all", "days": "30"})
    assert page.status_code == 422
    assert "You have a token called ci already" in page.content.decode()
    page = browser.post("/tokens", {"name": "x", "scope": "chosen", "days": "30"})
    assert "could do nothing" in page.content.decode()


def test_a_token_is_revoked_by_a_button() -> None:
    browser, somebody = signed_in("viewer")
    token, _ = factories.token(owner=somebody)
    assert browser.post(f"/tokens/{token.public_id}/revoke")["Location"] == "/tokens"
    assert ApiToken.objects.get().revoked_at is not None


def test_an_admin_makes_a_team_and_gives_and_takes_a_role() -> None:
    browser, _ = signed_in()
    factories.person(username="ada")
    assert browser.post("/teams", {"slug": "fraud"})["Location"] == "/people"
    assert Team.objects.filter(slug="fraud").exists()
    form = {"role": "operator", "team": "fraud", "environment": "dev"}
    assert browser.post("/people/ada/grants", form)["Location"] == "/people/ada"
    page = browser.get("/people/ada").content.decode()
    assert "Operator" in page
    grant = RoleGrant.objects.get(person__username="ada")
    browser.post(f"/people/ada/grants/{grant.public_id}/revoke")
    assert not RoleGrant.objects.filter(person__username="ada").exists()


def test_a_viewer_sees_people_but_no_buttons_and_no_way_round_them() -> None:
    browser, _ = signed_in("viewer")
    factories.person(username="ada")
    assert "New person" not in browser.get("/people").content.decode()
    assert "Give a role" not in browser.get("/people/ada").content.decode()
    for path, form in (
        ("/people/ada/password", {}),
        ("/people/ada/active", {"active": "false"}),
        ("/people/ada/grants", {"role": "viewer"}),
    ):
        page = browser.post(path, form)
        assert page.status_code == 403, path
        assert "Ask an admin" in page.content.decode()


def test_somebody_without_a_role_gets_a_page_that_says_so() -> None:
    browser, _ = signed_in(None)
    page = browser.get("/audit")
    assert page.status_code == 403
    assert "audit.read" in page.content.decode()


def test_the_ledger_is_searched_and_paged() -> None:
    browser, _ = signed_in()
    for n in range(3):
        browser.post("/teams", {"slug": f"team-{n}"})
    browser.get("/people")  # reads the toasts
    page = browser.get("/audit?verb=accounts.team&limit=2").content.decode()
    assert "team-2" in page
    assert "team-0" not in page
    older = re.search(r'rel="next" href="([^"]+)"', page)
    assert older
    following = browser.get("/audit" + older[1].replace("&amp;", "&")).content.decode()
    assert "team-0" in following
    assert "Nothing like that happened" in browser.get("/audit?actor=nobody").content.decode()
    assert browser.get("/audit?since=yesterday").status_code == 422
    assert "team-1" in browser.get("/audit?until=2999-12-31&since=2020-01-01").content.decode()


@pytest.mark.parametrize("count", [1, 12])
def test_the_number_of_queries_of_the_pages_does_not_grow(
    count: int, django_assert_max_num_queries: Any
) -> None:
    browser, somebody = signed_in()
    for n in range(count):
        factories.token(owner=factories.person(role="viewer"))
        browser.post("/teams", {"slug": f"t-{n}"})
    for path in ("/people", f"/people/{somebody.username}", "/tokens", "/audit"):
        with django_assert_max_num_queries(12):
            assert browser.get(path).status_code == 200


def test_an_address_that_leads_nowhere_is_a_page_of_ours(client: Client) -> None:
    page = client.get("/nothing/here")
    assert page.status_code == 404
    assert "Not found" in page.content.decode()
    assert client.get("/nothing", headers={"accept": "application/json"}).json()["status"] == 404
    browser, _ = signed_in("viewer")
    assert browser.delete("/people").status_code == 405


def test_the_api_page_reads_without_a_script_and_takes_nothing_from_elsewhere(
    client: Client,
) -> None:
    page = client.get("/api/v1/docs")
    body = page.content.decode()
    assert "/api/v1/tokens" in body
    assert not re.search(r'(?:src|href)="https?://', body)


def test_an_entry_shows_what_changed_as_a_person_reads_it() -> None:
    browser, _ = signed_in()
    factories.person(username="ada")
    browser.post("/people/ada/active", {"active": "false"})
    page = browser.get("/audit?target=person/ada").content.decode()
    assert "<del>active: yes</del><ins>active: no</ins>" in page
