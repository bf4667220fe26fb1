"""Strategy templates: an environment's ways of rolling out, by name."""

import re
from collections.abc import Mapping
from typing import Any

from django.db import IntegrityError, transaction
from django.utils.text import slugify

from apps.accounts.domain import access
from apps.audit import services as audit
from apps.environments.models import Environment
from apps.rollouts import selectors
from apps.rollouts.domain import document as documents
from apps.rollouts.models import StrategyTemplate
from controlplane.kernel.actor import Actor
from controlplane.kernel.errors import Conflict, Invalid

LONGEST_TITLE = 80
LONGEST_NAME = 40
NAME = re.compile(r"[a-z0-9][a-z0-9_-]{0,39}")


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
        actor: Who writes. A template is there for every team, so a grant limited to one is not
            enough.
        environment: Whose.
        title: What people call it.
        document: A strategy's document.
        name: Its name in addresses; "" makes one of the title.
        is_default: Whether releases that name no strategy take it.
        reason: Why, for the ledger.

    Raises:
        Denied: The actor may not.
        Invalid: The title or the name is empty or too long, or the document makes no sense.
        Conflict: Somebody made another template the default at the same moment.
    """
    _require(actor, environment)
    kept = documents.as_document(documents.parse(document))
    wanted = _title(title)
    called = _checked(name) if name else name_of(wanted)
    before = StrategyTemplate.objects.filter(environment=environment, name=called).first()
    columns = {
        "title": wanted, "document": kept, "is_default": is_default, "edited_by": actor.name,
    }  # fmt: skip
    row = _written(environment, called, columns)
    _tell(actor, "template.save", row, before=_said(before), after=_said(row), reason=reason)
    return row


@transaction.atomic
def remove(*, actor: Actor, environment: Environment, name: str, reason: str = "") -> None:
    """Remove a template; releases that were proposed with it keep what it said.

    Raises:
        Denied: The actor may not.
        Missing: There is none of that name.
    """
    _require(actor, environment)
    row = selectors.template(environment, name)
    _tell(actor, "template.remove", row, before=_said(row), after={}, reason=reason)
    row.delete()


def name_of(title: str) -> str:
    """Return the name that a title makes: "careful-canary" of "Careful canary".

    Raises:
        Invalid: There is nothing in it that an address could hold.
    """
    name = slugify(title)[:LONGEST_NAME].strip("-_")
    if not name:
        raise Invalid(
            f"{title!r} makes no name for an address.",
            remedy="Use some letters or digits.",
            field="title",
            code="rollout.bad_template",
        )
    return name


def _require(actor: Actor, environment: Environment) -> None:
    access.require(
        actor, "rollouts.template.edit", team=access.EVERYWHERE, environment=environment.slug
    )


def _written(environment: Environment, name: str, columns: Mapping[str, Any]) -> StrategyTemplate:
    """Write the row; of an environment's templates, at most one is the default."""
    if columns["is_default"]:
        others = selectors.templates_of(environment).filter(is_default=True).exclude(name=name)
        others.update(is_default=False)
    try:
        with transaction.atomic():
            row, _ = StrategyTemplate.objects.update_or_create(
                environment=environment, name=name, defaults=columns
            )
    except IntegrityError as error:
        raise Conflict(
            f"Another template became the default of {environment.slug} at the same moment.",
            remedy="Look at what stands there now, and save again.",
            code="rollout.another_default",
        ) from error
    return row


def _checked(name: str) -> str:
    if not NAME.fullmatch(name):
        raise Invalid(
            f"{name[:80]!r} is no name for a template.",
            remedy="Use small letters, digits and hyphens, at most "
            f"{LONGEST_NAME} of them: careful-canary.",
            field="name",
            code="rollout.bad_template",
        )
    return name


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
