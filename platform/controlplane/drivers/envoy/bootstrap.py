"""What Envoy is started with: one listener, and the files it watches for everything else.

The listener never changes while Envoy runs: a changed listener would leave keep-alive
connections on the old one until they drain. Whatever may change stands in files that are
replaced by rename: clusters and their replicas in `cds.json`; addresses, weights, keys and limits
in `rds.json`.
"""

import json
import os
import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import orjson

from apps.endpoints.domain import keys
from controlplane.kernel import secretfile

ROUTES = "endpoints"  # the name of the one route configuration
DEFAULT_BODY_LIMIT = 16 * 1024 * 1024  # bytes, where a route says nothing

API = "type.googleapis.com/envoy."
HTTP_MANAGER = f"{API}extensions.filters.network.http_connection_manager.v3.HttpConnectionManager"
KEY_FILTER = "envoy.filters.http.jwt_authn"
KEY_CONFIG = f"{API}extensions.filters.http.jwt_authn.v3."
KEY_NEEDED = "key"  # the requirement that a route with keys names
ADMIT_FILTER = "envoy.filters.http.rbac"
ADMIT_CONFIG = f"{API}extensions.filters.http.rbac.v3."
NO_ENDPOINT = (
    "There is no endpoint at this address. It has the form "
    "/ENVIRONMENT/ENDPOINT/v2/models/ENDPOINT/infer; the endpoint's page shows it."
)
NO_ROUTE = (
    "The endpoint answers POST /v2/models/ENDPOINT/infer, and GET /v2/models/ENDPOINT and "
    "/v2/health/ready, below its own address; the endpoint's page shows it."
)
CALLER_HEADER = "x-modelyard-caller"  # a fresh value for every request, known before it is routed
BODY_FILTER = "envoy.filters.http.buffer"
BODY_CONFIG = f"{API}extensions.filters.http.buffer.v3."


def write(home: Path, *, port: int, admin: Path, host: str = "127.0.0.1") -> Path:
    """Write what Envoy starts with below `home`/envoy, and return the bootstrap's path.

    Clusters and routes that are already there stay as they are: a restarted Envoy takes up
    the traffic where the last one left it.

    Args:
        home: The stack's folder (MODELYARD_HOME).
        port: Where callers reach the endpoints.
        admin: The socket of Envoy's own pages.
        host: The address to listen on for callers.
    """
    folder = home / "envoy"
    folder.mkdir(parents=True, exist_ok=True)
    for name, resources in (("cds.json", []), ("rds.json", [_no_routes()])):
        if not (folder / name).exists():
            replace(folder / name, {"version_info": "0", "resources": resources})
    jwks = json.dumps(keys.public_keys(signing_seed(home)))
    path = folder / "bootstrap.json"
    replace(path, _bootstrap(folder, jwks, host=host, port=port, admin=admin))
    return path


def signing_seed(home: Path) -> bytes:
    """Return the key that signs the endpoints' keys on this machine."""
    return secretfile.read_or_make(home / "secrets" / "endpoint-keys", size=keys.SEED_BYTES)


def replace(path: Path, content: Mapping[str, Any]) -> bool:
    """Put `content` in the place of `path` in one step, readable by its owner only.

    Envoy watches for the rename, so it never reads half a file.

    Returns:
        Whether anything changed; what is there already is left alone.
    """
    if holds(path, content):
        return False
    wanted = _as_written(content)
    handle, name = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}-")
    with os.fdopen(handle, "wb") as stream:
        stream.write(wanted)
    os.replace(name, path)
    return True


def holds(path: Path, content: Mapping[str, Any]) -> bool:
    """Return whether `path` has that content already."""
    try:
        return path.read_bytes() == _as_written(content)
    except OSError:
        return False


def _as_written(content: Mapping[str, Any]) -> bytes:
    return orjson.dumps(content, option=orjson.OPT_SORT_KEYS)


