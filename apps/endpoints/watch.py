"""The watch: one look at all endpoints at once, beside the pass that each has by itself."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from apps.endpoints.domain.states import RevisionState
from apps.endpoints.domain.values import RouteSeen, Servers
from apps.endpoints.facts import kept
from apps.endpoints.models import Endpoint, Revision
from apps.endpoints.ports import ModelServers, TrafficRouter
from apps.endpoints.reconcile import KIND
from controlplane.db.nudge import nudge


@dataclass(frozen=True)
class Watch:
    """Looks at all endpoints at once, and wakes those that are not as they were last seen.

    A pass over every endpoint every few seconds would cost a thousand endpoints a whole core.
    This costs two calls and one query, whatever their number.
    """

    servers: ModelServers
    router: TrafficRouter

    def __call__(self, now: datetime) -> int:
        """Make the endpoints due that differ, and return how many there were."""
        remembered = _remembered()
        servers = self.servers.observe([row["public_id"] for row in remembered])
        routes = self.router.observe_all()
        changed = {row["endpoint"] for row in remembered if _differs(row, servers, routes)}
        due = Endpoint.objects.filter(pk__in=changed, lease_token=None, next_reconcile_at__gt=now)
        woken = list(due.values_list("pk", flat=True))
        if woken:
            Endpoint.objects.filter(pk__in=woken).update(next_reconcile_at=now)
            for pk in woken:
                nudge(KIND, pk)
        return len(woken)


def _remembered() -> Sequence[Mapping[str, Any]]:
    return list(
        Revision.objects.filter(
            ended_at=None, state__in=[RevisionState.LIVE, RevisionState.SHIFTING]
        ).values(
            "public_id",
            "number",
            "observed_weight",
            "observed_replicas",
            "endpoint",
            "endpoint__public_id",
        )
    )


def _differs(
    row: Mapping[str, Any], servers: Mapping[str, Servers], routes: Mapping[str, RouteSeen]
) -> bool:
    there = servers.get(row["public_id"])
    if [kept(r) for r in (there.replicas if there else ())] != row["observed_replicas"]:
        return True
    seen = routes.get(row["endpoint__public_id"], RouteSeen())
    weight = seen.route.weight_of(row["number"]) if seen.route else 0
    return not seen.intact or weight != row["observed_weight"]
