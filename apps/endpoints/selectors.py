"""Reading endpoints. Other apps read their rows through these functions only."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

from django.conf import settings
from django.db.models import Prefetch, Q, QuerySet

from apps.accounts.domain import access
from apps.endpoints.domain import examples
from apps.endpoints.domain.decide import ON_ITS_WAY
from apps.endpoints.domain.states import RevisionState
from apps.endpoints.domain.summary import EndpointState, Part, endpoint_state
from apps.endpoints.domain.values import WHOLE
from apps.endpoints.models import Endpoint, EndpointKey, Revision
from apps.registry import selectors as registry
from controlplane.kernel.actor import Actor
from controlplane.kernel.errors import Missing

STARTS = 5  # of the newest revisions, by which the next one's is foretold
RECENT = 20  # ended revisions that an endpoint's page shows


@dataclass(frozen=True)
class Serves:
    """What answers at an endpoint: the live revision, in short."""

    model: str
    version: int
    variant: str
    revision: int
    since: datetime | None


@dataclass(frozen=True)
class EndpointView:
    """An endpoint for a list or a page.

    Attributes:
        row: The endpoint, with its environment, model and the model's team.
        state: In one word.
        live: The live revision.
        coming: The revision on its way.
        failed: The newest revision, where it failed.
    """

    row: Endpoint
    state: EndpointState
    live: Revision | None
    coming: Revision | None
    failed: Revision | None

    @property
    def serves(self) -> Serves | None:
        """Return what answers; None when nothing does."""
        if self.live is None:
            return None
        return Serves(
            model=self.row.model.name,
            version=self.live.version.number,
            variant=self.live.variant.kind,
            revision=self.live.number,
            since=self.live.live_at,
        )

    @property
    def url(self) -> str:
        """Return where its predictions are asked for."""
        return _address(self.row, None).infer


def endpoints(
    actor: Actor,
    *,
    environment: str = "",
    model: str = "",
    q: str = "",
    retired: bool = False,
) -> QuerySet[Endpoint]:
    """Return endpoints, newest first, with all that `view` needs, in two queries.

    Args:
        actor: Who looks; sees the endpoints of the models that they may see.
        environment: An environment's slug.
        model: A model's name.
        q: Part of a name.
        retired: Whether to list the retired ones instead.
    """
    access.require(actor, "endpoints.read")
    rows = _visible(actor).filter(retired_at__isnull=not retired)
    if environment:
        rows = rows.filter(environment__slug=environment)
    if model:
        rows = rows.filter(model__name=model)
    if q:
        rows = rows.filter(name__icontains=q)
    return rows.order_by("-id")


def endpoint(actor: Actor, public_id: str) -> Endpoint:
    """Return one endpoint with all that `view` needs.

    Raises:
        Missing: There is none, or the actor may not see it.
    """
    access.require(actor, "endpoints.read")
    return _one(_visible(actor).filter(public_id=public_id))


def endpoint_at(actor: Actor, *, environment: str, name: str) -> Endpoint:
    """Return the endpoint at an address, with all that `view` needs.

    Raises:
        Missing: There is none, or the actor may not see it.
    """
    access.require(actor, "endpoints.read")
    return _one(_visible(actor).filter(environment__slug=environment, name=name))


def endpoints_of(actor: Actor, model_id: int) -> list[EndpointView]:
    """Return the endpoints of one model, by the environments' order of promotion."""
    access.require(actor, "endpoints.read")
    rows = _visible(actor).filter(model_id=model_id)
    return [view(row) for row in rows.order_by("environment__rank", "id")]


def view(row: Endpoint) -> EndpointView:
    """Return the endpoint with its state and the revisions that matter; no query."""
    revisions = shown(row)
    newest = revisions[0] if revisions else None
    return EndpointView(
        row=row,
        state=endpoint_state(
            retired=row.retired_at is not None, parts=[_part(r) for r in revisions]
        ),
        live=next((r for r in revisions if r.state == RevisionState.LIVE), None),
        coming=next((r for r in revisions if r.state in ON_ITS_WAY), None),
        failed=newest if newest and newest.state == RevisionState.FAILED else None,
    )


def shown(row: Endpoint) -> Sequence[Revision]:
    """Return the revisions that a selector fetched along with `row`, newest first."""
    fetched: Sequence[Revision] = row.shown  # type: ignore[attr-defined]  # by the prefetch
    return fetched


def revisions(row: Endpoint) -> list[Revision]:
    """Return an endpoint's revisions, newest first, as far as a page shows them."""
    rows = Revision.objects.filter(endpoint=row).select_related("version", "variant")
    return list(rows.order_by("-number")[:RECENT])


def keys(actor: Actor, row: Endpoint) -> QuerySet[EndpointKey]:
    """Return an endpoint's keys, newest first, revoked ones too."""
    access.require(actor, "endpoints.read", team=row.model.team.slug)
    return EndpointKey.objects.filter(endpoint=row).order_by("-id")


