"""Walking to every address as somebody, and telling what happened there."""

import json
import re
from collections.abc import Iterator
from typing import Any

from django.contrib.messages import get_messages
from django.db import connection, transaction
from django.test import Client
from django.urls import URLPattern, URLResolver, get_resolver

from apps.accounts import selectors
from apps.accounts.models import Person
from controlplane.kernel.actor import ANONYMOUS, Actor
from tests import factories
from tests.api.api_rules import API
from tests.api.house import TEAM
from tests.api.page_rules import PAGES
from tests.api.rules import Rule

RULES = {**{f"api/v1/{path}": rules for path, rules in API.items()}, **PAGES}


def addresses(patterns: list[Any] | None = None, before: str = "") -> Iterator[str]:
    """Yield every address of the root URL table, as it is written."""
    for entry in get_resolver().url_patterns if patterns is None else patterns:
        written = before + str(entry.pattern)
        if isinstance(entry, URLResolver):
            yield from addresses(entry.url_patterns, written)
        elif isinstance(entry, URLPattern):
            yield written


ADDRESSES = sorted(set(addresses()))

# Who walks: a role, and the team and the environment that it is limited to.
WALKERS: dict[str, tuple[str, str | None, str | None] | None] = {
    "nobody": None,
    "without a role": ("", None, None),
    "viewer": ("viewer", None, None),
    "contributor": ("contributor", None, None),
    "reviewer": ("reviewer", None, None),
    "operator": ("operator", None, None),
    "admin": ("admin", None, None),
    "admin of the team": ("admin", TEAM, None),
    "admin of another team": ("admin", "parcels", None),
    "admin of another environment": ("admin", None, "production"),
}


def walker(name: str) -> tuple[Client, Person | None, Actor]:
    """Return a browser of `name`, the person and the actor."""
    held = WALKERS[name]
    if held is None:
        return Client(), None, ANONYMOUS
    role, team, environment = held
    person = factories.person()
    if role:
        limit = factories.team(slug=team) if team else None
        factories.grant(person=person, role=role, team=limit, environment=environment)
    browser = Client()
    browser.force_login(person)
    found = selectors.person_with_grants(str(person.pk))
    assert found is not None
    return browser, person, selectors.actor_of_person(found)


BOOKKEEPING = ("django_session", "http_storedanswer", "accounts_apitoken")


def ask(browser: Client, method: str, path: str, rule: Rule | None) -> tuple[Any, list[str]]:
    """Make one request and undo it; return the answer and the tables it wrote."""
    written: list[str] = []

    def watch(execute: Any, sql: Any, *rest: Any) -> Any:
        if found := re.match(r'\s*(?:INSERT INTO|UPDATE|DELETE FROM)\s+"(\w+)"', str(sql)):
            written.append(found[1])
        return execute(sql, *rest)

    body: Any = (rule.body if rule else None) or {}
    api = path.startswith("/api/")
    query = "?left=1&right=2" if path.endswith("/compare") else ""
    with transaction.atomic(), connection.execute_wrapper(watch):
        if api and method != "GET":
            response = browser.generic(
                method, path + query, json.dumps(body), content_type="application/json"
            )
        elif method == "POST":
            response = browser.post(path, body)
        else:
            response = browser.generic(method, path + query)
        # A stream closes its file at its end; `close()` would end the connection too.
        response.seen = b"".join(response) if response.streaming else response.content
        transaction.set_rollback(True)
    return response, [table for table in written if table not in BOOKKEEPING]


def outcome(response: Any) -> str:
    """Return what happened, in a word."""
    status, away = response.status_code, response.headers.get("Location", "")
    if status == 401 or (status == 302 and away.startswith("/sign-in")):
        return "sign in first"
    told = [m for m in get_messages(response.wsgi_request) if m.level_tag == "error"]
    said = " ".join(str(message) for message in told) + response.seen.decode(errors="replace")
    refused = "may not do" in said and response.wsgi_request.path != "/docs/problems"
    if status == 403 or refused:  # that page explains every refusal there is
        return "denied"
    if status == 302 and told:
        return "hidden"  # sent back to a page, with a sentence that says why
    return {404: "hidden", 405: "not there", 500: "fault"}.get(status, "let in")
