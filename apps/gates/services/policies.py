"""Writing policies. A version never changes: what is saved is a new one, and the next in force."""

from collections.abc import Sequence
from dataclasses import dataclass

from django.db import transaction

from apps.accounts import selectors as accounts
from apps.accounts.domain import access
from apps.audit import services as audit
from apps.environments import selectors as environments
from apps.environments.models import Environment
from apps.gates import policy_rows, selectors
from apps.gates.domain.catalogue import CATALOGUE
from apps.gates.domain.places import CODE
from apps.gates.domain.policy import OWNER, PolicyDocument, as_document, parse
from apps.gates.domain.policy_words import diff
from apps.gates.domain.policy_yaml import PolicyFile
from apps.gates.models import Policy
from apps.gates.services.checklists import wake_checklists
from controlplane.db.live import announce
from controlplane.kernel.actor import Actor
from controlplane.kernel.errors import Conflict, Invalid

VERB = "gates.policy.edit"
TOPIC = "policies"


@dataclass(frozen=True)
class Saved:
    """What came of saving a policy.

    Attributes:
        policy: The version in force now.
        is_new: Whether saving made it; otherwise it said the same already.
    """

    policy: Policy
    is_new: bool


@transaction.atomic
def save(
    *,
    actor: Actor,
    environment: str,
    risk_tier: str,
    document: object,
    reason: str,
    base: int | None = None,
) -> Saved:
    """Write the next version of a policy; nothing when it would say the same.

    Open checklists move to it by themselves, and approvals that signed the one before are void.

    Args:
        actor: Who asks; an admin of the environment.
        environment: The slug.
        risk_tier: The tier.
        document: What the policy says, for `gates.domain.policy.parse`.
        reason: Why, for the ledger.
        base: The number of the version that was looked at; None to save whatever is in force.

    Raises:
        Denied: The actor may not.
        Missing: There is no such environment.
        Invalid: There is no such tier, the document is wrong, or the reason is missing.
        Conflict: Another version came into force since `base` was looked at.
    """
    place = may_edit(actor, environment, risk_tier)
    said = checked(document)
    why = _reason(reason)
    _take_turns(place, risk_tier)
    current = policy_rows.policy_in_force(place, risk_tier)
    _refuse_changed(current, base)
    before = parse(current.document)
    if before == said:
        return Saved(current, is_new=False)
    policy = Policy.objects.create(
        environment=place,
        risk_tier=risk_tier,
        number=current.number + 1,
        document=as_document(said),
        created_by=actor.name,
        reason=why,
    )
    _tell(actor, policy, before, said)
    return Saved(policy, is_new=True)


@transaction.atomic
def import_policies(
    *, actor: Actor, policies: Sequence[PolicyFile], reason: str
) -> tuple[Saved, ...]:
    """Save several policies, all or none.

    Raises:
        Denied: The actor may not edit one of them.
        Missing: One names an environment that there is not.
        Invalid: One is wrong, or two are about the same place; `field` begins with its place.
    """
    _refuse_doubled(policies)
    # In one order for everybody, or two imports could wait for each other.
    in_order = sorted(policies, key=_place)
    saved = {_place(policy): _import_one(actor, policy, reason) for policy in in_order}
    return tuple(saved[_place(policy)] for policy in policies)


def may_edit(actor: Actor, environment: str, risk_tier: str) -> Environment:
    """Return the environment, when the actor may edit its policies.

    Raises:
        Denied: The actor may not.
        Missing: There is no such environment.
        Invalid: There is no such tier.
    """
    access.require(actor, VERB, team=access.EVERYWHERE, environment=environment)
    policy_rows.known_tier(risk_tier)
    return environments.by_slug(environment)