def address(row: Endpoint) -> examples.Address:
    """Return where an endpoint answers, with a curl and a Python example; no query.

    The example is the live revision's first golden request, so it is known to be answered.
    """
    current = view(row)
    return _address(row, current.live or current.coming)


def revision_ids(keys: Iterable[tuple[str, int]]) -> dict[tuple[str, int], int]:
    """Return the rows of revisions by endpoint public id and number, by one query."""
    wanted = set(keys)
    rows = Revision.objects.filter(endpoint__public_id__in={endpoint for endpoint, _ in wanted})
    found = rows.values_list("endpoint__public_id", "number", "id")
    return {(e, n): pk for e, n, pk in found if (e, n) in wanted}


def live_in(model_id: int, environment_id: int) -> Revision | None:
    """Return what is live of a model in an environment; the caller may see both."""
    return (
        Revision.objects.filter(
            endpoint__model=model_id,
            endpoint__environment=environment_id,
            endpoint__retired_at=None,
            state=RevisionState.LIVE,
        )
        .select_related("version", "variant", "endpoint__environment")
        .first()
    )


def answering(bundle_digest: str, *, protected: bool) -> list[Revision]:
    """Return the revisions that serve exactly these bytes and get every request, newest first.

    Args:
        bundle_digest: Of the OCI manifest.
        protected: Whether those of protected environments are meant, or all others.
    """
    rows = Revision.objects.filter(
        bundle_digest=bundle_digest,
        state=RevisionState.LIVE,
        observed_weight=WHOLE,
        endpoint__retired_at=None,
        endpoint__environment__protected=protected,
    )
    return list(rows.select_related("endpoint__environment", "version").order_by("-id")[:RECENT])


def running(bundle_digest: str, *, protected: bool) -> list[Revision]:
    """Return the revisions whose own servers run exactly these bytes, newest first.

    However many requests callers send them: one on trial counts, and so does one that shares its
    endpoint with another's trial.

    Args:
        bundle_digest: Of the OCI manifest.
        protected: Whether those of protected environments are meant, or all others.
    """
    rows = Revision.objects.filter(
        bundle_digest=bundle_digest,
        state__in=[RevisionState.LIVE, RevisionState.SHIFTING],
        endpoint__retired_at=None,
        endpoint__environment__protected=protected,
    )
    return list(rows.select_related("endpoint__environment", "version").order_by("-id")[:RECENT])


def starts(endpoint_id: int, *, runtime: str) -> list[timedelta]:
    """Return how long the newest revisions took from the start to golden answers, newest first."""
    rows = Revision.objects.filter(
        endpoint=endpoint_id, runtime=runtime, started_at__isnull=False, ready_at__isnull=False
    )
    times = rows.order_by("-number").values_list("started_at", "ready_at")[:STARTS]
    return [ready - began for began, ready in times if began and ready]


def count_by_state(actor: Actor) -> dict[EndpointState, int]:
    """Return how many endpoints there are of each state, retired ones left out."""
    counts: dict[EndpointState, int] = {}
    for row in endpoints(actor):
        state = view(row).state
        counts[state] = counts.get(state, 0) + 1
    return counts


def _address(row: Endpoint, revision: Revision | None) -> examples.Address:
    golden: dict[str, Any] = revision.golden if revision else {}
    return examples.address(
        settings.SERVING_URL,
        environment=row.environment.slug,
        name=row.name,
        inputs=golden.get("example") or [],
        signature=revision.version.inputs if revision else [],
        key_required=row.key_required,
    )


def _visible(actor: Actor) -> QuerySet[Endpoint]:
    mine = registry.visible_models(actor).values("id")
    return (
        Endpoint.objects.filter(model__in=mine)
        .select_related("environment", "model__team")
        .prefetch_related(_shown())
    )


def _shown() -> "Prefetch[str]":
    """Fetch the revisions that have not ended, and the newest one, whatever it is."""
    newest = Revision.objects.distinct("endpoint").order_by("endpoint", "-number").values("id")
    rows = Revision.objects.filter(Q(ended_at=None) | Q(id__in=newest))
    return Prefetch(
        "revisions",
        queryset=rows.select_related("version", "variant").order_by("-number"),
        to_attr="shown",
    )


def _one(rows: QuerySet[Endpoint]) -> Endpoint:
    row = rows.first()
    if row is None:
        raise Missing(
            "There is no such endpoint.",
            remedy="The page of endpoints lists them all.",
            code="endpoint.missing",
        )
    return row


def _part(revision: Revision) -> Part:
    return Part(
        state=revision.state,
        replicas=revision.replicas,
        observed=tuple(r.get("state", "") for r in revision.observed_replicas),
    )
