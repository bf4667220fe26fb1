"""Lists of model versions: of one model with filters and an order, found, or the last ones."""

from collections.abc import Sequence

from django.db.models import F, FloatField, Q, QuerySet
from django.db.models.fields.json import KT
from django.db.models.functions import Cast

from apps.registry.domain.kinds import Format
from apps.registry.domain.search import MetricTest, Sort, metric_test
from apps.registry.domain.states import VersionState
from apps.registry.models import ModelVersion, RegisteredModel
from apps.registry.selectors.model_versions import version_aliases
from apps.registry.selectors.visibility import readable_teams, visible_models
from controlplane.kernel.actor import Actor
from controlplane.kernel.errors import Invalid


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
    return rows.select_related("model").prefetch_related(version_aliases())


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
    teams = readable_teams(actor)
    rows = ModelVersion.objects.select_related("model__team")
    if teams is not None:
        rows = rows.filter(model__team__slug__in=teams)
    return list(rows.order_by("-id")[:limit])


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
