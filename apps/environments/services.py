"""What admins may change about environments."""

from typing import Any

from django.db import transaction

from apps.accounts.domain import access
from apps.audit import services as audit
from apps.environments import selectors
from apps.environments.models import Environment
from controlplane.kernel.actor import Actor
from controlplane.kernel.errors import Invalid

EDITABLE = ("title", "protected", "default_replicas", "max_replicas")


@transaction.atomic
def edit(*, actor: Actor, slug: str, reason: str = "", **changes: Any) -> Environment:
    """Change an environment's title, protection or limits.

    Raises:
        Denied: The actor may not.
        Missing: There is no such environment.
        Invalid: The replicas contradict each other, or a name is not one of `EDITABLE`.
    """
    access.require(actor, "environments.edit", team=access.EVERYWHERE, environment=slug)
    selectors.by_slug(slug)
    environment = Environment.objects.select_for_update().get(slug=slug)
    unknown = sorted(set(changes) - set(EDITABLE))
    if unknown:
        raise Invalid(f"{unknown[0]} cannot be changed.", field=unknown[0])
    before = {name: getattr(environment, name) for name in changes}
    for name, value in changes.items():
        setattr(environment, name, value)
    if not 1 <= environment.default_replicas <= environment.max_replicas:
        raise Invalid(
            "default_replicas must be at least 1 and at most max_replicas.",
            field="default_replicas",
            code="environments.bad_replicas",
        )
    environment.save(update_fields=[*changes, "changed_at"])
    audit.record(
        actor=actor,
        verb="environments.edit",
        target=f"environment/{slug}",
        subject=slug,
        before=before,
        after=dict(changes),
        reason=reason,
    )
    return environment
