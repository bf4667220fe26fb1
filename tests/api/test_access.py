"""Every address and every verb, for everybody: nobody, every role, here and elsewhere.

`RULES` says for each address and method which verb of the access table guards it. What must
happen follows from the table alone. An address that has no rule fails the test, so that nobody
forgets one; a method that has no rule must be refused as not there.
"""

import json
import re
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import pytest
from django.contrib.messages import get_messages
from django.db import connection, transaction
from django.test import Client
from django.urls import URLPattern, URLResolver, get_resolver

from apps.accounts import selectors
from apps.accounts.domain import access
from apps.accounts.models import Person
from controlplane.kernel.actor import ANONYMOUS, Actor
from tests import factories
from tests.api.house import CHECKLIST, ENVIRONMENT, MARK, TEAM, House

pytestmark = pytest.mark.django_db

OPEN = "open to anybody"
SIGNED_IN = "anybody who is signed in"
METHODS = ("GET", "POST", "PUT", "PATCH", "DELETE")


@dataclass(frozen=True)
class Rule:
    """What guards one method at one address.

    Attributes:
        verb: A verb of the access table, or OPEN, or SIGNED_IN.
        within: "team" or "team, environment" when the limits of a grant count, "everywhere" when
            only an unlimited grant does, "" when a grant anywhere is enough.
        body: What is sent: a valid command, so that only access can refuse it.
    """

    verb: str
    within: str = ""
    body: dict[str, Any] | None = None

    def allows(self, actor: Actor) -> bool:
        """Return whether the access table lets `actor` through."""
        if self.verb == OPEN:
            return True
        if self.verb == SIGNED_IN:
            return actor is not ANONYMOUS
        team = TEAM if "team" in self.within else None
        environment = ENVIRONMENT if "environment" in self.within else None
        if "everywhere" in self.within:
            team, environment = access.EVERYWHERE, environment or access.EVERYWHERE
        return access.allows(actor, self.verb, team=team, environment=environment)


def read(app: str, within: str = "") -> dict[str, Rule]:
    return {"GET": Rule(f"{app}.read", within)}


def act(verb: str, within: str = "team", **body: Any) -> dict[str, Rule]:
    return {"POST": Rule(verb, within, body)}


