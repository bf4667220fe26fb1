"""Reading environments."""

from django.db.models import QuerySet

from apps.accounts.domain import access
from apps.environments.models import Environment
from controlplane.kernel.actor import Actor
from controlplane.kernel.errors import Missing


def environments(actor: Actor) -> QuerySet[Environment]:
    """Return the environments in the order of promotion."""
    access.require(actor, "environments.read")
    return in_order()


def in_order() -> QuerySet[Environment]:
    """Return the environments in the order of promotion, for choosing one."""
    return Environment.objects.order_by("rank", "id")


def protected_aliases() -> dict[str, str]:
    """Return the environment's slug by its alias, which only a release there moves.

    Keys are lower case; ask with `alias.lower()`, so that Champion is champion.
    """
    rows = in_order().exclude(alias="").values_list("alias", "slug")
    return dict(rows)


def by_slug(slug: str) -> Environment:
    """Return one environment.

    Raises:
        Missing: There is none of that name.
    """
    found = Environment.objects.filter(slug=slug).first()
    if found is None:
        known = ", ".join(in_order().values_list("slug", flat=True))
        raise Missing(
            f"There is no environment {slug}.",
            remedy=f"The environments are: {known}.",
            field="environment",
            code="environments.missing",
        )
    return found