def _no_routes() -> dict[str, Any]:
    return {
        "@type": f"{API}config.route.v3.RouteConfiguration",
        "name": ROUTES,
        "virtual_hosts": [{"name": ROUTES, "domains": ["*"], "routes": [unknown_address()]}],
    }


def unknown_address() -> dict[str, Any]:
    """Return the last route of every table: the answer at an address that is nobody's."""
    return {
        "match": {"prefix": "/"},
        "direct_response": {
            "status": 404,
            "body": {"inline_string": NO_ENDPOINT},
        },
    }


def _bootstrap(folder: Path, jwks: str, *, host: str, port: int, admin: Path) -> dict[str, Any]:
    return {
        "node": {"id": "modelyard", "cluster": "modelyard"},
        "admin": {"address": {"pipe": {"path": str(admin), "mode": 0o600}}},
        "stats_flush_interval": "1s",  # histograms can be read only after a flush
        "stats_config": {"stats_matcher": {"inclusion_list": {"patterns": _statistics()}}},
        "static_resources": {"listeners": [_listener(folder, jwks, host, port)]},
        "dynamic_resources": {
            "cds_config": {
                "path_config_source": {"path": str(folder / "cds.json")},
                "resource_api_version": "V3",
            }
        },
    }


def _statistics() -> list[dict[str, Any]]:
    """Name the statistics that are kept: few of the 150 that Envoy has of a cluster are read.

    The others would cost a thousand endpoints a hundred megabytes, and every reading its time.
    """
    of_a_cluster = (
        r"cluster\.[^.]+\.(upstream_rq_(total|[1-5]xx|time|timeout|retry|pending_overflow)"
        r"|upstream_cx_(active|connect_fail)|membership_(total|healthy))"
    )
    prefixes = ("server.", "cluster_manager.", "listener_manager.", "http.callers.", "listener.")
    return [*({"prefix": p} for p in prefixes), {"safe_regex": {"regex": of_a_cluster}}]


def _socket(host: str, port: int) -> dict[str, Any]:
    return {"socket_address": {"address": host, "port_value": port}}


def _listener(folder: Path, jwks: str, host: str, port: int) -> dict[str, Any]:
    return {
        "name": "callers",
        "address": _socket(host, port),
        "enable_reuse_port": False,  # two proxies on one port would share it silently
        "per_connection_buffer_limit_bytes": 1024 * 1024,
        "filter_chains": [
            {
                "filters": [
                    {
                        "name": "envoy.filters.network.http_connection_manager",
                        "typed_config": _manager(folder, jwks),
                    }
                ]
            }
        ],
    }


def _manager(folder: Path, jwks: str) -> dict[str, Any]:
    return {
        "@type": HTTP_MANAGER,
        "stat_prefix": "callers",
        "rds": {
            "route_config_name": ROUTES,
            "config_source": {
                "path_config_source": {"path": str(folder / "rds.json")},
                "resource_api_version": "V3",
            },
        },
        "early_header_mutation_extensions": [_fresh_value()],
        "http_filters": [_keys(jwks), _admit(), _body_limit(), _router()],
        "local_reply_config": _own_answers(),
        "access_log": [_failures()],
        "server_name": "modelyard",
        "use_remote_address": True,
        # A caller's own correlation id is kept, one is made where none came; both go back.
        "preserve_external_request_id": True,
        "always_set_request_id_in_response": True,
        "normalize_path": True,
        "merge_slashes": True,
        "path_with_escaped_slashes_action": "REJECT_REQUEST",
        "common_http_protocol_options": {"idle_timeout": "300s"},
        "request_headers_timeout": "10s",
        "stream_idle_timeout": "120s",
    }


def _fresh_value() -> dict[str, Any]:
    """Give every request a value by which a route may place a caller that it does not know yet.

    A request's correlation id would not do: a caller may choose it.
    """
    mutations = f"{API}extensions.http.early_header_mutation.header_mutation.v3.HeaderMutation"
    fresh = {
        "header": {"key": CALLER_HEADER, "value": "%UNIQUE_ID%"},
        "append_action": "OVERWRITE_IF_EXISTS_OR_ADD",
    }
    return {
        "name": "envoy.http.early_header_mutation.header_mutation",
        "typed_config": {"@type": mutations, "mutations": [{"append": fresh}]},
    }


