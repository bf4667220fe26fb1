"""What an endpoint's rows say of it, in the words that its policy and the drivers speak.

Nothing here writes, or asks anything but the database.
"""

from collections.abc import Sequence
from typing import Any

from apps.endpoints.domain import keys, runtimes, sizes
from apps.endpoints.domain.values import Golden, Replica, RevisionFacts, Route, ServerSpec
from apps.endpoints.models import Endpoint, Revision

PREPARED_WITHIN = 300.0  # seconds to make an environment, where a runtime needs one


def open_revisions(endpoints: Sequence[Endpoint]) -> tuple[Revision, ...]:
    """Return the revisions of endpoints that have not ended, by one query."""
    rows = tuple(
        Revision.objects.filter(endpoint__in=endpoints, ended_at=None)
        .select_related("variant")
        .order_by("endpoint", "number")
    )
    by_key = {endpoint.pk: endpoint for endpoint in endpoints}
    for row in rows:
        row.endpoint = by_key[row.endpoint_id]
    return rows


def facts_of(endpoint: Endpoint, row: Revision) -> RevisionFacts:
    """Return what the policy wants to know of a revision."""
    runtime = runtimes.runtime(row.runtime)
    return RevisionFacts(
        number=row.number,
        state=row.state,
        state_since=row.state_since,
        spec=spec_of(endpoint, row),
        memory_mb=sizes.memory_mb(model_bytes=row.variant.size, measured_mb=row.variant.memory_mb),
        seconds_to_start=runtime.start_within.total_seconds()
        + (PREPARED_WITHIN if runtime.prepared else 0),
        warmed=row.warmed,
        golden=Golden(**row.golden) if row.golden else None,
        weight=row.observed_weight,
        weight_since=row.observed_weight_since,
        was_live=row.live_at is not None,
    )


def spec_of(endpoint: Endpoint, row: Revision) -> ServerSpec:
    """Return what a revision asks of model servers."""
    return ServerSpec(
        revision=row.public_id,
        generation=endpoint.generation,
        name=endpoint.name,
        number=row.number,
        digest=row.bundle_digest,
        runtime=row.runtime,
        replicas=row.replicas,
        configuration=row.configuration,
    )


def address(endpoint: Endpoint) -> Route:
    """Return an endpoint's route, before anybody says who answers there."""
    return Route(
        endpoint=endpoint.public_id,
        generation=endpoint.generation,
        environment=endpoint.environment.slug,
        name=endpoint.name,
        shares=(),
        unavailable="",
        timeout_ms=endpoint.timeout_ms,
        max_request_bytes=endpoint.max_request_bytes,
        admitted=_admitted(endpoint) if endpoint.key_required else None,
    )


def _admitted(endpoint: Endpoint) -> tuple[str, ...]:
    """Return the names of the keys that are let in: those in force, and our own pages'."""
    names = (
        endpoint.keys.filter(revoked_at=None).order_by("id").values_list("public_id", flat=True)
    )
    return (*names, keys.own_name(endpoint.public_id))


def kept(replica: Replica) -> dict[str, Any]:
    """Return what a revision's row remembers of a server."""
    return {
        "index": replica.index,
        "port": replica.port,
        "pid": replica.pid,
        "state": str(replica.state),
    }
