"""The access table: which roles may do what. Every verb of the product stands here once.

Pages, REST and the command line all end in a service, and every service begins with
`require`, so they cannot differ. A verb that is not in the table is refused to everybody.
"""

from controlplane.kernel.actor import Actor, ActorKind, Role
from controlplane.kernel.errors import Denied

V, C, R, O, A = Role.VIEWER, Role.CONTRIBUTOR, Role.REVIEWER, Role.OPERATOR, Role.ADMIN  # noqa: E741
EVERYONE = frozenset({V, C, R, O, A})
MAKERS = frozenset({C, O, A})
OPERATORS = frozenset({O, A})
ADMINS = frozenset({A})
JUDGES = frozenset({R, O, A})  # whose yes can fill a seat of a policy; the policy says which
LEADS = frozenset({R, A})
# Stands for a team or an environment where only an unlimited grant counts: an admin of one team
# must not make admins of the whole house.
EVERYWHERE = "*"

TABLE: dict[str, frozenset[Role]] = {
    # reading
    "registry.read": EVERYONE,
    "builds.read": EVERYONE,
    "endpoints.read": EVERYONE,
    "monitoring.read": EVERYONE,
    "environments.read": EVERYONE,
    "audit.read": EVERYONE,
    "accounts.read": EVERYONE,
    "notifications.read": EVERYONE,
    "slos.read": EVERYONE,
    "gates.read": EVERYONE,
    "approvals.read": EVERYONE,
    "analysis.read": EVERYONE,
    "rollouts.read": EVERYONE,
    "releases.read": EVERYONE,
    # registry
    "registry.model.create": MAKERS,
    "registry.model.edit": MAKERS,
    "registry.model.archive": MAKERS,
    "registry.version.register": MAKERS,
    "registry.version.edit": MAKERS,
    "registry.version.archive": MAKERS,
    "registry.alias.move": MAKERS,
    "registry.upload": MAKERS,
    # builds
    "builds.start": MAKERS,
    "builds.cancel": MAKERS,
    "builds.retry": MAKERS,
    # endpoints; into a protected environment only a release brings anything
    "endpoints.serve": MAKERS,
    "endpoints.retire": OPERATORS,
    "endpoints.scale": OPERATORS,
    "endpoints.key.create": MAKERS,
    "endpoints.key.revoke": MAKERS,
    "endpoints.open": OPERATORS,
    "endpoints.predict": MAKERS,
    # monitoring; what came of predictions, told by those who asked for them
    "monitoring.feedback": MAKERS,
    # environments
    "environments.edit": ADMINS,
    "environments.freeze": OPERATORS,
    # objectives
    "slos.objective.edit": MAKERS,
    # gates
    "gates.run": MAKERS,
    "gates.evidence.record": MAKERS,
    "gates.waive": LEADS,
    "gates.policy.edit": ADMINS,
    # rollouts; whoever may make something may also stop it
    "rollouts.rehearse": MAKERS,
    "rollouts.pause": MAKERS | LEADS,
    "rollouts.abort": MAKERS | LEADS,
    "rollouts.resume": OPERATORS,
    "rollouts.skip": OPERATORS,
    "rollouts.promote": OPERATORS,
    "rollouts.template.edit": ADMINS,
    # releases and approvals
    "releases.propose": MAKERS,
    "releases.revise": MAKERS,
    "releases.withdraw": MAKERS,
    "releases.comment": EVERYONE,
    "releases.break_glass": OPERATORS,
    "releases.roll_back": OPERATORS,
    "releases.review": LEADS,
    "approvals.decide": JUDGES,
    "approvals.delegate": JUDGES,
    # notifications; one's own channels, and how one hears of things
    "notifications.follow": EVERYONE,
    "notifications.channel.manage": MAKERS | LEADS,
    "notifications.delivery.replay": OPERATORS,
    # the ledger
    "audit.export": JUDGES,
    # accounts
    "accounts.token.create": EVERYONE,
    "accounts.token.revoke": EVERYONE,
    "accounts.person.manage": ADMINS,
    "accounts.team.manage": ADMINS,
    "accounts.grant.manage": ADMINS,
    # MLflow's own pages and API, beyond what the registry mirrors
    "mlflow.read": EVERYONE,
    "mlflow.write": MAKERS,
}


def allows(
    actor: Actor, verb: str, *, team: str | None = None, environment: str | None = None
) -> bool:
    """Return whether `actor` may do `verb`.

    Args:
        actor: Who asks. Workers may do everything: a person's verb stands behind their work.
        verb: A key of `TABLE`; any other is refused.
        team: The team that owns the object, where one does. Without it, a grant in any team
            counts; with `EVERYWHERE`, only one that is not limited to a team.
        environment: The environment that the verb touches, where it touches one; or `EVERYWHERE`.
    """
    roles = TABLE.get(verb)
    if roles is None or actor.kind is ActorKind.ANONYMOUS:
        return False
    if actor.kind is ActorKind.WORKER:
        return True
    if actor.verbs is not None and verb not in actor.verbs:
        return False
    return any(
        grant.role in roles
        and (team is None or grant.team in (None, team))
        and (environment is None or grant.environment in (None, environment))
        for grant in actor.grants
    )


def require(
    actor: Actor, verb: str, *, team: str | None = None, environment: str | None = None
) -> None:
    """Refuse, in a sentence that says who could, unless `allows`.

    Raises:
        Denied: The actor may not; the code is `access.denied`.
    """
    if allows(actor, verb, team=team, environment=environment):
        return
    roles = sorted(TABLE.get(verb, frozenset()))
    where = _where(team, environment)
    if actor.verbs is not None and verb not in actor.verbs:
        raise Denied(
            f"The token {actor.name} is not scoped for {verb}.",
            remedy=f"Create a token with the scope {verb}.",
            code="access.scope",
        )
    raise Denied(
        f"{actor.name} may not do {verb}{where}.",
        remedy=f"Ask an admin for one of these roles{where}: {', '.join(roles) or 'none has it'}.",
        code="access.denied",
    )


def require_everywhere(actor: Actor, verb: str) -> None:
    """Refuse unless the actor may do `verb` without any limit.

    Raises:
        Denied: The actor may not, or only within a team or an environment.
    """
    require(actor, verb, team=EVERYWHERE, environment=EVERYWHERE)


def allows_everywhere(actor: Actor, verb: str) -> bool:
    """Return whether the actor may do `verb` without any limit."""
    return allows(actor, verb, team=EVERYWHERE, environment=EVERYWHERE)


def _where(team: str | None, environment: str | None) -> str:
    """Return the limits as words: " in team fraud in production"."""
    if EVERYWHERE in (team, environment):
        return " everywhere"
    in_team = f" in team {team}" if team else ""
    return in_team + (f" in {environment}" if environment else "")
