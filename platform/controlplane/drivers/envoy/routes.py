"""From an endpoint's route to Envoy's resources, and back. Pure: no file, no socket.

Every form here is the one in which Envoy prints its configuration, without defaults, so what is
in force can be compared with what was meant by `==`. A changed weight, a removed key or another
limit, put in by hand, is seen.
"""

from collections.abc import Iterable, Mapping
from dataclasses import asdict, replace
from typing import Any
from urllib.parse import quote

from apps.endpoints.domain import keys
from apps.endpoints.domain.values import Route, RouteSeen, Share
from controlplane.drivers.envoy.bootstrap import (
    ADMIT_CONFIG,
    ADMIT_FILTER,
    API,
    BODY_CONFIG,
    BODY_FILTER,
    DEFAULT_BODY_LIMIT,
    KEY_CONFIG,
    KEY_FILTER,
    KEY_NEEDED,
    ROUTES,
    unknown_address,
)

REVISION_HEADER = "x-modelyard-revision"
# Shorter than any model server keeps an idle connection: else a request could be sent on one
# that the server is just closing.
UPSTREAM_IDLE_SECONDS = 3
# What describes a model and its server; nothing else of a server's is shown to callers.
READS = r"/[^/]+/[^/]+/v2(/health/(live|ready)|/models/[^/]+(/ready)?)?"
ITS_OWN = r"^/[^/]+/[^/]+"  # the part of an address that the model server does not know

Json = dict[str, Any]
NOBODY: Json = {"not_id": {"any": True}}


def cluster_name(endpoint: str, number: int) -> str:
    """Return the name under which Envoy knows one revision, and counts its requests."""
    return f"{endpoint}-{number}"


def revision_of(cluster: str) -> tuple[str, int] | None:
    """Return the endpoint's public id and the revision's number of a cluster of ours."""
    endpoint, _, number = cluster.rpartition("-")
    return (endpoint, int(number)) if endpoint and number.isdigit() else None


def route_configuration(routes: Iterable[Route]) -> Json:
    """Return the one route configuration, for all endpoints.

    A tree of prefixes leads to an endpoint's few routes, so an address costs the same to find
    among a thousand endpoints as among ten.
    """
    tree = {prefix(r): _leaf(r) for r in sorted(routes, key=lambda r: (r.environment, r.name))}
    # What all routes have in common stands here once: a thousand endpoints are read in a moment.
    host: Json = {
        "name": ROUTES,
        "domains": ["*"],
        "retry_policy": _retries(),
        "request_headers_to_remove": [keys.HEADER, "authorization"],
        "response_headers_to_add": [_revision_header()],
    }
    if tree:
        host["matcher"] = {
            "matcher_tree": {
                "input": {
                    "name": "path",
                    "typed_config": {
                        "@type": f"{API}type.matcher.v3.HttpRequestHeaderMatchInput",
                        "header_name": ":path",
                    },
                },
                "prefix_match_map": {"map": tree},
            },
            "on_no_match": {
                "action": {
                    "name": "unknown",
                    "typed_config": {
                        "@type": f"{API}config.route.v3.Route",
                        **unknown_address(),
                    },
                }
            },
        }
    else:
        host["routes"] = [unknown_address()]
    return {
        "@type": f"{API}config.route.v3.RouteConfiguration",
        "name": ROUTES,
        "virtual_hosts": [host],
    }


def prefix(route: Route) -> str:
    """Return the beginning of every address of the endpoint."""
    return f"/{quote(route.environment, safe='')}/{quote(route.name, safe='')}/"


def clusters(routes: Iterable[Route]) -> list[Json]:
    """Return the cluster of every revision that the proxy should know, by name."""
    found = (_cluster(route, share) for route in routes for share in route.shares)
    return sorted(found, key=lambda cluster: str(cluster["name"]))


def _cluster(route: Route, share: Share) -> Json:
    """Return the cluster of one revision.

    Its replicas stand in it, not in a file of their own: Envoy takes an inotify instance for
    every file it watches, of which Linux gives an account 128, and aborts at the next.
    """
    name = cluster_name(route.endpoint, share.number)
    hosts = [
        {"endpoint": {"address": {"socket_address": {"address": "127.0.0.1", "port_value": port}}}}
        for port in share.ports
    ]
    assignment: Json = {"cluster_name": name}
    if hosts:
        assignment["endpoints"] = [{"lb_endpoints": hosts}]
    return {
        "@type": f"{API}config.cluster.v3.Cluster",
        "name": name,
        "metadata": {"filter_metadata": {"modelyard": {"revision": str(share.number)}}},
        "connect_timeout": "1s",
        "load_assignment": assignment,
        "lb_policy": "LEAST_REQUEST",
        "circuit_breakers": {
            "thresholds": [
                {
                    "max_connections": 4096,
                    "max_pending_requests": 4096,
                    "max_requests": 8192,
                    "max_retries": 64,
                }
            ]
        },
        "typed_extension_protocol_options": {
            "envoy.extensions.upstreams.http.v3.HttpProtocolOptions": {
                "@type": f"{API}extensions.upstreams.http.v3.HttpProtocolOptions",
                "common_http_protocol_options": {"idle_timeout": f"{UPSTREAM_IDLE_SECONDS}s"},
                "explicit_http_config": {"http_protocol_options": {}},
            }
        },
    }


def to_json(route: Route) -> Json:
    """Return `route` as it is kept in the table."""
    return asdict(route)


