"""Which of MLflow's routes the door opens, and what each one asks of the caller.

A table over method and path, pure. What is not in it is closed: MLflow grows new routes with
every release, and some of them run jobs or call other machines.
"""

import re
from dataclasses import dataclass
from enum import StrEnum
from urllib.parse import unquote

READING = frozenset({"GET", "HEAD", "OPTIONS"})
API = re.compile(r"/(?:ajax-)?api/[23]\.0/?")
ARTIFACT = re.compile(r"/(?:ajax-)?api/2\.0/mlflow-artifacts/artifacts/(?P<path>.+)")
UPLOADS = re.compile(r"/(?:ajax-)?api/2\.0/mlflow-artifacts/(?:artifacts|mpu/\w+)/(?P<path>.+)")
PATHS_IN_QUERY = ("path", "artifact_path", "artifact_file_path", "artifact_directory_path")
MOST_DECODINGS = 5


class Verb(StrEnum):
    """What the door does with a request beyond passing it on."""

    CREATE_MODEL = "create_model"
    EDIT_MODEL = "edit_model"
    TAG_MODEL = "tag_model"
    CREATE_VERSION = "create_version"
    EDIT_VERSION = "edit_version"
    TAG_VERSION = "tag_version"
    UNTAG_VERSION = "untag_version"
    TAG_LOGGED = "tag_logged"
    UNTAG_LOGGED = "untag_logged"
    DELETE_LOGGED = "delete_logged"
    SET_ALIAS = "set_alias"
    REMOVE_ALIAS = "remove_alias"
    CLOSED = "closed"


@dataclass(frozen=True)
class Route:
    """What one route asks for.

    Attributes:
        access: The verb of the access table that passing it on needs; "" where `verb` checks.
        verb: What the registry does about it; None to pass it on as it is.
        why: For a closed route, what to do instead.
    """

    access: str = ""
    verb: Verb | None = None
    why: str = ""


def route(method: str, path: str) -> Route:
    """Return what a request asks for.

    Args:
        method: In capitals.
        path: Below /mlflow, with its leading slash, still percent-encoded.
    """
    plain = unquote(path)
    if prefix := API.match(plain):
        return _api(method, plain[prefix.end() :])
    if method in READING and PAGES.fullmatch(plain):
        return READ
    return READ if (method, plain) == ("POST", "/graphql") else NOT_OPEN


def leads_out(path: str) -> bool:
    """Return whether a path, however often encoded, climbs, is absolute or hides its parts."""
    for _ in range(MOST_DECODINGS):
        if _climbs(path):
            return True
        decoded = unquote(path)
        if decoded == path:
            return False
        path = decoded
    return True


def _climbs(path: str) -> bool:
    parts = path.split("/")
    return (
        any(part in ("..", ".") for part in parts)
        or "//" in path
        or "\\" in path
        or any(ord(c) < 32 or ord(c) == 127 for c in path)
    )


def absolute(path: str) -> bool:
    """Return whether a path given as a parameter begins at a root, however often encoded."""
    for _ in range(MOST_DECODINGS):
        path = unquote(path)
    return path.startswith("/") or bool(re.match(r"[A-Za-z][A-Za-z0-9+.-]*:", path))


def _api(method: str, path: str) -> Route:
    if (special := REGISTRY.get((method, path))) is not None:
        return special
    for verb_method, pattern, found in LOGGED:
        if method == verb_method and pattern.fullmatch(path):
            return found
    if CLOSED.match(path):
        return NOT_OPEN
    if method in READING or (method == "POST" and READS_BY_POST.fullmatch(path)):
        return READ
    if any(method in methods and pattern.fullmatch(path) for methods, pattern in WRITES):
        return WRITE
    return NOT_OPEN


