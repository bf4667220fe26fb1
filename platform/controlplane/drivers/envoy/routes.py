"""From an endpoint's route to Envoy's resources. Pure: no file, no socket.

Every form here is the one in which Envoy prints its configuration, without defaults, so what is
in force can be compared with what was meant by `==`. A changed weight, a removed key or another
limit, put in by hand, is seen.
"""

from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass, field
from dataclasses import replace as but
from functools import lru_cache
from typing import Any, assert_never
from urllib.parse import quote

from apps.endpoints.domain import keys, routing
from apps.endpoints.domain.values import WHOLE, Route, Segment, Share, Sticky, StickyBy
from controlplane.drivers.envoy.bootstrap import (
    ADMIT_CONFIG,
    ADMIT_FILTER,
    API,
    BODY_CONFIG,
    BODY_FILTER,
    CALLER_HEADER,
    DEFAULT_BODY_LIMIT,
    KEY_CONFIG,
    KEY_FILTER,
    KEY_NEEDED,
    ROUTES,
    unknown_address,
)

REVISION_HEADER = "x-modelyard-revision"
CAPTURE_HEADER = "x-modelyard-capture"  # asks a model server to remember its answer
REMEMBERED = 7 * 24 * 3600  # seconds for which a caller keeps the cookie it was given
MIRRORS = "request_mirror_policies"
PREVIEW = "/preview"  # below an endpoint's address, and above what the model server knows
FAULT_MS = 1  # what a request gets at a preview address that is made to fail
NOT_READY = "The revision on trial is not ready. Its model servers are being started."
# Shorter than any model server keeps an idle connection: else a request could be sent on one
# that the server is just closing.
UPSTREAM_IDLE_SECONDS = 3
# What describes a model and its server; nothing else of a server's is shown to callers.
READS = r"/v2(/health/(live|ready)|/models/[^/]+(/ready)?)?"
ITS_OWN = r"/[^/]+/[^/]+"  # the part of an address that the model server does not know
KEPT = 2048  # endpoints whose resources are remembered, some 16 kB each

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
    tree = {prefix(r): leaf(r) for r in sorted(routes, key=lambda r: (r.environment, r.name))}
    # What all routes have in common stands here once: a thousand endpoints are read in a moment.
    host: Json = {
        "name": ROUTES,
        "domains": ["*"],
        "retry_policy": _retries(),
        "request_headers_to_remove": [keys.HEADER, "authorization", CAPTURE_HEADER],
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
        # A caller's own request to be captured is dropped first, and a route adds ours then.
        "most_specific_header_mutations_wins": True,
    }


def prefix(route: Route) -> str:
    """Return the beginning of every address of the endpoint."""
    return f"/{quote(route.environment, safe='')}/{quote(route.name, safe='')}/"


def clusters(routes: Iterable[Route]) -> list[Json]:
    """Return the cluster of every revision that the proxy should know, by name."""
    found = (cluster(route.endpoint, share) for route in routes for share in route.shares)
    return sorted(found, key=lambda cluster: str(cluster["name"]))


@lru_cache(maxsize=2 * KEPT)
def cluster(endpoint: str, share: Share) -> Json:
    """Return the cluster of one revision, to be read only.

    Its replicas stand in it, not in a file of their own: Envoy takes an inotify instance for
    every file it watches, of which Linux gives an account 128, and aborts at the next.
    """
    name = cluster_name(endpoint, share.number)
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
    admitted, sticky = value["admitted"], value.get("sticky")
    return Route(
        **{
            **value,
            "shares": shares,
            "admitted": None if admitted is None else tuple(admitted),
            "sticky": Sticky(StickyBy(sticky["by"]), sticky["name"]) if sticky else None,
            "segments": tuple(Segment(**segment) for segment in value.get("segments", ())),
        }
    )


@lru_cache(maxsize=KEPT)
def leaf(route: Route) -> Json:
    """Return the endpoint's part of the route configuration, to be read only.

    One endpoint's change writes all endpoints' routes, and each look compares them all.
    """
    return {
        "action": {
            "name": route.endpoint,
            "typed_config": {
                "@type": f"{API}config.route.v3.RouteList",
                "routes": _routes(routing.possible(route)),
            },
        }
    }


@dataclass(frozen=True)
class _Way:
    """Some of an endpoint's requests, and where they go.

    Attributes:
        split: The revisions that answer.
        below: The part of the address between the endpoint's and the model server's.
        match: What tells these requests from others at the same address.
        hashed: What places a caller on one side; None lets chance decide.
        more: What else the routes have.
        mirror: Percent that is copied to the candidate.
        timeout_ms: How long a caller waits at most; None for the endpoint's own limit.
    """

    split: routing.Split
    below: str = ""
    match: Json = field(default_factory=dict)
    hashed: Json | None = None
    more: Json = field(default_factory=dict)
    mirror: int = 0
    timeout_ms: int | None = None


def _routes(route: Route) -> list[Json]:
    """Return an endpoint's routes, of which the first that matches is taken."""
    if not route.serves():
        return [*_preview(route), _unavailable(route, prefix(route), route.unavailable)]
    ways = [w for way in _ways(route) for w in _kept_on_one_side(route, way)]
    return [*_preview(route), *(r for way in ways for r in _serves(route, way))]


def infer_address(route: Route, below: str = "") -> str:
    """Return the address at which predictions are asked for."""
    return f"{_start(route)}{below}{_infer(route)}"


def preview_address(route: Route) -> str:
    """Return the beginning of every address at which the candidate alone answers."""
    return f"{_start(route)}{PREVIEW}/"


