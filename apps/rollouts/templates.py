"""Strategy templates: an environment's ways of rolling out, by name."""

from collections.abc import Mapping
from typing import Any

from django.db import transaction
from django.utils.text import slugify

from apps.accounts.domain import access
from apps.audit import services as audit
from apps.environments.models import Environment
from apps.rollouts import selectors
from apps.rollouts.domain import document as documents
from apps.rollouts.models import StrategyTemplate
from controlplane.kernel.actor import Actor
from controlplane.kernel.errors import Invalid

LONGEST_TITLE = 80
LONGEST_NAME = 40


@transaction.atomic
def save(
    *,
    actor: Actor,
    environment: Environment,
    title: str,
    document: Mapping[str, Any],
    name: str = "",
    is_default: bool = False,
    reason: str = "",
) -> StrategyTemplate:
    """Write a template, a new one or one that there is.

    Releases that were proposed with it keep what it said then.

    Args:
        actor: Who writes.
        environment: Whose.
        title: What people call it.
        document: A strategy's document.
        name: Its name in addresses; "" makes one of the title.
        is_default: Whether releases that name no strategy take it.
        reason: Why, for the ledger.

    Raises:
        Denied: The actor may not.
        Invalid: The title is empty or too long, or the document makes no sense.
    """
    access.require(actor, "rollouts.template.edit", environment=environment.slug)
    kept = documents.as_document(documents.parse(document))
    wanted = _title(title)
    called = slugify(name or wanted)[:LONGEST_NAME]
    if not called:
        raise Invalid(
            f"{name or title!r} makes no name for an address.",
            remedy="Use letters and digits.",
            field="name",
            code="rollout.bad_template",
        )
    before = StrategyTemplate.objects.filter(environment=environment, name=called).first()
    if is_default:
        selectors.templates_of(environment).filter(is_default=True).exclude(name=called).update(
            is_default=False
        )
    row, _ = StrategyTemplate.objects.update_or_create(
        environment=environment,
        name=called,
        defaults={
            "title": wanted, "document": kept, "is_default": is_default,
            "edited_by": actor.name,
        },
    )  # fmt: skip
    _tell(actor, "template.save", row, before=_said(before), after=_said(row), reason=reason)
    return row


@transaction.atomic
def remove(*, actor: Actor, environment: Environment, name: str, reason: str = "") -> None:
    """Remove a template; releases that were proposed with it keep what it said.

    Raises:
        Denied: The actor may not.
        Missing: There is none of that name.
    """
    access.require(actor, "rollouts.template.edit", environment=environment.slug)
    row = selectors.template(environment, name)
    _tell(actor, "template.remove", row, before=_said(row), after={}, reason=reason)
    row.delete()


def _title(title: str) -> str:
    wanted = title.strip()
    if not 1 <= len(wanted) <= LONGEST_TITLE:
        raise Invalid(
            f"The title has {len(wanted)} letters; it has 1 to {LONGEST_TITLE}.",
            remedy="Name what the strategy is good for, such as “Careful canary”.",
            field="title",
            code="rollout.bad_template",
        )
    return wanted


def _said(row: StrategyTemplate | None) -> dict[str, Any]:
    if row is None:
        return {}
    return {"title": row.title, "document": row.document, "is_default": row.is_default}


def _tell(
    actor: Actor,
    verb: str,
    row: StrategyTemplate,
    *,
    before: dict[str, Any],
    after: dict[str, Any],
    reason: str,
) -> None:
    audit.record(
        actor=actor,
        verb=f"rollouts.{verb}",
        target=f"strategy-template/{row.public_id}",
        subject=f"{row.title} in {row.environment.slug}",
        before=before,
        after=after,
        reason=reason,
    )