MODEL, VERSION = "models/<str:name>", "models/<str:name>/versions/<int:number>"
BUILD, ENDPOINT = "builds/<str:build_id>", "endpoints/<str:endpoint_id>"
PLACE = "environments/<str:slug>"
CHANNEL = "notification-channels/<str:channel_id>"
A_CHANNEL = {"name": "c", "transport": "webhook", "target": "https://hooks.example.org/x"}
WHERE, ALL_TEAMS = "team, environment", "everywhere, environment"
FAR = "2030-01-01T00:00:00Z"
FARTHER = "2030-02-01T00:00:00Z"
WEEKLY = {"days": ["mon"], "start": "09:00", "end": "16:00"}
OBJECTIVE = {"latency_ms": 50.0, "expected_peak_rps": 20.0}
TENSOR = {"name": "x", "datatype": "FP32", "shape": [1, 1], "data": [1.0]}
OUTCOME = {"request_id": "r-1", "revision": 1, "metric": "clicked", "value": 1}
EDIT_MODEL = {
    "team": TEAM, "risk_tier": "low", "task": "t", "description": "d", "card": "c",
    "tolerance": 0.01, "min_agreement": 0.9,
}  # fmt: skip
RELEASE = "releases/<int:number>"
ROLLOUT = "rollouts/<str:rollout_id>"
ANALYSIS = "analysis-runs/<str:analysis_id>"
TEMPLATES = f"{PLACE}/strategy-templates"
STRATEGY = "strategies/<str:environment>/<str:template>"
NEW_STRATEGY = {
    "environment": ENVIRONMENT, "title": "T", "base": '{"kind": "all_at_once"}',
    "kind": "all_at_once", "keep_warm": "10 min", "act": "save",
}  # fmt: skip
A_STRATEGY = {"title": "T", "document": {"kind": "canary"}}
POLICY = {"gates": [{"gate": "artifact.scanned"}], "approvals": {"seats": []}}
API: dict[str, dict[str, Rule]] = {
    "openapi.json": {"GET": Rule(OPEN)},
    "docs": {"GET": Rule(OPEN)},
    "me": {"GET": Rule(SIGNED_IN)},
    "tokens": read("accounts") | act("accounts.token.create", "", name="another"),
    "tokens/<str:token_id>/revoke": act("accounts.token.revoke", ""),
    "people": read("accounts") | act("accounts.person.manage", "everywhere", username="bob"),
    "people/<str:username>": read("accounts")
    | {"PATCH": Rule("accounts.person.manage", "everywhere", {"active": False})},
    "people/<str:username>/password": act("accounts.person.manage", "everywhere"),
    "people/<str:username>/grants": act(
        "accounts.grant.manage", WHERE, role="viewer", team=TEAM, environment=ENVIRONMENT
    ),
    "grants/<str:grant_id>": {"DELETE": Rule("accounts.grant.manage", WHERE)},
    "teams": read("accounts") | act("accounts.team.manage", "everywhere", slug="new"),
    "audit-events": read("audit"),
    "audit-events/export": {"GET": Rule("audit.export")},
    "audit-checkpoints": read("audit"),
    "audit-health": read("audit"),
    "audit-key": read("audit"),
    "notifications": read("notifications"),
    "notifications/read": act("notifications.read", ""),
    "notifications/<str:notification_id>/read": act("notifications.read", ""),
    "notification-preferences": read("notifications")
    | {"PATCH": Rule("notifications.follow", "", {"ways": {"release.live": "off"}})},
    "notification-channels": read("notifications")
    | act("notifications.channel.manage", **A_CHANNEL, team=TEAM),
    CHANNEL: read("notifications", "team")
    | {"PATCH": Rule("notifications.channel.manage", "team", {"name": "other"})}
    | {"DELETE": Rule("notifications.channel.manage", "team")},
    f"{CHANNEL}/enable": act("notifications.channel.manage"),
    f"{CHANNEL}/disable": act("notifications.channel.manage"),
    f"{CHANNEL}/test": act("notifications.channel.manage"),
    f"{CHANNEL}/secret": act("notifications.channel.manage"),
    "deliveries": read("notifications"),
    "deliveries/<str:delivery_id>": read("notifications", "team"),
    "deliveries/<str:delivery_id>/replay": act("notifications.delivery.replay"),
    "environments": read("environments"),
    "environments/<str:slug>": read("environments")
    | {"PATCH": Rule("environments.edit", "everywhere, environment", {"title": "T"})},
    f"{PLACE}/opening": read("environments"),
    f"{PLACE}/freezes": read("environments")
    | act("environments.freeze", ALL_TEAMS, title="t", reason="r", starts_at=FAR),
    f"{PLACE}/freezes/<str:freeze_id>": read("environments")
    | {"DELETE": Rule("environments.freeze", ALL_TEAMS, {"reason": "r"})},
    f"{PLACE}/windows": read("environments")
    | act("environments.freeze", ALL_TEAMS, title="t", weekly=WEEKLY),
    f"{PLACE}/windows/<str:window_id>": read("environments")
    | {"DELETE": Rule("environments.freeze", ALL_TEAMS, {"reason": "r"})},
    "models": read("registry") | act("registry.model.create", name="fresh", team=TEAM),
    f"{MODEL}/objectives/<str:environment>": read("slos", "team")
    | {"PUT": Rule("slos.objective.edit", WHERE, OBJECTIVE)},
    MODEL: read("registry", "team")
    | {"PATCH": Rule("registry.model.edit", "team", {"task": "t"})},
    f"{MODEL}/archive": act("registry.model.archive"),
    f"{MODEL}/restore": act("registry.model.archive"),
    f"{MODEL}/compare": read("registry", "team"),
    f"{MODEL}/aliases/<str:alias>": read("registry", "team")
    | {"PUT": Rule("registry.alias.move", "team", {"version": 1})}
    | {"DELETE": Rule("registry.alias.move", "team")},
    f"{MODEL}/versions": read("registry", "team")
    | act("registry.version.register", run_id="0" * 32, artifact_path="model"),
    VERSION: read("registry", "team")
    | {"PATCH": Rule("registry.version.edit", "team", {"description": "d"})},
    f"{VERSION}/archive": act("registry.version.archive"),
    f"{VERSION}/restore": act("registry.version.archive"),
    f"{VERSION}/files": read("registry", "team"),
    f"{VERSION}/files/<path:path>": read("registry", "team"),
    "uploads": act("registry.upload", "", filename="m.onnx", size=3),
    "uploads/<str:upload_id>": read("registry") | {"DELETE": Rule("registry.upload")},
    f"{VERSION}/builds": read("builds") | act("builds.start"),
    "builds": read("builds"),
    BUILD: read("builds", "team"),
    f"{BUILD}/log": read("builds", "team"),
    f"{BUILD}/cancel": act("builds.cancel"),
    f"{BUILD}/retry": act("builds.retry"),
    "endpoints": read("endpoints"),
    "endpoints/serve": act(
        "endpoints.serve", WHERE, model="a-model", version=1, environment=ENVIRONMENT
    ),
    ENDPOINT: read("endpoints", "team"),
    f"{ENDPOINT}/retire": act("endpoints.retire", WHERE),
    f"{ENDPOINT}/scale": act("endpoints.scale", WHERE, replicas=2),
    f"{ENDPOINT}/keys": read("endpoints", "team") | act("endpoints.key.create", WHERE, name="k"),
    f"{ENDPOINT}/keys/<str:key_id>/revoke": act("endpoints.key.revoke", WHERE),
    f"{ENDPOINT}/open": act("endpoints.open", WHERE, reason="r"),
    f"{ENDPOINT}/predict": act("endpoints.predict", WHERE, inputs=[TENSOR]),
    f"{ENDPOINT}/traffic": {"GET": Rule("monitoring.read", "team")},
    f"{ENDPOINT}/feedback": act("monitoring.feedback", WHERE, items=[OUTCOME]),
    "releases": read("releases")
    | act("releases.propose", WHERE, model="a-model", version=2, environment=ENVIRONMENT),
    "releases/roll-back": act(
        "releases.roll_back", WHERE, model="a-model", environment=ENVIRONMENT, reason="r"
    ),
    RELEASE: read("releases", "team") | {"PATCH": Rule("releases.revise", WHERE, {"replicas": 2})},
    f"{RELEASE}/approve": act("approvals.decide", WHERE, digest="sha256:0"),
    f"{RELEASE}/request-changes": act("approvals.decide", WHERE, digest="d", reason="r"),
    f"{RELEASE}/decline": act("approvals.decide", WHERE, digest="sha256:0", reason="r"),
    f"{RELEASE}/take-back": act("approvals.decide", WHERE),
    f"{RELEASE}/withdraw": act("releases.withdraw", WHERE),
    f"{RELEASE}/break-glass": act("releases.break_glass", WHERE, reason="r"),
    f"{RELEASE}/review": act("releases.review", WHERE, text="t"),
    f"{RELEASE}/comments": read("releases", "team") | act("releases.comment", WHERE, text="t"),
    f"{RELEASE}/promote": act("releases.propose", WHERE, environment=ENVIRONMENT),
    ANALYSIS: read("analysis", "team"),
    f"{ANALYSIS}/looks": read("analysis", "team"),
    "rollouts": read("rollouts"),
    ROLLOUT: read("rollouts", "team"),
    f"{ROLLOUT}/events": read("rollouts", "team"),
    "rollouts/rehearse": act(
        "rollouts.rehearse", WHERE, model="a-model", version=1, environment=ENVIRONMENT, reason="r"
    ),
    f"{ROLLOUT}/pause": act("rollouts.pause", WHERE, reason="r"),
    f"{ROLLOUT}/resume": act("rollouts.resume", WHERE, reason="r"),
    f"{ROLLOUT}/skip": act("rollouts.skip", WHERE, reason="r"),
    f"{ROLLOUT}/promote": act("rollouts.promote", WHERE, reason="r"),
    f"{ROLLOUT}/abort": act("rollouts.abort", WHERE, reason="r"),
    TEMPLATES: read("rollouts"),
    f"{TEMPLATES}/<str:template>": read("rollouts")
    | {"PUT": Rule("rollouts.template.edit", ALL_TEAMS, A_STRATEGY)}
    | {"DELETE": Rule("rollouts.template.edit", ALL_TEAMS, {"reason": "r"})},
    "strategies/preview": act("rollouts.read", "", strategy={"kind": "canary"}),
    "inbox": read("approvals"),
    "delegations": read("approvals")
    | act("approvals.delegate", "", substitute="somebody", starts_at=FAR, ends_at=FARTHER),
    "delegations/<str:delegation_id>/end": act("approvals.delegate", ""),
    "policies": read("gates")
    | act(
        "gates.policy.edit",
        "everywhere, environment",
        reason="r",
        policies=[{"environment": ENVIRONMENT, "risk_tier": "medium", "policy": POLICY}],
    ),
    "policies/dry-run": act(
        "gates.policy.edit",
        "everywhere, environment",
        environment=ENVIRONMENT,
        risk_tier="medium",
        document=POLICY,
    ),
    "policies/<str:environment>/<str:tier>": read("gates")
    | {
        "PUT": Rule(
            "gates.policy.edit", "everywhere, environment", {"document": POLICY, "reason": "r"}
        )
    },
    "policies/<str:environment>/<str:tier>/versions": read("gates"),
    "gates": read("gates"),
    "ml-test-score": read("gates"),
    "evidence": read("gates")
    | act(
        "gates.evidence.record", model="a-model", version=1, key="mltest.data-1", verdict="passed"
    ),
    "evidence/<str:evidence_id>": read("gates", "team"),
    "evidence/<str:evidence_id>/files/<path:filename>": read("gates", "team"),
    "waivers": read("gates")
    | act("gates.waive", WHERE, checklist=CHECKLIST, gate="artifact.scanned", reason="r", days=1),
    "waivers/<str:waiver_id>/withdraw": act("gates.waive", WHERE),
    "checklists/<str:checklist_id>": read("gates", "team"),
    "checklists/<str:checklist_id>/gates/<str:gate>/run": act("gates.run", WHERE),
}
PROPOSAL = {
    "model": "a-model", "version": "2", "environment": ENVIRONMENT, "strategy": "all_at_once",
}  # fmt: skip
PAGE_BUILD, PAGE_ENDPOINT = "builds/<str:public_id>", "endpoints/<str:environment>/<str:name>"
HEARING = "settings/notifications"
PAGE_CHANNEL = f"{HEARING}/channels/<str:channel_id>"
PASSWORDS = {"current": factories.PASSWORD, "new": "another long one", "again": "another long one"}