def _keys(jwks: str) -> dict[str, Any]:
    """Check a key's signature where a route asks for one."""
    provider = {
        "issuer": keys.ISSUER,
        "local_jwks": {"inline_string": jwks},
        "from_headers": [
            {"name": keys.HEADER},
            {"name": "Authorization", "value_prefix": "Bearer "},
        ],
        "payload_in_metadata": "key",
        "jwt_cache_config": {"jwt_cache_size": 500},
    }
    return {
        "name": KEY_FILTER,
        "disabled": True,
        "typed_config": {
            "@type": f"{KEY_CONFIG}JwtAuthentication",
            "providers": {keys.ISSUER: provider},
            "requirement_map": {KEY_NEEDED: {"provider_name": keys.ISSUER}},
        },
    }


def _admit() -> dict[str, Any]:
    """Let in the keys that a route lists; a key that is revoked is no longer listed."""
    return {
        "name": ADMIT_FILTER,
        "disabled": True,
        "typed_config": {"@type": f"{ADMIT_CONFIG}RBAC"},
    }


def _body_limit() -> dict[str, Any]:
    return {
        "name": BODY_FILTER,
        "typed_config": {"@type": f"{BODY_CONFIG}Buffer", "max_request_bytes": DEFAULT_BODY_LIMIT},
    }


def _router() -> dict[str, Any]:
    return {
        "name": "envoy.filters.http.router",
        "typed_config": {
            "@type": f"{API}extensions.filters.http.router.v3.Router",
            "suppress_envoy_headers": True,
        },
    }


def _own_answers() -> dict[str, Any]:
    """Give every answer that Envoy makes itself the Open Inference Protocol's error form."""
    return {
        "mappers": [
            _say(401, "This endpoint needs a key. Send one that is valid as X-Api-Key."),
            _say(403, "This key is not one of this endpoint's."),
            _say(404, NO_ROUTE, flags=["NR"]),
            _say(413, "The request is larger than this endpoint accepts."),
            _say(504, "The model did not answer in the time this endpoint allows."),
            _say(
                503,
                "The model server did not take the request. Try again in a few seconds.",
                flags=["UF", "UC", "UH", "URX", "LR", "UR"],
            ),
        ],
        "body_format": {"json_format": {"error": "%LOCAL_REPLY_BODY%"}},
    }


def _say(status: int, sentence: str, *, flags: list[str] | None = None) -> dict[str, Any]:
    by_status = {
        "status_code_filter": {
            "comparison": {"value": {"default_value": status, "runtime_key": f"say.{status}"}}
        }
    }
    by_flag = {"response_flag_filter": {"flags": flags or []}}
    return {
        "filter": {"and_filter": {"filters": [by_status, by_flag]}} if flags else by_status,
        "body_format_override": {"json_format": {"error": sentence}},
    }


def _failures() -> dict[str, Any]:
    """Log what went wrong on the proxy's or a server's side; success is counted, not logged."""
    return {
        "name": "envoy.access_loggers.stdout",
        "filter": {
            "status_code_filter": {
                "comparison": {
                    "op": "GE",
                    "value": {"default_value": 500, "runtime_key": "log.from"},
                }
            }
        },
        "typed_config": {
            "@type": f"{API}extensions.access_loggers.stream.v3.StdoutAccessLog",
            "log_format": {
                "json_format": {
                    "at": "%START_TIME%",
                    "request_id": "%REQ(X-REQUEST-ID)%",
                    "path": "%REQ(X-ENVOY-ORIGINAL-PATH?:PATH)%",
                    "status": "%RESPONSE_CODE%",
                    "flags": "%RESPONSE_FLAGS%",
                    "details": "%RESPONSE_CODE_DETAILS%",
                    "cluster": "%UPSTREAM_CLUSTER%",
                    "milliseconds": "%DURATION%",
                }
            },
        },
    }