def from_json(value: Mapping[str, Any]) -> Route:
    """Return the route that `to_json` kept."""
    shares = tuple(
        Share(number=s["number"], weight=s["weight"], ports=tuple(s["ports"]))
        for s in value["shares"]
    )
    admitted = value["admitted"]
    return Route(
        **{
            **value,
            "shares": shares,
            "admitted": None if admitted is None else tuple(admitted),
        }
    )


def compare(meant: Route, in_force: "InForce") -> RouteSeen:
    """Return what is in force for one endpoint, beside what was last asked for it.

    Args:
        meant: What the table holds.
        in_force: What Envoy says.
    """
    leaf = in_force.leaves.get(prefix(meant))
    weights = _weights(leaf or {})
    names = {s.number: cluster_name(meant.endpoint, s.number) for s in meant.shares}
    known = {n: in_force.clusters.get(name, {}) for n, name in names.items()}
    shares = tuple(
        Share(s.number, weights.get(names[s.number], 0), _ports(known[s.number]))
        for s in meant.shares
    )
    as_meant = all(known[s.number] == _cluster(meant, s) for s in meant.shares)
    return RouteSeen(route=replace(meant, shares=shares), intact=leaf == _leaf(meant) and as_meant)


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


def _weights(leaf: Json) -> dict[str, int]:
    """Return the percent of each cluster, as the first route of an endpoint splits it."""
    try:
        first = leaf["action"]["typed_config"]["routes"][0]["route"]
        return {c["name"]: c["weight"] for c in first["weighted_clusters"]["clusters"]}
    except (KeyError, IndexError, TypeError):
        return {}


def _leaf(route: Route) -> Json:
    return {
        "action": {
            "name": route.endpoint,
            "typed_config": {
                "@type": f"{API}config.route.v3.RouteList",
                "routes": _routes(route),
            },
        }
    }


def _routes(route: Route) -> list[Json]:
    start, name = prefix(route).rstrip("/"), quote(route.name, safe="")
    infer = f"/v2/models/{name}/infer"
    if not route.serves():
        return [_unavailable(route, f"{start}/")]
    return [
        _serves(route, {"path": start + infer}, "POST", {"prefix_rewrite": infer}),
        _serves(route, {"safe_regex": {"regex": READS}}, "GET", {"regex_rewrite": REWRITE}),
    ]


REWRITE: Json = {"pattern": {"regex": ITS_OWN}}


def _unavailable(route: Route, start: str) -> Json:
    return {
        "match": {"prefix": start},
        "metadata": _generation(route.generation),
        "direct_response": {"status": 503, "body": {"inline_string": route.unavailable}},
    }


def _serves(route: Route, match: Json, method: str, rewrite: Json) -> Json:
    filters = {
        **({} if route.max_request_bytes == DEFAULT_BODY_LIMIT else _limited(route)),
        **({} if route.admitted is None else _locked(route.admitted)),
    }
    return {
        "match": {
            **match,
            "headers": [{"name": ":method", "string_match": {"exact": method}}],
        },
        "metadata": _generation(route.generation),
        "route": {
            "weighted_clusters": {
                "clusters": [
                    {"name": cluster_name(route.endpoint, s.number), "weight": s.weight}
                    for s in route.shares
                    if s.weight
                ]
            },
            "timeout": _duration(route.timeout_ms),
            **rewrite,
        },
        **({"typed_per_filter_config": filters} if filters else {}),
    }


def _limited(route: Route) -> Json:
    return {
        BODY_FILTER: {
            "@type": f"{BODY_CONFIG}BufferPerRoute",
            "buffer": {"max_request_bytes": route.max_request_bytes},
        }
    }


def _duration(milliseconds: int) -> str:
    """Return a duration as protocol buffers print it: no digits after the point, or three."""
    seconds, rest = divmod(milliseconds, 1000)
    return f"{seconds}.{rest:03}s" if rest else f"{seconds}s"


def _generation(generation: int) -> Json:
    return {"filter_metadata": {"modelyard": {"generation": generation}}}


def _revision_header() -> Json:
    """Tell callers which revision answered; its cluster knows."""
    return {
        "header": {
            "key": REVISION_HEADER,
            "value": "%CLUSTER_METADATA(modelyard:revision)%",
        },
        "append_action": "OVERWRITE_IF_EXISTS_OR_ADD",
    }


def _retries() -> Json:
    """Retry only what no server has begun to answer, and on another replica where there is one."""
    return {
        "retry_on": "connect-failure,refused-stream,reset-before-request",
        "num_retries": 2,
        "retry_host_predicate": [
            {
                "name": "envoy.retry_host_predicates.previous_hosts",
                "typed_config": {
                    "@type": f"{API}extensions.retry.host.previous_hosts.v3.PreviousHostsPredicate"
                },
            }
        ],
        "host_selection_retry_max_attempts": "3",
    }


def _locked(admitted: tuple[str, ...]) -> Json:
    """Ask for a key, and let in those that are listed; an empty list lets nobody in."""
    return {
        KEY_FILTER: {
            "@type": f"{KEY_CONFIG}PerRouteConfig",
            "requirement_name": KEY_NEEDED,
        },
        ADMIT_FILTER: {
            "@type": f"{ADMIT_CONFIG}RBACPerRoute",
            "rbac": {
                "rules": {
                    "policies": {
                        "keys": {
                            "permissions": [{"any": True}],
                            "principals": [_named(name) for name in admitted] or [NOBODY],
                        }
                    }
                }
            },
        },
    }


def _named(name: str) -> Json:
    return {
        "sourced_metadata": {
            "metadata_matcher": {
                "filter": KEY_FILTER,
                "path": [{"key": "key"}, {"key": "jti"}],
                "value": {"string_match": {"exact": name}},
            }
        }
    }