VERBS = ("pause", "resume", "skip", "promote", "abort")


def asked(verb: str) -> dict[str, Rule]:
    """Return the rules of an act that has a page of its own, with a form that asks why."""
    return {"GET": Rule(verb, WHERE), "POST": Rule(verb, WHERE, {"reason": "r"})}


PAGES: dict[str, dict[str, Rule]] = {
    "livez": {m: Rule(OPEN) for m in METHODS},
    "readyz": {m: Rule(OPEN) for m in METHODS},
    "metrics": {m: Rule(OPEN) for m in METHODS},
    "docs/problems": {"GET": Rule(OPEN)},
    "sign-in": {"GET": Rule(OPEN), "POST": Rule(OPEN, body={"username": "x", "password": "y"})},
    "sign-out": {"GET": Rule(SIGNED_IN), "POST": Rule(OPEN)},
    "theme": {"POST": Rule(OPEN, body={"theme": "dark"})},
    "password": {"GET": Rule(SIGNED_IN), "POST": Rule(SIGNED_IN, body=PASSWORDS)},
    "tokens": read("accounts")
    | act("accounts.token.create", "", name="another", scope="read", days="30"),
    "tokens/<str:token_id>/revoke": act("accounts.token.revoke", ""),
    "people": read("accounts") | act("accounts.person.manage", "everywhere", username="bob"),
    "people/<str:username>": read("accounts"),
    "people/<str:username>/grants": act(
        "accounts.grant.manage", WHERE, role="viewer", team=TEAM, environment=ENVIRONMENT
    ),
    "people/<str:username>/grants/<str:grant_id>/revoke": act("accounts.grant.manage", WHERE),
    "people/<str:username>/password": act("accounts.person.manage", "everywhere"),
    "people/<str:username>/active": act("accounts.person.manage", "everywhere", active="false"),
    "teams": act("accounts.team.manage", "everywhere", slug="new"),
    "audit": read("audit"),
    "notifications": read("notifications"),
    "notifications/bell": {"GET": Rule(SIGNED_IN)},
    "notifications/read": act("notifications.read", ""),
    "notifications/<str:notification_id>/read": act("notifications.read", ""),
    HEARING: read("notifications"),
    f"{HEARING}/ways": act("notifications.follow", "", **{"release.live": "off"}),
    f"{HEARING}/mail": act("notifications.follow", "", email="me@example.org"),
    # Only the teams whose channels one may manage are offered; the rest is a wrong choice.
    f"{HEARING}/channels": act("notifications.follow", "", **A_CHANNEL, which="all"),
    PAGE_CHANNEL: {
        "GET": Rule("notifications.read", "team"),
        "POST": Rule("notifications.channel.manage", "team", {"name": "c", "which": "all"}),
    },
    f"{PAGE_CHANNEL}/test": act("notifications.channel.manage"),
    f"{PAGE_CHANNEL}/enable": act("notifications.channel.manage"),
    f"{PAGE_CHANNEL}/disable": act("notifications.channel.manage"),
    f"{PAGE_CHANNEL}/secret": act("notifications.channel.manage"),
    f"{PAGE_CHANNEL}/remove": act("notifications.channel.manage"),
    "deliveries": read("notifications"),
    "deliveries/<str:delivery_id>/replay": act("notifications.delivery.replay"),
    "audit/export": {"GET": Rule("audit.export")},
    "audit/ledger.pub": read("audit"),
    "audit/bundle.pub": read("audit"),
    "": read("registry"),
    "search": {"GET": Rule(SIGNED_IN)},
    "models": read("registry"),
    "freezes": read("environments")
    | act(
        "environments.freeze",
        ALL_TEAMS,
        way="once",
        environment=ENVIRONMENT,
        kind="freeze",
        title="t",
        reason="r",
        starts_at="2030-01-01T00:00",
        ends_at="2030-01-02T00:00",
    ),
    "freezes/<str:freeze_id>/end": act("environments.freeze", ALL_TEAMS, reason="r"),
    "strategies": read("rollouts"),
    "strategies/new": {
        "GET": Rule("rollouts.template.edit", ALL_TEAMS),
        "POST": Rule("rollouts.template.edit", ALL_TEAMS, {**NEW_STRATEGY, "title": "Fresh"}),
    },
    "strategies/preview": read("rollouts"),
    STRATEGY: {
        "GET": Rule("rollouts.read"),
        "POST": Rule("rollouts.template.edit", ALL_TEAMS, NEW_STRATEGY),
    },
    f"{STRATEGY}/default": act("rollouts.template.edit", ALL_TEAMS),
    f"{STRATEGY}/remove": act("rollouts.template.edit", ALL_TEAMS, reason="r"),
    f"{MODEL}/objectives": read("slos", "team"),
    f"{MODEL}/objectives/<str:environment>": act(
        "slos.objective.edit",
        WHERE,
        **{
            "dev-availability_percent": "99.9",
            "dev-latency_percent": "99",
            "dev-latency_ms": "50",
            "dev-window_days": "28",
            "dev-expected_peak_rps": "20",
        },
    ),
    "models/new": {
        "GET": Rule("registry.model.create"),
        # Only the teams that one may create in are offered; the rest is a wrong choice.
        "POST": Rule("registry.model.create", "", {"name": "fresh", **EDIT_MODEL}),
    },
    MODEL: read("registry", "team"),
    f"{MODEL}/edit": {
        "GET": Rule("registry.model.edit", "team"),
        "POST": Rule("registry.model.edit", "team", EDIT_MODEL),
    },
    f"{MODEL}/archive": act("registry.model.archive"),
    f"{MODEL}/restore": act("registry.model.archive"),
    f"{MODEL}/aliases": act("registry.alias.move", alias="candidate", version="1"),
    f"{MODEL}/aliases/<str:alias>/remove": act("registry.alias.move"),
    f"{MODEL}/register": {
        "GET": Rule("registry.version.register", "team"),
        "POST": Rule("registry.version.register", "team", {"step": "upload"}),
    },
    f"{MODEL}/compare": read("registry", "team"),
    VERSION: read("registry", "team"),
    f"{VERSION}/archive": act("registry.version.archive"),
    f"{VERSION}/restore": act("registry.version.archive"),
    f"{VERSION}/build": act("builds.start"),
    f"{VERSION}/serve": act("endpoints.serve", WHERE, environment=ENVIRONMENT),
    "policies": read("gates")
    | act(
        "gates.policy.edit",
        "everywhere, environment",
        text=json.dumps({"environment": ENVIRONMENT, "risk_tier": "medium", "policy": POLICY}),
    ),
    "policies/<str:environment>/<str:tier>": read("gates")
    | act("gates.policy.edit", "everywhere, environment", text=json.dumps(POLICY)),
    f"{VERSION}/statements": act(
        "gates.evidence.record", key="mltest.data-5", sentence="I looked.", verdict="passed"
    ),
    "builds": read("builds"),
    PAGE_BUILD: read("builds", "team"),
    f"{PAGE_BUILD}/cancel": act("builds.cancel"),
    f"{PAGE_BUILD}/retry": act("builds.retry"),
    "endpoints": read("endpoints"),
    "inbox": read("releases"),
    "releases": read("releases"),
    "releases/new": {
        "GET": Rule("releases.propose"),
        "POST": Rule("releases.propose", WHERE, PROPOSAL),
    },
    RELEASE: read("releases", "team"),
    f"{RELEASE}/approve": act("approvals.decide", WHERE, digest="sha256:0"),
    f"{RELEASE}/request-changes": act("approvals.decide", WHERE, digest="d", reason="r"),
    f"{RELEASE}/decline": act("approvals.decide", WHERE, digest="sha256:0", reason="r"),
    f"{RELEASE}/take-back": act("approvals.decide", WHERE),
    f"{RELEASE}/bundle": read("releases", "team"),
    f"{RELEASE}/comment": act("releases.comment", WHERE, text="t"),
    f"{RELEASE}/withdraw": act("releases.withdraw", WHERE),
    f"{RELEASE}/revise": {
        "GET": Rule("releases.revise", WHERE),
        "POST": Rule("releases.revise", WHERE, {"replicas": "2", "strategy": "all_at_once"}),
    },
    f"{RELEASE}/promote": act("releases.propose", WHERE, environment=ENVIRONMENT),
    f"{RELEASE}/roll-back": act("releases.roll_back", WHERE, reason="r"),
    f"{RELEASE}/review": act("releases.review", WHERE, review="t"),
    f"{RELEASE}/break-glass": {
        "GET": Rule("releases.break_glass", WHERE),
        "POST": Rule("releases.break_glass", WHERE, {"reason": "r", "name": "a-model"}),
    },
    f"{RELEASE}/gates/<str:gate>/run": act("gates.run", WHERE),
    f"{RELEASE}/gates/<str:gate>/waive": act("gates.waive", WHERE, reason="r", days="1"),
    "delegations": act(
        "approvals.delegate", "", substitute="somebody", starts_at=FAR[:16], ends_at=FARTHER[:16]
    ),
    "delegations/<str:public_id>/end": act("approvals.delegate", ""),
    "rollouts": read("rollouts"),
    "rollouts/count": {"GET": Rule(SIGNED_IN)},
    "rollouts/rehearse": act(
        "rollouts.rehearse",
        WHERE,
        model="a-model",
        version="1",
        environment=ENVIRONMENT,
        reason="r",
    ),
    ROLLOUT: read("rollouts", "team"),
    **{f"{ROLLOUT}/{verb}": asked(f"rollouts.{verb}") for verb in VERBS},
    PAGE_ENDPOINT: read("endpoints", "team"),
    f"{PAGE_ENDPOINT}/retire": act("endpoints.retire", WHERE),
    f"{PAGE_ENDPOINT}/scale": act("endpoints.scale", WHERE, replicas="2"),
    f"{PAGE_ENDPOINT}/keys": act("endpoints.key.create", WHERE, name="k"),
    f"{PAGE_ENDPOINT}/keys/<str:key>/revoke": act("endpoints.key.revoke", WHERE),
    f"{PAGE_ENDPOINT}/open": act("endpoints.open", WHERE, reason="r"),
    f"{PAGE_ENDPOINT}/predict": act(
        "endpoints.predict", WHERE, inputs=json.dumps({"inputs": [TENSOR]})
    ),
}
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


def test_every_address_has_its_rules() -> None:
    missing = [address for address in ADDRESSES if address not in RULES]
    assert missing == [], "Write a rule for each of these in RULES of tests/api/test_access.py."


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
