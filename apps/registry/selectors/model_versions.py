"""One model version: by its number, an alias, its bytes or where it came from."""

from collections.abc import Sequence

from django.db.models import Prefetch

from apps.accounts.domain import access
from apps.registry.models import Alias, ModelVersion, RegisteredModel
from apps.registry.selectors.registered_models import model, model_for_update
from apps.registry.selectors.visibility import seen
from controlplane.kernel.actor import Actor
from controlplane.kernel.errors import Missing


def version(actor: Actor, model_name: str, number: int) -> ModelVersion:
    """Return one version with its model, team and aliases.

    Raises:
        Missing: There is no such model or version, or the actor may not see it.
    """
    access.require(actor, "registry.read")
    row = (
        ModelVersion.objects.select_related("model__team")
        .prefetch_related(version_aliases())
        .filter(model__name=model_name, number=_in_range(number))
        .first()
    )
    if row is None:
        model(actor, model_name)
        raise _no_version(model_name, number)
    seen(actor, row.model, model_name)
    return row


def version_by_id(version_id: int) -> ModelVersion:
    """Return one version with its model and team, for workers."""
    return ModelVersion.objects.select_related("model__team").get(pk=version_id)


def version_by_public_id(actor: Actor, public_id: str) -> ModelVersion:
    """Return one version by its public id.

    Raises:
        Missing: There is none, or the actor may not see it.
    """
    row = (
        ModelVersion.objects.select_related("model__team")
        .prefetch_related(version_aliases())
        .filter(public_id=public_id)
        .first()
    )
    if row is None:
        raise Missing("There is no such version.", code="registry.no_such_version")
    seen(actor, row.model, row.model.name)
    return row


def version_for_update(actor: Actor, model_name: str, number: int) -> ModelVersion:
    """Return one version, locked until the transaction ends, with its model and team.

    The model is locked too, and first, as every verb that takes both does.

    Raises:
        Missing: There is no such version, or the actor may not see it.
    """
    row = model_for_update(actor, model_name)
    found = (
        ModelVersion.objects.select_for_update(no_key=True)
        .filter(model=row, number=_in_range(number))
        .first()
    )
    if found is None:
        raise _no_version(model_name, number)
    found.model = row
    return found


def version_of(model_row: RegisteredModel, number: int) -> ModelVersion:
    """Return a version of a model at hand.

    Raises:
        Missing: There is none with that number.
    """
    row = ModelVersion.objects.filter(model=model_row, number=_in_range(number)).first()
    if row is None:
        raise _no_version(model_row.name, number)
    row.model = model_row
    return row


def version_by_alias(actor: Actor, model_name: str, alias: str) -> ModelVersion:
    """Return the version that an alias ("champion") names; "latest" names the newest.

    Raises:
        Missing: There is no such model or alias.
    """
    row = model(actor, model_name)
    if alias == "latest" and row.latest_number is not None:
        return version(actor, model_name, row.latest_number)
    named = Alias.objects.filter(model=row, name=alias).select_related("version").first()
    if named is None:
        raise Missing(
            f"{model_name} has no alias {alias[:80]!r}.",
            field="alias",
            code="registry.no_such_alias",
        )
    return version(actor, model_name, named.version.number)


def version_by_reference(actor: Actor, model_name: str, reference: str) -> ModelVersion:
    """Return the version that "7", "latest" or an alias ("champion") names.

    Raises:
        Missing: Nothing is named so.
    """
    if reference.isascii() and reference.isdigit():
        return version(actor, model_name, int(reference[:12]))
    return version_by_alias(actor, model_name, reference)


def version_with_digest(model_id: int, digest: str) -> ModelVersion | None:
    """Return the earliest version of a model with these bytes."""
    return (
        ModelVersion.objects.filter(model_id=model_id, manifest_digest=digest)
        .order_by("number")
        .first()
    )


def known_digests(model_id: int, digests: Sequence[str]) -> set[str]:
    """Return those of `digests` that a version of the model has."""
    rows = ModelVersion.objects.filter(model_id=model_id, manifest_digest__in=digests)
    return {str(digest) for digest in rows.values_list("manifest_digest", flat=True)}


def version_with_source(model_id: int, source: str) -> ModelVersion | None:
    """Return the earliest version of a model that came from `source`."""
    return ModelVersion.objects.filter(model_id=model_id, source=source).order_by("number").first()


def version_aliases() -> "Prefetch[str]":
    """Return how versions are read together with their aliases, by name."""
    return Prefetch("aliases", queryset=Alias.objects.order_by("name", "id"))


def _no_version(model_name: str, number: int) -> Missing:
    return Missing(
        f"{model_name} has no version {number}.",
        field="version",
        code="registry.no_such_version",
    )


def _in_range(number: int) -> int:
    """Return `number`, or one that no row has where the column could not hold it."""
    return number if 0 < number < 1 << 31 else 0
