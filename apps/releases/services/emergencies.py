"""The ways past gates and approvals: breaking the glass, and going back."""

from django.db import transaction

from apps.accounts.domain import access
from apps.approvals import services as approvals
from apps.environments import selectors as environments
from apps.registry import selectors as registry
from apps.releases import selectors, standing, telling
from apps.releases.models import Release
from apps.releases.services import common
from apps.rollouts.domain import document, strategy
from controlplane.db.reconcile import commanding
from controlplane.kernel.actor import Actor
from controlplane.kernel.clock import SystemClock
from controlplane.kernel.errors import Conflict, Denied


@transaction.atomic
def break_glass(*, actor: Actor, number: int, reason: str) -> Release:
    """Ship a release past its gates and approvals, loudly and for a short time.

    The policy must allow it. Everybody concerned is told at once, and a review is owed.

    Raises:
        Denied: The actor may not.
        Missing: There is no such release.
        Conflict: The policy does not allow it, or it is too late, or it has no variant to ship.
        Invalid: No reason is given.
    """
    seen = common.allowed(actor, "releases.break_glass", number)
    common.check_reason(reason, "Say what is broken, and why it cannot wait.")
    now = SystemClock().now()
    rules = standing.Standing(seen, now).rules.emergency
    if not rules.allowed:
        raise Conflict(
            f"The policy of {seen.environment.slug} for {seen.version.model.risk_tier}-risk "
            "models allows no emergency release.",
            remedy="Get it approved, or roll back to what was approved before.",
            code="releases.no_emergency",
        )
    with commanding(Release, seen.pk, now=now) as row:
        common.refuse_moving(row)
        if row.request is not None:
            approvals.withdraw(actor=actor, row=row.request, reason="The glass was broken.")
        row.emergency_by, row.emergency_reason = actor.name, reason.strip()[: common.LONGEST_TEXT]
        row.emergency_until, row.review_due_at = now + rules.lasts, now + rules.review_within
        common.tell(
            actor, "break_glass", row, reason=reason,
            after={"until": row.emergency_until.isoformat(),
                   "review_due": row.review_due_at.isoformat()},
        )  # fmt: skip
        telling.glass_broken(row)
        telling.review_due(row)
    common.changed(row)
    return selectors.release(actor, number)


@transaction.atomic
def review(*, actor: Actor, number: int, text: str) -> Release:
    """Write the review that an emergency release owes.

    Raises:
        Denied: The actor may not, or broke the glass.
        Missing: There is no such release.
        Conflict: It owes none.
        Invalid: There is no text.
    """
    seen = common.allowed(actor, "releases.review", number)
    if seen.review_due_at is None or seen.reviewed_at is not None:
        raise Conflict(f"R-{number} owes no review.", code="releases.no_review_due")
    if actor.name.split("/")[0] == seen.emergency_by.split("/")[0]:
        raise Denied(
            "Whoever broke the glass does not review it.",
            remedy="Another reviewer of the team does.",
            code="releases.own_emergency",
        )
    common.check_reason(
        text, "Say what happened, and what will be different next time.", field="text"
    )
    with commanding(Release, seen.pk, now=SystemClock().now()) as row:
        row.review, row.reviewed_by = text.strip()[: common.LONGEST_TEXT], actor.name
        row.reviewed_at = SystemClock().now()
        common.tell(actor, "review", row, after={"reviewed_by": actor.name}, reason=text[:500])
    common.changed(row)
    return selectors.release(actor, number)


@transaction.atomic
def roll_back(
    *, actor: Actor, model: str, environment: str, reason: str, to: int | None = None
) -> Release:
    """Go back to a release that was live here before; it needs nobody's approval.

    Args:
        actor: Who goes back.
        model: The model's name.
        environment: The environment's slug.
        reason: Why.
        to: The number of the release to go back to; the last good one by default.

    Raises:
        Denied: The actor may not.
        Missing: There is no such model or environment.
        Conflict: Nothing is live there, or there is nothing to go back to.
        Invalid: No reason is given.
    """
    found = registry.model(actor, model)
    where = environments.by_slug(environment)
    access.require(actor, "releases.roll_back", team=found.team.slug, environment=where.slug)
    common.check_reason(reason, "Say what is wrong with what is live.")
    target = _target(selectors.live(found.pk, where.pk), model, environment, to)
    made = common.create(
        actor, target.version, where, returns_to=target,
        summary=reason.strip()[: common.LONGEST_TEXT],
        variant=target.variant, variant_kind=target.variant_kind, runtime=target.runtime,
        replicas=target.replicas, configuration=target.configuration,
        strategy=document.as_document(strategy.DEFAULT),  # what ran before proves nothing anew
    )  # fmt: skip
    common.tell(
        actor, "roll_back", made, after={"returns_to": f"R-{target.number}"}, reason=reason
    )
    common.changed(made)
    return made


def _target(live: Release | None, model: str, environment: str, to: int | None) -> Release:
    if live is None:
        raise Conflict(
            f"No release of {model} is live in {environment}.",
            remedy="There is nothing to go back from.",
            code="releases.nothing_live",
        )
    back = selectors.ways_back(live, limit=50)
    chosen = next((row for row in back if to in (None, row.number)), None)
    if chosen is None:
        known = ", ".join(f"R-{row.number}" for row in back) or "none"
        raise Conflict(
            f"{f'R-{to}' if to else 'No release'} was not live and approved in {environment} "
            f"before R-{live.number}.",
            remedy=f"One may go back to: {known}.",
            field="to",
            code="releases.no_way_back",
        )
    return chosen
