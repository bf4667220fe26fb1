"""Every address and every verb, for everybody: nobody, every role, here and elsewhere.

`API` and `PAGES` say for each address and method which verb of the access table guards it. What
must happen follows from the table alone. An address that has no rule fails the test, so that
nobody forgets one; a method that has no rule must be refused as not there.
"""

import pytest
from django.test import Client

from apps.accounts.domain import access
from controlplane.kernel.actor import ANONYMOUS, Actor
from tests import factories
from tests.api.house import MARK, TEAM, House
from tests.api.rules import METHODS, OPEN, SIGNED_IN, Rule
from tests.api.walking import ADDRESSES, RULES, WALKERS, ask, outcome, walker

pytestmark = pytest.mark.django_db


def test_every_address_has_its_rules() -> None:
    missing = [address for address in ADDRESSES if address not in RULES]
    assert missing == [], (
        "Write a rule for each of these in tests/api/api_rules.py or page_rules.py."
    )


def test_every_rule_has_its_address() -> None:
    assert [address for address in RULES if address not in ADDRESSES] == []


def test_every_rule_names_a_verb_of_the_access_table() -> None:
    verbs = {rule.verb for rules in RULES.values() for rule in rules.values()}
    assert verbs - {OPEN, SIGNED_IN} <= set(access.TABLE)


@pytest.mark.parametrize("name", WALKERS)
def test_everybody_gets_through_where_the_table_says_and_nowhere_else(
    name: str, house: House
) -> None:
    browser, person, actor = walker(name)
    wrong = []
    for address in ADDRESSES:
        for method in METHODS:
            rule = RULES.get(address, {}).get(method)
            if rule is None and name not in ("nobody", "admin"):
                continue  # what is not there is not there for anybody
            browser.cookies.pop("messages", None)
            path = house.path(address, person)
            response, written = ask(browser, method, path, rule)
            expected, happened = expectation(rule, actor, address), outcome(response)
            if happened not in expected:
                wrong.append(f"{method} {path}: {happened}, not {' or '.join(sorted(expected))}")
            elif happened != "let in" and written and address != "sign-out":
                wrong.append(f"{method} {path}: {happened}, and yet wrote {written}")
            if name == "admin of another team" and MARK.encode() in response.seen:
                wrong.append(f"{method} {path}: shows what is another team's")
            if person is not None and address in ("sign-out", "password"):
                browser.force_login(person)  # the answer's cookies ended the session
    assert not wrong, "\n".join(wrong)


def expectation(rule: Rule | None, actor: Actor, address: str) -> set[str]:
    """Return the outcomes that are right."""
    if rule is None:
        unknown = {"sign in first"} if actor is ANONYMOUS else {"denied"}
        return {"not there", *unknown} if address.startswith("api/") or unknown else {"not there"}
    if address == "sign-out":
        return {"let in", "sign in first"}  # it ends on the page of signing in
    if rule.allows(actor):
        # A run that MLflow does not have, a build that cannot be retried: access was granted.
        return {"let in", "hidden"} if rule.verb != SIGNED_IN else {"let in"}
    if actor is ANONYMOUS:
        return {"sign in first"}
    # Whoever may not even read an object is not told that there is one.
    may_read = access.allows(actor, f"{rule.verb.partition('.')[0]}.read", team=TEAM)
    return {"denied"} if may_read or "team" not in rule.within else {"denied", "hidden"}


# --- protected environments, and tokens ---------------------------------------------------------


@pytest.mark.parametrize(
    ("role", "happens"),
    [("contributor", 409), ("reviewer", 403), ("operator", 409), ("admin", 409)],
)
def test_nobody_serves_in_production_past_a_release(role: str, happens: int, house: House) -> None:
    browser, _, _ = walker(role)
    body = {"model": "a-model", "version": 1, "environment": "production"}
    response, _ = ask(browser, "POST", "/api/v1/endpoints/serve", Rule("", body=body))
    assert response.status_code == happens, response.content


def test_a_token_is_held_to_its_scopes_at_every_address(house: House) -> None:
    owner = factories.person(role="admin")
    scopes = ["registry.read"]
    _, secret = factories.token(owner=owner, scopes=scopes)
    browser = Client(headers={"authorization": f"Bearer {secret}"})
    wrong = []
    for address in ADDRESSES:
        if not address.startswith("api/"):
            continue
        for method, rule in RULES.get(address, {}).items():
            response, written = ask(browser, method, house.path(address, owner), rule)
            open_to_it = rule.verb in (OPEN, SIGNED_IN, *scopes)
            if (outcome(response) == "denied") == open_to_it or (not open_to_it and written):
                wrong.append(f"{method} {address}: {outcome(response)}, wrote {written}")
    assert not wrong, "\n".join(wrong)


def test_a_bad_token_opens_nothing_that_needs_one(house: House) -> None:
    browser = Client(headers={"authorization": "Bearer my_nonsense"})
    for address in ADDRESSES:
        for method, rule in RULES.get(address, {}).items():
            if rule.verb != OPEN:
                response, written = ask(browser, method, house.path(address, None), rule)
                assert outcome(response) == "sign in first", (method, address)
                assert written == []