READ, WRITE = Route("mlflow.read"), Route("mlflow.write")
NOT_OPEN = Route(
    verb=Verb.CLOSED, why="Modelyard does not pass this part of MLflow's API on. Use its own API."
)
KEPT = Route(
    verb=Verb.CLOSED,
    why="Models and versions are kept for good; archive them in Modelyard instead.",
)
NO_STAGES = Route(
    verb=Verb.CLOSED, why="Stages are not used here; move an alias, or serve it in Modelyard."
)
PAGES = re.compile(
    r"/(?:|static-files/.+|health|version|get-artifact|model-versions/get-artifact|graphql)"
)
CLOSED = re.compile(
    r"mlflow/(?:gateway|webhooks|assistant|jobs|scorers/invoke|mcp-servers|workspaces"
    r"|prompt-optimization|genai|demo|get-online-trace-details|artifacts/presigned)"
    r"|mlflow-artifacts/presigned"
)
READS_BY_POST = re.compile(
    r"mlflow/(?:experiments/search|experiments/search-datasets|runs/search|logged-models/search"
    r"|traces/search|datasets/search|issues/search|traces/batchGetInfos|traces/metrics"
    r"|traces/calculate-filter-correlation|registered-models/get-latest-versions)"
)
WRITES: tuple[tuple[frozenset[str], re.Pattern[str]], ...] = (
    (
        frozenset({"POST"}),
        re.compile(
            r"mlflow/experiments/(?:create|update|delete|restore|set-experiment-tag"
            r"|delete-experiment-tag)"
        ),
    ),
    (
        frozenset({"POST"}),
        re.compile(
            r"mlflow/runs/(?:create|update|delete|restore|log-metric|log-batch|log-model"
            r"|log-inputs|log-parameter|set-tag|delete-tag|outputs)"
        ),
    ),
    (
        frozenset({"POST", "PATCH", "DELETE"}),
        re.compile(r"mlflow/logged-models(?:/[^/]+(?:/(?:params|tags(?:/[^/]+)?))?)?"),
    ),
    (frozenset({"PUT", "DELETE"}), re.compile(r"mlflow-artifacts/artifacts/.+")),
    (frozenset({"POST"}), re.compile(r"mlflow-artifacts/mpu/(?:create|complete|abort)/.+")),
    (frozenset({"POST"}), re.compile(r"mlflow/upload-artifact")),
    (frozenset({"POST", "PATCH", "DELETE"}), re.compile(r"mlflow/traces(?:/.+)?")),
    (frozenset({"POST", "PATCH", "DELETE"}), re.compile(r"mlflow/datasets/.+")),
)
# A version is made of a logged model: what says so may not be changed, nor the model deleted.
LOGGED: tuple[tuple[str, re.Pattern[str], Route], ...] = (
    ("POST", re.compile(r"mlflow/logged-models"), Route(verb=Verb.TAG_LOGGED)),
    ("PATCH", re.compile(r"mlflow/logged-models/[^/]+/tags"), Route(verb=Verb.TAG_LOGGED)),
    ("DELETE", re.compile(r"mlflow/logged-models/[^/]+/tags/.+"), Route(verb=Verb.UNTAG_LOGGED)),
    ("DELETE", re.compile(r"mlflow/logged-models/[^/]+"), Route(verb=Verb.DELETE_LOGGED)),
)
REGISTRY: dict[tuple[str, str], Route] = {
    (method, f"mlflow/{path}"): found
    for method, path, found in (
        ("POST", "registered-models/create", Route(verb=Verb.CREATE_MODEL)),
        ("PATCH", "registered-models/update", Route(verb=Verb.EDIT_MODEL)),
        ("POST", "registered-models/set-tag", Route(verb=Verb.TAG_MODEL)),
        ("DELETE", "registered-models/delete-tag", Route(verb=Verb.TAG_MODEL)),
        ("POST", "registered-models/rename", KEPT),
        ("DELETE", "registered-models/delete", KEPT),
        ("POST", "registered-models/alias", Route(verb=Verb.SET_ALIAS)),
        ("DELETE", "registered-models/alias", Route(verb=Verb.REMOVE_ALIAS)),
        ("POST", "model-versions/create", Route(verb=Verb.CREATE_VERSION)),
        ("PATCH", "model-versions/update", Route(verb=Verb.EDIT_VERSION)),
        ("POST", "model-versions/set-tag", Route(verb=Verb.TAG_VERSION)),
        ("DELETE", "model-versions/delete-tag", Route(verb=Verb.UNTAG_VERSION)),
        ("DELETE", "model-versions/delete", KEPT),
        ("POST", "model-versions/transition-stage", NO_STAGES),
    )
}