def _preview(route: Route) -> list[Json]:
    candidate = routing.share(route, route.candidate)
    if not route.preview or candidate is None:
        return []
    if not candidate.ports:
        return [_unavailable(route, preview_address(route), NOT_READY)]
    limit = FAULT_MS if route.faulty else None
    way = _Way(split=((candidate.number, WHOLE),), below=PREVIEW, timeout_ms=limit)
    return _serves(route, way)


def _ways(route: Route) -> list[_Way]:
    """Return each segment's way, and then that of everybody else."""
    segments = [
        _Way(
            split=routing.segment_split(route, segment),
            match={"headers": [_exactly(segment.header, segment.value)]},
            mirror=route.mirror,
        )
        for segment in route.segments
    ]
    return [*segments, _Way(split=routing.general_split(route), mirror=route.mirror)]


def _kept_on_one_side(route: Route, way: _Way) -> list[_Way]:
    """Return `way` for callers that stay on one side of it.

    Envoy gives out no cookie of its own where it splits requests among clusters, so a caller that
    brings none has a way to itself: it is placed by the value that it is given to bring next time.
    """
    if route.sticky is None:
        return [way]
    name = route.sticky.name
    match route.sticky.by:
        case StickyBy.HEADER:
            return [but(way, hashed={"header": {"header_name": name}})]
        case StickyBy.COOKIE:
            known = but(
                way,
                match={**way.match, "cookies": [_is_there(name)]},
                hashed={"cookie": {"name": name}},
            )
            new = but(
                way,
                hashed={"header": {"header_name": CALLER_HEADER}},
                more={"response_headers_to_add": [_cookie(route, name)]},
            )
            return [known, new]
        case other:
            assert_never(other)


def _serves(route: Route, way: _Way) -> list[Json]:
    asks = {"path": infer_address(route, way.below)}
    reads = {"safe_regex": {"regex": f"{ITS_OWN}{way.below}{READS}"}}
    its_own = {"pattern": {"regex": f"^{ITS_OWN}{way.below}"}}
    mirror = _mirror(route, way)
    return [
        _route(route, way, asks, "POST", {"prefix_rewrite": _infer(route), **mirror}),
        _route(route, way, reads, "GET", {"regex_rewrite": its_own}),
    ]


def _route(route: Route, way: _Way, match: Json, method: str, action: Json) -> Json:
    filters = {
        **({} if route.max_request_bytes == DEFAULT_BODY_LIMIT else _limited(route)),
        **({} if route.admitted is None else _locked(route.admitted)),
    }
    return {
        "match": {
            **match,
            **way.match,
            "headers": [_exactly(":method", method), *way.match.get("headers", [])],
        },
        "metadata": _generation(route.generation),
        "route": {
            **_split(route, way),
            "timeout": duration(way.timeout_ms or route.timeout_ms),
            **action,
        },
        **({"typed_per_filter_config": filters} if filters else {}),
        **({"request_headers_to_add": [_capture()]} if MIRRORS in action else {}),
        **way.more,
    }


def _split(route: Route, way: _Way) -> Json:
    parts = [{"name": cluster_name(route.endpoint, n), "weight": w} for n, w in way.split]
    if way.hashed is None:
        return {"weighted_clusters": {"clusters": parts}}
    return {
        "weighted_clusters": {"clusters": parts, "use_hash_policy": True},
        "hash_policy": [way.hashed],
    }


def _mirror(route: Route, way: _Way) -> Json:
    """Copy some requests to the candidate, whose answers to those go nowhere."""
    if not way.mirror or route.candidate is None:
        return {}
    policy = {
        "cluster": cluster_name(route.endpoint, route.candidate),
        "runtime_fraction": {"default_value": {"numerator": way.mirror}},
        "disable_shadow_host_suffix_append": True,  # the copy is the same request, its host too
    }
    return {MIRRORS: [policy]}


def _capture() -> Json:
    return {
        "header": {"key": CAPTURE_HEADER, "value": "1"},
        "append_action": "OVERWRITE_IF_EXISTS_OR_ADD",
    }


def _cookie(route: Route, name: str) -> Json:
    """Give a caller the value by which it was placed."""
    # A percent sign begins one of Envoy's own words, and doubled stands for itself.
    path = prefix(route).replace("%", "%%")
    value = f"{name}=%REQ({CALLER_HEADER})%; Max-Age={REMEMBERED}; Path={path}"
    return {"header": {"key": "set-cookie", "value": f"{value}; HttpOnly; SameSite=Lax"}}


def _exactly(header: str, value: str) -> Json:
    return {"name": header, "string_match": {"exact": value}}


def _is_there(cookie: str) -> Json:
    return {"name": cookie, "string_match": {"safe_regex": {"regex": ".+"}}}


def _start(route: Route) -> str:
    return prefix(route).rstrip("/")


def _infer(route: Route) -> str:
    return f"/v2/models/{quote(route.name, safe='')}/infer"


def _unavailable(route: Route, start: str, sentence: str) -> Json:
    return {
        "match": {"prefix": start},
        "metadata": _generation(route.generation),
        "direct_response": {"status": 503, "body": {"inline_string": sentence}},
    }


def _limited(route: Route) -> Json:
    return {
        BODY_FILTER: {
            "@type": f"{BODY_CONFIG}BufferPerRoute",
            "buffer": {"max_request_bytes": route.max_request_bytes},
        }
    }


def duration(milliseconds: int) -> str:
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
    """Retry only what no server has begun to answer, and on another replica where there is one.

    Envoy draws the other replica by chance, and gives up after so many draws that met one which
    was tried already: of two replicas, 16 draws miss the other one once in 65,536 times.
    """
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
        "host_selection_retry_max_attempts": "16",
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
