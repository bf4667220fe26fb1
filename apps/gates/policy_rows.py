"""Reading policies; `gates.selectors` offers the ones other apps need."""

from django.db import transaction
from django.db.models import QuerySet

from apps.accounts.domain import access
from apps.audit import services as audit
from apps.environments import selectors as environments
from apps.environments.models import Environment
from apps.gates.domain.default_policies import default_policy
from apps.gates.domain.policy import as_document, parse
from apps.gates.domain.policy_yaml import PolicyFile
from apps.gates.models import Policy
from apps.registry.domain.kinds import RiskTier
from controlplane.kernel.actor import Actor, worker
from controlplane.kernel.errors import Invalid, Missing

HOUSE = worker("policies")
WHY_DEFAULT = "The default, because this environment had no policy yet; see docs/policies.md."


def policy_in_force(environment: Environment, risk_tier: str) -> Policy:
    """Return the policy that rules `environment` for `risk_tier`.

    An environment that was made after the first policies were laid has none until it is asked for
    here. It then gets the default as version 1, with a ledger entry, because what a checklist was
    judged by must be on record.

    Raises:
        Invalid: There is no such risk tier.
    """
    found = latest(environment, risk_tier)
    return found if found is not None else _adopt_default(environment, risk_tier)


def policy_shown(environment: Environment, risk_tier: str) -> Policy:
    """Return the policy in force without writing one: number 0 is the default, not on record."""
    found = latest(environment, risk_tier)
    return found if found is not None else default_shown(environment, risk_tier)


def default_shown(environment: Environment, risk_tier: str) -> Policy:
    """Return the default as a policy that is not on record, number 0."""
    return Policy(
        environment=environment,
        risk_tier=risk_tier,
        number=0,
        document=_default(environment, risk_tier),
        created_by=HOUSE.name,
        reason=WHY_DEFAULT,
    )


def policies(actor: Actor, *, environment: str = "", risk_tier: str = "") -> QuerySet[Policy]:
    """Return the policies in force that are on record, in no order.

    Raises:
        Denied: The actor may not read policies.
        Missing: There is no such environment.
        Invalid: There is no such risk tier.
    """
    access.require(actor, "gates.read")
    newest = Policy.objects.order_by("environment_id", "risk_tier", "-number").distinct(
        "environment_id", "risk_tier"
    )
    rows = Policy.objects.filter(pk__in=newest.values("pk")).select_related("environment")
    if environment:
        rows = rows.filter(environment=environments.by_slug(environment))
    if risk_tier:
        rows = rows.filter(risk_tier=known_tier(risk_tier))
    return rows


def of(actor: Actor, environment: str, risk_tier: str) -> Policy:
    """Return the policy in force as `policy_shown` does, when the actor may read policies.

    Raises:
        Denied: The actor may not.
        Missing: There is no such environment.
        Invalid: There is no such risk tier.
    """
    access.require(actor, "gates.read")
    known_tier(risk_tier)
    return policy_shown(environments.by_slug(environment), risk_tier)


def file_of(policy: Policy) -> PolicyFile:
    """Return a policy as it stands in a file, its fields in their usual order."""
    return PolicyFile(
        policy.environment.slug, policy.risk_tier, as_document(parse(policy.document))
    )


def latest(environment: Environment, risk_tier: str) -> Policy | None:
    """Return the highest version on record, where there is one."""
    known_tier(risk_tier)
    return history(environment, risk_tier).first()


def history(environment: Environment, risk_tier: str) -> QuerySet[Policy]:
    """Return every version, the one in force first."""
    return (
        Policy.objects.filter(environment=environment, risk_tier=risk_tier)
        .select_related("environment")
        .order_by("-number", "-id")
    )


def version(environment: Environment, risk_tier: str, number: int) -> Policy:
    """Return one version.

    Raises:
        Missing: There is no such version.
    """
    found = history(environment, risk_tier).filter(number=number).first()
    if found is None:
        raise Missing(
            f"There is no version {number} of the policy of {environment.slug} for {risk_tier}.",
            remedy=f"Its versions are listed at /policies/{environment.slug}/{risk_tier}.",
            field="number",
            code="policy.missing",
        )
    return found


def known_tier(risk_tier: str) -> RiskTier:
    """Return the risk tier of that name.

    Raises:
        Invalid: There is none.
    """
    try:
        return RiskTier(risk_tier)
    except ValueError as error:
        raise Invalid(
            f"{risk_tier!r} is not a risk tier.",
            remedy=f"Write one of: {', '.join(RiskTier)}.",
            field="risk_tier",
            code="policy.unknown_tier",
        ) from error


@transaction.atomic
def _adopt_default(environment: Environment, risk_tier: str) -> Policy:
    document = _default(environment, risk_tier)
    policy, is_new = Policy.objects.get_or_create(
        environment=environment,
        risk_tier=risk_tier,
        number=1,
        defaults={"document": document, "created_by": HOUSE.name, "reason": WHY_DEFAULT},
    )
    if is_new:
        audit.record(
            actor=HOUSE,
            verb="gates.policy.edit",
            target=f"policy/{policy.public_id}",
            subject=f"{environment.slug}, {risk_tier}, version 1",
            after={"document": document},
            reason=WHY_DEFAULT,
        )
    return policy


def _default(environment: Environment, risk_tier: str) -> dict[str, object]:
    return as_document(
        default_policy(environment.slug, RiskTier(risk_tier), protected=environment.protected)
    )
