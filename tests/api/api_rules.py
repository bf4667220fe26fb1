"""The rules of every address of the API, below /api/v1/."""

from tests.api.house import CHECKLIST, ENVIRONMENT, TEAM
from tests.api.rules import (
    A_CHANNEL,
    ALL_TEAMS,
    FAR,
    FARTHER,
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

BUILD, ENDPOINT = "builds/<str:build_id>", "endpoints/<str:endpoint_id>"
PLACE = "environments/<str:slug>"
CHANNEL = "notification-channels/<str:channel_id>"
ANALYSIS = "analysis-runs/<str:analysis_id>"
TEMPLATES = f"{PLACE}/strategy-templates"
WEEKLY = {"days": ["mon"], "start": "09:00", "end": "16:00"}
OBJECTIVE = {"latency_ms": 50.0, "expected_peak_rps": 20.0}
OUTCOME = {"request_id": "r-1", "revision": 1, "metric": "clicked", "value": 1}
A_STRATEGY = {"title": "T", "document": {"kind": "canary"}}
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
