"""What Envoy says is in force, read as a route again. Pure: no file, no socket."""

from collections.abc import Mapping, Sequence
from dataclasses import replace

from apps.endpoints.domain.values import (
    WHOLE,
    Route,
    RouteSeen,
    Segment,
    Share,
    Sticky,
    StickyBy,
)
from controlplane.drivers.envoy.bootstrap import ROUTES
from controlplane.drivers.envoy.routes import (
    FAULT_MS,
    MIRRORS,
    Json,
    cluster,
    cluster_name,
    duration,
    infer_address,
    leaf,
    prefix,
    preview_address,
)


class InForce:
    """What Envoy's admin pages say is in force.

    Attributes:
        configuration: The route configuration; empty when there is none.
        leaves: By the beginning of the address, an endpoint's part of the route configuration.
        clusters: By name.
    """

    def __init__(self, *, routes: list[Json], clusters: list[Json]) -> None:
        """Read the two lists of Envoy's `/config_dump`."""
        self.configuration: Json = _configuration(routes)
        self.leaves: Mapping[str, Json] = _leaves(self.configuration)
        self.clusters: Mapping[str, Json] = {
            c["cluster"]["name"]: c["cluster"] for c in clusters if "cluster" in c
        }


def compare(meant: Route, in_force: InForce) -> RouteSeen:
    """Return what is in force for one endpoint, beside what was last asked for it.

    Args:
        meant: What the table holds.
        in_force: What Envoy says.
    """
    there = in_force.leaves.get(prefix(meant), {})
    known = {
        s.number: in_force.clusters.get(cluster_name(meant.endpoint, s.number), {})
        for s in meant.shares
    }
    as_meant = all(known[s.number] == cluster(meant.endpoint, s) for s in meant.shares)
    return RouteSeen(
        route=_read(meant, _routes_of(there), known),
        intact=there == leaf(meant) and as_meant,
    )


def _read(meant: Route, routes: Sequence[Json], known: Mapping[int, Json]) -> Route:
    """Return `meant` with all that its endpoint's routes say of where requests go."""
    asks = [r for r in routes if r.get("match", {}).get("path") == infer_address(meant)]
    general = [r for r in asks if not _segment_header(r)]
    weights = _weights(meant, general)
    return replace(
        meant,
        shares=tuple(
            Share(s.number, weights.get(s.number, 0), _ports(known[s.number]))
            for s in meant.shares
        ),
        mirror=_mirror(meant, general),
        preview=any(_is_preview(meant, r) for r in routes),
        faulty=any(_is_preview(meant, r) and _fails(r) for r in routes),
        sticky=_sticky(general),
        segments=_segments(meant, asks),
    )


def _is_preview(meant: Route, route: Json) -> bool:
    match, start = route.get("match", {}), preview_address(meant)
    return any(str(match.get(kind, "")).startswith(start) for kind in ("path", "prefix"))


def _fails(route: Json) -> bool:
    return bool(route.get("route", {}).get("timeout") == duration(FAULT_MS))


def _weights(meant: Route, routes: Sequence[Json]) -> dict[int, int]:
    """Return the percent of each revision, as the first of `routes` splits it."""
    weighted = _action(routes).get("weighted_clusters", {}).get("clusters", [])
    by_name = {c.get("name"): c.get("weight", 0) for c in weighted}
    numbers = {cluster_name(meant.endpoint, s.number): s.number for s in meant.shares}
    return {number: by_name[name] for name, number in numbers.items() if name in by_name}


def _mirror(meant: Route, routes: Sequence[Json]) -> int:
    """Return the percent that is copied to the candidate; copies to others are not meant."""
    name = cluster_name(meant.endpoint, meant.candidate) if meant.candidate is not None else ""
    for policy in _action(routes).get(MIRRORS, []):
        if policy.get("cluster") == name:
            fraction = policy.get("runtime_fraction", {}).get("default_value")
            # Without a fraction, everything is copied.
            return WHOLE if fraction is None else _percent(fraction)
    return 0


def _percent(fraction: Json) -> int:
    of = {"TEN_THOUSAND": 100, "MILLION": 10_000}.get(fraction.get("denominator", ""), 1)
    return int(fraction.get("numerator", 0)) // of


def _sticky(routes: Sequence[Json]) -> Sticky | None:
    """Return what keeps callers on one side; with a cookie, the first route is theirs."""
    action = _action(routes)
    if not action.get("weighted_clusters", {}).get("use_hash_policy"):
        return None
    for policy in action.get("hash_policy", []):
        if "header" in policy:
            return Sticky(StickyBy.HEADER, str(policy["header"].get("header_name", "")))
        if "cookie" in policy:
            return Sticky(StickyBy.COOKIE, str(policy["cookie"].get("name", "")))
    return None


def _segments(meant: Route, routes: Sequence[Json]) -> tuple[Segment, ...]:
    """Return the segments in the order in which Envoy looks at them, each once."""
    found: dict[tuple[str, str], Segment] = {}
    for route in routes:
        header = _segment_header(route)
        value = _exact(route, header)
        weight = _weights(meant, [route]).get(meant.candidate or 0, 0)
        if header and (header, value) not in found:
            found[header, value] = Segment(header, value, weight)
    return tuple(found.values())


def _segment_header(route: Json) -> str:
    """Return the header by which a route tells its requests from others; "" when there is none."""
    headers = route.get("match", {}).get("headers", [])
    return next((str(h["name"]) for h in headers if h["name"] != ":method"), "")


def _exact(route: Json, header: str) -> str:
    headers = route.get("match", {}).get("headers", [])
    found = (h.get("string_match", {}).get("exact", "") for h in headers if h["name"] == header)
    return str(next(found, ""))


def _action(routes: Sequence[Json]) -> Json:
    action: Json = routes[0].get("route", {}) if routes else {}
    return action


def _routes_of(there: Json) -> Sequence[Json]:
    found: Sequence[Json] = there.get("action", {}).get("typed_config", {}).get("routes", [])
    return found


def _configuration(routes: list[Json]) -> Json:
    dumped: list[Json] = [r.get("route_config", {}) for r in routes]
    return next((c for c in dumped if c.get("name") == ROUTES), {})


def _leaves(configuration: Json) -> Mapping[str, Json]:
    for host in configuration.get("virtual_hosts", []):
        tree = host.get("matcher", {}).get("matcher_tree", {})
        found: Mapping[str, Json] = tree.get("prefix_match_map", {}).get("map", {})
        return found
    return {}


def _ports(cluster: Json) -> tuple[int, ...]:
    localities = cluster.get("load_assignment", {}).get("endpoints", [])
    hosts = (host for locality in localities for host in locality.get("lb_endpoints", []))
    return tuple(h["endpoint"]["address"]["socket_address"]["port_value"] for h in hosts)
