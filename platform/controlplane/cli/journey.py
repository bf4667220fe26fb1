"""The main job by REST: register, build, serve. The demo and the smoke both take this way."""

from dataclasses import dataclass
from typing import Any

from controlplane.cli.client import Client
from controlplane.cli.main import (
    BUILD_ENDS,
    ensure_model,
    start_build,
    wait_until_live,
)
from controlplane.cli.samples import Trained

Json = dict[str, Any]


class Stuck(Exception):
    """The journey could not go on; the message is the product's own sentence."""


@dataclass(frozen=True)
class Served:
    """A version that takes requests.

    Attributes:
        version: The model version.
        build: Its build, with the variants and their proof sheets.
        endpoint: Where it is served.
        revision: What runs behind the endpoint.
    """

    version: Json
    build: Json
    endpoint: Json
    revision: Json


def register(client: Client, name: str, trained: Trained, *, team: str, **model: Any) -> Json:
    """Register what was trained, and return the version."""
    ensure_model(client, name, team, **model)
    upload = client.upload(trained.file)
    return client.post(
        f"/api/v1/models/{name}/versions",
        {
            "upload": upload,
            "metrics": trained.metrics,
            "params": trained.params,
            "dataset": trained.dataset,
        },
    )


def build(client: Client, name: str, number: int, *, seconds: float = 300) -> Json:
    """Build the version and return the build with its variants.

    Raises:
        Stuck: The build ended otherwise than well.
    """
    started = start_build(client, name, number)
    ended = client.wait(
        f"/api/v1/builds/{started['id']}", lambda b: b["state"] in BUILD_ENDS, seconds=seconds
    )
    if ended["state"] != "succeeded":
        raise Stuck(f"The build of {name} v{number} {ended['state']}: {_why(ended)}")
    return ended


def serve(client: Client, name: str, number: int, *, seconds: float = 120, **how: Any) -> Json:
    """Serve the version and return the answer, with the revision as it ended.

    Raises:
        Stuck: The revision failed.
    """
    body = {"model": name, "version": number, "environment": "dev", **how}
    answer = client.post("/api/v1/endpoints/serve", body)
    revision = wait_until_live(client, answer, seconds=seconds)
    if revision["state"] != "live":
        raise Stuck(f"{name} v{number} {revision['state']} in dev: {_why(revision)}")
    endpoint = client.get(f"/api/v1/endpoints/{answer['endpoint']['id']}")
    return {"endpoint": endpoint, "revision": revision}


def whole(client: Client, name: str, trained: Trained, *, team: str, **model: Any) -> Served:
    """Register, build and serve."""
    version = register(client, name, trained, team=team, **model)
    number = int(version["number"])
    built = build(client, name, number)
    served = serve(client, name, number)
    fresh = client.get(f"/api/v1/models/{name}/versions/{number}")
    return Served(fresh, built, served["endpoint"], served["revision"])


def _why(ended: Json) -> str:
    problem = ended.get("problem") or {}
    return " ".join(filter(None, [problem.get("sentence"), problem.get("remedy")])) or "no reason"
