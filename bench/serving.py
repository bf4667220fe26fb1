"""From registered to the first prediction, and what Envoy adds to a prediction.

Each of the models of the demo is registered, built and served by REST on a fresh stack, and asked
once. Then the same request is put to the model server itself and through Envoy, in turns.
"""

import tempfile
import time
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import httpx

from bench import results
from bench.load import Ask, Measured, run
from controlplane.cli import journey, oip, samples
from controlplane.cli.client import Client
from controlplane.cli.output import note
from controlplane.cli.stack import Stack, running

MODELS = {"breast-cancer": samples.breast_cancer, "wine": samples.wine, "digits": samples.digits}
SECONDS = 3.0
TURNS = 3


def main() -> None:
    """Measure and write bench/results/serving.json."""
    with tempfile.TemporaryDirectory(prefix="my-", ignore_cleanup_errors=True) as folder:
        home = Path(folder)
        home.chmod(0o755)
        with running(home, seconds=180) as stack:
            client = Client(stack.web, stack.token("bench"), patience=60)
            figures = [_first(client, name, home) for name in MODELS]
            figures += _share_of_envoy(client, stack, home)
    note(f"Wrote {results.save('serving', figures)}.")


def _first(client: Client, name: str, home: Path) -> dict[str, Any]:
    trained = MODELS[name](home)
    began = time.monotonic()
    served = journey.whole(client, name, trained, team="platform")
    with httpx.Client(timeout=10) as http:
        address, inputs = served.endpoint["address"], served.version["inputs"]
        oip.predict(http, address, inputs, trained.inputs[:1])
    took = time.monotonic() - began
    note(f"{name}: first prediction after {took:.1f} s")
    return results.figure(f"register to first prediction, {name}", took, "s")


def _share_of_envoy(client: Client, stack: Stack, home: Path) -> list[dict[str, Any]]:
    name = "breast-cancer"
    endpoint = client.get("/api/v1/endpoints", model=name)["results"][0]
    endpoint = client.get(f"/api/v1/endpoints/{endpoint['id']}")
    version = client.get(f"/api/v1/models/{name}/versions/1")
    body = oip.request_for(version["inputs"], MODELS[name](home).inputs[:1])
    port = endpoint["revisions"][0]["replicas"][0]["port"]
    through = urlsplit(endpoint["address"])
    rows = []
    for connections in (1, 16):
        direct, proxied = _in_turns(
            (f"http://127.0.0.1:{port}", f"/v2/models/{name}/infer"),
            (f"{through.scheme}://{through.netloc}", through.path),
            body,
            connections,
        )
        label = f"{connections} connection{'s' * (connections > 1)}"
        rows += [
            results.figure(
                f"p50 through Envoy, {label}",
                proxied.p50_ms,
                "ms",
                "the model server itself",
                direct.p50_ms,
            ),
            results.figure(
                f"predictions through Envoy, {label}",
                proxied.per_second,
                "requests/s",
                "the model server itself",
                direct.per_second,
            ),
        ]
    return rows


def _in_turns(
    one: tuple[str, str], other: tuple[str, str], body: object, connections: int
) -> tuple[Measured, Measured]:
    """Press both in turns, so that a noisy moment meets both; return each one's median turn."""
    taken: tuple[list[Measured], list[Measured]] = ([], [])
    for _ in range(TURNS):
        for (base, path), turns in zip((one, other), taken, strict=True):
            ask = Ask("POST", path, body)
            turns.append(
                run(base, lambda k, ask=ask: ask, seconds=SECONDS, connections=connections)
            )
    first, second = (sorted(turns, key=lambda m: m.p50_ms)[TURNS // 2] for turns in taken)
    return first, second


if __name__ == "__main__":
    main()
