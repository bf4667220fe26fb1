"""The rules of every page, and of every form that it sends."""

import json

from tests import factories
from tests.api.house import ENVIRONMENT, TEAM
from tests.api.rules import (
    A_CHANNEL,
    ALL_TEAMS,
    FAR,
    FARTHER,
    METHODS,
    MODEL,
    OPEN,
    POLICY,
    RELEASE,
    ROLLOUT,
    SIGNED_IN,
    TENSOR,
    VERSION,
    WHERE,
    Rule,
    act,
    read,
)

PAGE_BUILD, PAGE_ENDPOINT = "builds/<str:public_id>", "endpoints/<str:environment>/<str:name>"
HEARING = "settings/notifications"
PAGE_CHANNEL = f"{HEARING}/channels/<str:channel_id>"
STRATEGY = "strategies/<str:environment>/<str:template>"
PASSWORDS = {"current": factories.PASSWORD, "new": "another long one", "again": "another long one"}
EDIT_MODEL = {
    "team": TEAM, "risk_tier": "low", "task": "t", "description": "d", "card": "c",
    "tolerance": 0.01, "min_agreement": 0.9,
}  # fmt: skip
NEW_STRATEGY = {
    "environment": ENVIRONMENT, "title": "T", "base": '{"kind": "all_at_once"}',
    "kind": "all_at_once", "keep_warm": "10 min", "act": "save",
}  # fmt: skip
PROPOSAL = {
    "model": "a-model", "version": "2", "environment": ENVIRONMENT, "strategy": "all_at_once",
}  # fmt: skip
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
