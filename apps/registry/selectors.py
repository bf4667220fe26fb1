"""Reading the registry. Other apps read its rows through these functions only.

Everything that a person may not see is missing, not forbidden: its name is not given away.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from django.contrib.postgres.search import TrigramWordSimilarity
from django.db.models import F, FloatField, Prefetch, Q, QuerySet
from django.db.models.fields.json import KT
from django.db.models.functions import Cast

from apps.accounts.domain import access
from apps.registry.domain import compare as comparing
from apps.registry.domain.compare import Comparison, Side
from apps.registry.domain.kinds import Format
from apps.registry.domain.search import MetricTest, Sort, metric_test
from apps.registry.domain.states import VersionState
from apps.registry.models import Alias, ModelVersion, RegisteredModel, Upload, VersionFile
from controlplane.kernel.actor import Actor, ActorKind
from controlplane.kernel.digests import FileEntry
from controlplane.kernel.errors import Invalid, Missing

SIMILAR = 0.5  # share of a query's trigrams that a name must have
MODEL_SORTS = {
    "-changed": ("-changed_at", "-id"),
    "changed": ("changed_at", "id"),
    "-created": ("-id",),
    "created": ("id",),
    "name": ("name", "id"),
    "-name": ("-name", "-id"),
}


# --- models -----------------------------------------------------------------------------------


def visible_models(actor: Actor) -> QuerySet[RegisteredModel]:
    """Return the models that the actor may see, archived ones included, in no order."""
    access.require(actor, "registry.read")
    rows = RegisteredModel.objects.select_related("team")
    teams = _teams(actor)
    return rows if teams is None else rows.filter(team__slug__in=teams)


def models(
    actor: Actor,
    *,
    q: str = "",
    team: str = "",
    risk_tier: str = "",
    archived: bool = False,
    sort: str = "-changed",
) -> QuerySet[RegisteredModel]:
    """Return models for a list, with team and aliases, in a total order.

    Args:
        actor: Who looks.
        q: Part of a name or description; a name that is nearly so is found too.
        team: A team's slug.
        risk_tier: A `RiskTier`.
        archived: Whether to list the archived ones instead.
        sort: A key of `MODEL_SORTS`.

    Raises:
        Invalid: The sort is unknown.
    """
    if sort not in MODEL_SORTS:
        raise _unknown_sort(sort, MODEL_SORTS)
    rows = visible_models(actor).filter(archived_at__isnull=not archived)
    if team:
        rows = rows.filter(team__slug=team)
    if risk_tier:
        rows = rows.filter(risk_tier=risk_tier)
    if q:
        rows = rows.filter(_named_like(q))
    return rows.prefetch_related(_aliases()).order_by(*MODEL_SORTS[sort])


def search_models(actor: Actor, q: str, *, limit: int = 8) -> list[RegisteredModel]:
    """Return the models whose names are most like `q`, the best first."""
    return list(
        visible_models(actor)
        .filter(_named_like(q))
        .annotate(likeness=TrigramWordSimilarity(q, "name"))
        .order_by("-likeness", "name", "id")[:limit]
    )


def model(actor: Actor, name: str) -> RegisteredModel:
    """Return one model with its team.

    Raises:
        Missing: There is no such model, or the actor may not see it.
    """
    access.require(actor, "registry.read")
    row = RegisteredModel.objects.select_related("team").filter(name=name).first()
    return _seen(actor, row, name)


def model_with_aliases(actor: Actor, name: str) -> RegisteredModel:
    """Return one model with its team and its aliases (each with its version).

    Raises:
        Missing: There is no such model, or the actor may not see it.
    """
    access.require(actor, "registry.read")
    rows = RegisteredModel.objects.select_related("team").prefetch_related(_aliases())
    return _seen(actor, rows.filter(name=name).first(), name)


def model_for_update(actor: Actor, name: str) -> RegisteredModel:
    """Return one model, locked until the transaction ends.

    Raises:
        Missing: There is no such model, or the actor may not see it.
    """
    rows = RegisteredModel.objects.select_for_update(no_key=True, of=("self",))
    return _seen(actor, rows.select_related("team").filter(name=name).first(), name)


def model_to_extend(name: str) -> RegisteredModel | None:
    """Return one model with its team, locked; None when it takes no more versions.

    The caller checks each actor against the team: there may be several.
    """
    rows = RegisteredModel.objects.select_for_update(no_key=True, of=("self",))
    return rows.select_related("team").filter(name=name, archived_at=None).first()


def aliases(model_row: RegisteredModel) -> list[Alias]:
    """Return the aliases of a model with their versions, by name."""
    return list(
        Alias.objects.filter(model=model_row).select_related("version").order_by("name", "id")
    )


# --- versions ---------------------------------------------------------------------------------


def versions(
    model_row: RegisteredModel,
    *,
    state: str = "",
    format: str = "",  # the word of the API
    q: str = "",
    metric: str | Sequence[str] = (),
    sort: str = "-number",
) -> QuerySet[ModelVersion]:
    """Return the versions of one model, with their aliases, in a total order.

    Args:
        model_row: From `model`, which checked that the actor may see it.
        state: A `VersionState`; "" for all but the archived, "all" for all.
        format: A `Format`.
        q: Part of the semantic version, description, run, commit, dataset or who registered it;
            a number finds that version.
        metric: Conditions such as "auc>0.9"; all must hold.
        sort: "number", "created" or a metric ("metric:auc"); a minus for the largest first.

    Raises:
        Invalid: A filter cannot be understood.
    """
    rows = _of_state(ModelVersion.objects.filter(model=model_row), state)
    if format:
        if format not in list(Format):
            raise Invalid(
                f"{format[:40]!r} is not a format.",
                remedy=f"Use one of {', '.join(Format)}.",
                field="format",
                code="registry.unknown_format",
            )
        rows = rows.filter(format=format)
    if q:
        rows = rows.filter(_mentions(q))
    for condition in [metric] if isinstance(metric, str) and metric else metric:
        rows = _where(rows, metric_test(condition))
    rows = _ordered(rows, Sort.parse(sort))
    return rows.select_related("model").prefetch_related(_version_aliases())


def version(actor: Actor, model_name: str, number: int) -> ModelVersion:
    """Return one version with its model, team and aliases.

    Raises:
        Missing: There is no such model or version, or the actor may not see it.
    """
    access.require(actor, "registry.read")
    row = (
        ModelVersion.objects.select_related("model__team")
        .prefetch_related(_version_aliases())
        .filter(model__name=model_name, number=_in_range(number))
        .first()
    )
    if row is None:
        model(actor, model_name)
        raise _no_version(model_name, number)
    _seen(actor, row.model, model_name)
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
        .prefetch_related(_version_aliases())
        .filter(public_id=public_id)
        .first()
    )
    if row is None:
        raise Missing("There is no such version.", code="registry.no_such_version")
    _seen(actor, row.model, row.model.name)
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


def search_versions(actor: Actor, q: str, *, limit: int = 8) -> list[ModelVersion]:
    """Return versions of visible models by run, commit or digest, the newest first."""
    if len(q) < 4:
        return []
    digest = q if q.startswith("sha256:") else f"sha256:{q}"
    found = Q(run_id=q) | Q(git_commit__startswith=q) | Q(manifest_digest__startswith=digest)
    rows = ModelVersion.objects.select_related("model__team").filter(
        found, model__in=visible_models(actor).values("id")
    )
    return list(rows.order_by("-id")[:limit])


def recent_versions(actor: Actor, *, limit: int = 10) -> list[ModelVersion]:
    """Return the versions registered last, over all visible models."""
    teams = _teams(actor)
    rows = ModelVersion.objects.select_related("model__team")
    if teams is not None:
        rows = rows.filter(model__team__slug__in=teams)
    return list(rows.order_by("-id")[:limit])


# --- files ------------------------------------------------------------------------------------


def files(version_row: ModelVersion) -> list[VersionFile]:
    """Return the files of a version, by path."""
    return list(VersionFile.objects.filter(version=version_row).order_by("path"))


def manifest(version_id: int) -> list[FileEntry]:
    """Return the manifest of a version, by path."""
    rows = VersionFile.objects.filter(version_id=version_id).order_by("path")
    return [FileEntry(row.path, row.sha256, row.size) for row in rows]


def manifests(version_ids: Iterable[int]) -> dict[int, list[FileEntry]]:
    """Return the manifests of several versions, by path, by one query."""
    wanted = list(version_ids)
    found: dict[int, list[FileEntry]] = {pk: [] for pk in wanted}
    for row in VersionFile.objects.filter(version__in=wanted).order_by("path"):
        found[row.version_id].append(FileEntry(row.path, row.sha256, row.size))
    return found


def file(version_row: ModelVersion, path: str) -> VersionFile:
    """Return one file of a version.

    Raises:
        Missing: It has none at that path.
    """
    row = VersionFile.objects.filter(version=version_row, path=path).first()
    if row is None:
        raise Missing(
            f"Version {version_row.number} has no file {path[:120]!r}.",
            code="registry.no_such_file",
        )
    return row


def uploads_by_id(public_ids: Sequence[str]) -> dict[str, Upload]:
    """Return uploads by their public ids; the caller checks whose they are."""
    rows = Upload.objects.filter(public_id__in=public_ids)
    return {row.public_id: row for row in rows}


def upload(actor: Actor, public_id: str) -> Upload:
    """Return one upload of the actor's own.

    Raises:
        Missing: There is none.
    """
    access.require(actor, "registry.read")
    row = Upload.objects.filter(public_id=public_id).first()
    mine = row is not None and (
        actor.kind is ActorKind.WORKER
        or (actor.person_id is not None and row.owner_id == actor.person_id)
    )
    if row is None or not mine:
        raise Missing(
            f"There is no upload {public_id[:20]!r} of yours.",
            remedy="Begin one with POST /api/v1/uploads.",
            field="upload",
            code="upload.missing",
        )
    return row


# --- comparing, lineage -----------------------------------------------------------------------


def compare(actor: Actor, model_name: str, left: int, right: int) -> Comparison:
    """Return what differs between two versions of a model.

    Raises:
        Missing: One of them is missing.
    """
    sides = [version(actor, model_name, number) for number in (left, right)]
    return comparing.compare(*[_side(row) for row in sides])


@dataclass(frozen=True)
class Lineage:
    """Where a version came from, and what shares its origin.

    Attributes:
        run_id: The MLflow run, "" when unknown.
        git_commit: The training code.
        dataset: What it was trained on, with its digest.
        same_run: Other versions from the same run, in any visible model.
        same_dataset: Other versions from the same data, in any visible model.
        duplicates: Versions of the same model with the same bytes.
    """

    run_id: str
    git_commit: str
    dataset: str
    dataset_digest: str
    source: str
    same_run: list[ModelVersion]
    same_dataset: list[ModelVersion]
    duplicates: list[ModelVersion]


def lineage(actor: Actor, version_row: ModelVersion, *, limit: int = 20) -> Lineage:
    """Return where a version came from; at most `limit` relatives of each kind."""
    others = (
        ModelVersion.objects.select_related("model__team")
        .filter(model__in=visible_models(actor).values("id"))
        .exclude(pk=version_row.pk)
        .order_by("-id")
    )
    run, data = version_row.run_id, version_row.dataset_digest
    digest = version_row.manifest_digest
    return Lineage(
        run_id=run,
        git_commit=version_row.git_commit,
        dataset=version_row.dataset,
        dataset_digest=data,
        source=version_row.source,
        same_run=list(others.filter(run_id=run)[:limit]) if run else [],
        same_dataset=list(others.filter(dataset_digest=data)[:limit]) if data else [],
        duplicates=list(others.filter(model=version_row.model_id, manifest_digest=digest)[:limit])
        if digest
        else [],
    )


# --- helpers ----------------------------------------------------------------------------------


def _teams(actor: Actor) -> frozenset[str] | None:
    """Return the teams whose models the actor may read; None for all."""
    if actor.kind is ActorKind.WORKER:
        return None
    granted = [g for g in actor.grants if g.role in access.TABLE["registry.read"]]
    if any(g.team is None for g in granted):
        return None
    return frozenset(g.team for g in granted if g.team is not None)


def _seen(actor: Actor, row: RegisteredModel | None, name: str) -> RegisteredModel:
    if row is not None and access.allows(actor, "registry.read", team=row.team.slug):
        return row
    access.require(actor, "registry.read")
    raise Missing(
        f"There is no model {name[:140]!r}.",
        remedy="Check its name: capitals count.",
        field="model",
        code="registry.no_such_model",
    )


def _no_version(model_name: str, number: int) -> Missing:
    return Missing(
        f"{model_name} has no version {number}.",
        field="version",
        code="registry.no_such_version",
    )


def _in_range(number: int) -> int:
    """Return `number`, or one that no row has where the column could not hold it."""
    return number if 0 < number < 1 << 31 else 0


def _aliases() -> "Prefetch[str]":
    return Prefetch(
        "aliases", queryset=Alias.objects.select_related("version").order_by("name", "id")
    )


def _version_aliases() -> "Prefetch[str]":
    return Prefetch("aliases", queryset=Alias.objects.order_by("name", "id"))


def _named_like(q: str) -> Q:
    found = Q(name__icontains=q) | Q(description__icontains=q)
    return found | Q(name__trigram_word_similar=q) if len(q) > 2 else found


def _of_state(rows: QuerySet[ModelVersion], state: str) -> QuerySet[ModelVersion]:
    if state == "all":
        return rows
    if not state:
        return rows.exclude(state=VersionState.ARCHIVED)
    if state not in list(VersionState):
        raise Invalid(
            f"{state[:40]!r} is not a state.",
            remedy=f"Use one of {', '.join(VersionState)}, or all.",
            field="state",
            code="registry.unknown_state",
        )
    return rows.filter(state=state)


def _mentions(q: str) -> Q:
    found = (
        Q(semver__icontains=q)
        | Q(description__icontains=q)
        | Q(run_id__startswith=q)
        | Q(git_commit__startswith=q)
        | Q(dataset__icontains=q)
        | Q(registered_by__icontains=q)
    )
    number = q.removeprefix("v")
    if number.isascii() and number.isdigit() and len(number) < 10:
        found |= Q(number=int(number))
    return found


def _where(rows: QuerySet[ModelVersion], test: MetricTest) -> QuerySet[ModelVersion]:
    return rows.alias(_tested=_metric(test.name)).filter(**{f"_tested__{test.lookup}": test.value})


def _metric(name: str) -> Cast:
    return Cast(KT(f"metrics__{name}"), FloatField())


def _ordered(rows: QuerySet[ModelVersion], sort: Sort) -> QuerySet[ModelVersion]:
    last = "-id" if sort.descending else "id"
    if sort.metric:
        rows = rows.annotate(sort_metric=_metric(sort.metric))
        column = F("sort_metric")
        first = column.desc(nulls_last=True) if sort.descending else column.asc(nulls_last=True)
        return rows.order_by(first, last)
    sign = "-" if sort.descending else ""
    return rows.order_by(f"{sign}{sort.column}", last)


def _unknown_sort(sort: str, known: dict[str, tuple[str, ...]]) -> Invalid:
    return Invalid(
        f"{sort[:40]!r} is not an order.",
        remedy=f"Use one of {', '.join(known)}.",
        field="sort",
        code="registry.unknown_sort",
    )


def _side(row: ModelVersion) -> Side:
    return Side(
        number=row.number,
        semver=row.semver,
        state=row.state,
        format=row.format,
        framework=row.framework,
        metrics=row.metrics,
        params=row.params,
        inputs=row.inputs,
        outputs=row.outputs,
        files=tuple(manifest(row.pk)),
        size=row.size,
        manifest_digest=row.manifest_digest or "",
        lineage={
            "run": row.run_id,
            "commit": row.git_commit,
            "dataset": row.dataset,
            "dataset digest": row.dataset_digest,
            "trained at": row.trained_at.isoformat() if row.trained_at else "",
            "source": row.source,
        },
    )