def checked(document: object) -> PolicyDocument:
    """Return what a new policy says; each gate and each team in it must exist.

    Raises:
        Invalid: Something in it is wrong; `field` is its place.
    """
    said = parse(document, catalogue=CATALOGUE)
    _refuse_idle_minimum(said)
    named = {seat.team for seat in said.approvals.seats} - {None, OWNER}
    known = set(accounts.all_teams().values_list("slug", flat=True)) if named else set()
    for index, seat in enumerate(said.approvals.seats):
        if seat.team is not None and seat.team != OWNER and seat.team not in known:
            field = f"approvals.seats[{index}].team"
            raise Invalid(
                f"{field} is {seat.team!r}, and there is no such team.",
                remedy='Write the slug of a team, "owner" for the team that owns the model, or '
                "null for any.",
                field=field,
                code=CODE,
            )
    return said


def _import_one(actor: Actor, policy: PolicyFile, reason: str) -> Saved:
    try:
        return save(
            actor=actor,
            environment=policy.environment,
            risk_tier=policy.risk_tier,
            document=policy.document,
            reason=reason,
        )
    except Invalid as error:
        if error.code != CODE:
            raise
        where = ".".join(part for part in (policy.path, error.field) if part)
        raise Invalid(
            f"{policy.environment}, {policy.risk_tier}: {error.sentence}",
            remedy=error.remedy,
            field=where,
            code=CODE,
        ) from error


def _take_turns(environment: Environment, risk_tier: str) -> None:
    """Wait until nobody else writes this policy: its first version is the lock."""
    policy_rows.policy_in_force(environment, risk_tier)
    Policy.objects.select_for_update(no_key=True).get(
        environment=environment, risk_tier=risk_tier, number=1
    )


def _place(policy: PolicyFile) -> tuple[str, str]:
    return policy.environment, policy.risk_tier


def _refuse_doubled(policies: Sequence[PolicyFile]) -> None:
    seen: set[tuple[str, str]] = set()
    for policy in policies:
        place = _place(policy)
        if place in seen:
            raise Invalid(
                f"There are two policies for {place[0]}, {place[1]}.",
                remedy="Leave one of them out.",
                field=policy.path,
                code=CODE,
            )
        seen.add(place)


def _refuse_idle_minimum(said: PolicyDocument) -> None:
    """Refuse a minimum score that would stop nothing, because its gate is listed as advice."""
    for index, rule in enumerate(said.gates):
        if rule.gate == selectors.SCORE and not rule.required and said.minimum_score:
            raise Invalid(
                f"minimum_score is {said.minimum_score:g}, and gates[{index}] says that "
                f"{rule.gate} only advises.",
                remedy=f"Require {rule.gate}, or leave it out: it comes with the minimum.",
                field=f"gates[{index}].required",
                code=CODE,
            )


def _reason(reason: str) -> str:
    if not reason.strip():
        raise Invalid(
            "A policy is not changed without a reason.",
            remedy="Say in a sentence why; it stands in the history and in the ledger.",
            field="reason",
            code="policy.needs_reason",
        )
    return reason.strip()


def _refuse_changed(current: Policy, base: int | None) -> None:
    if base is not None and base != current.number:
        raise Conflict(
            f"Version {current.number} came into force since you looked at version {base}; "
            f"{current.created_by} wrote it.",
            remedy="Look at what it changed, and make your change on top of it.",
            code="policy.changed_meanwhile",
        )


def _tell(actor: Actor, policy: Policy, before: PolicyDocument, after: PolicyDocument) -> None:
    audit.record(
        actor=actor,
        verb=VERB,
        target=f"policy/{policy.public_id}",
        subject=f"{policy.environment.slug}, {policy.risk_tier}, version {policy.number}",
        before={"number": policy.number - 1, "document": as_document(before)},
        after={
            "number": policy.number,
            "document": as_document(after),
            "changes": list(diff(before, after)),
        },
        reason=policy.reason,
    )
    wake_checklists(environment_id=policy.environment_id, risk_tier=policy.risk_tier)
    announce(TOPIC)
