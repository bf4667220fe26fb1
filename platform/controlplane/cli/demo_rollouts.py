"""The second act of `make demo`: what a new user finds under /rollouts.

1. A good canary of `wine-origin` v2 in staging, finished.
2. The same version on its way to production, in steps that are held for long.
3. A canary of `tumour-screening` v2 in staging: a network so wide that it answers too late for its
   objective. The judge sends it back.

All of it goes on behind pages that are useful already, with a few requests a second.
"""

import threading
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx

from controlplane.cli import journey, oip, releases, samples
from controlplane.cli.client import Client, Problem
from controlplane.cli.output import note

Json = dict[str, Any]
WINE, TUMOUR = "wine-origin", "tumour-screening"
PACE = 0.15  # seconds between two requests to an endpoint where a rollout has to be judged
AT_ONCE = 60  # masses that one request to the screening asks about
TOO_LATE_MS = 20.0
# With a few requests a second, a tighter promise would take an hour to prove.
ERRORS = {"name": "errors", "source": "errors", "tolerance": {"absolute": 0.01},
          "margin": {"absolute": 0.05}}  # fmt: skip
SLOW = {"name": "slow", "title": f"Slower than {TOO_LATE_MS:g} ms", "source": "slow",
        "over_ms": TOO_LATE_MS, "tolerance": {"absolute": 0.02},
        "margin": {"absolute": 0.05}}  # fmt: skip
QUICK = {
    "kind": "canary",
    "metrics": [ERRORS],
    "steps": [
        {"weight": 10, "hold_seconds": 15, "judge": False},
        {"weight": 50, "hold_seconds": 30},
    ],
}
CAREFUL = {
    "kind": "canary",
    "metrics": [ERRORS],
    "steps": [{"weight": weight, "hold_seconds": 900} for weight in (5, 25, 50)],
}
SCREENED = {
    "kind": "canary",
    "metrics": [ERRORS, SLOW],
    "steps": [{"weight": weight, "hold_seconds": 60} for weight in (25, 50)],
}


@dataclass(frozen=True)
class Cast:
    """Who does what.

    Attributes:
        house: Asks as the demo's own token.
        ada: Proposes.
        grace: Approves.
    """

    house: Client
    ada: Client
    grace: Client


@dataclass(frozen=True)
class Act:
    """One release of the second act.

    Attributes:
        name: Of the model.
        environment: Where it goes.
        summary: Why, as Ada says it.
        strategy: How its traffic moves.
    """

    name: str
    environment: str
    summary: str
    strategy: Json


GOOD = Act(WINE, "staging", "Deeper trees: better on the wines that v1 mixes up.", QUICK)
SLOWLY = Act(WINE, "production", "Went well in staging; let us take our time.", CAREFUL)
BAD = Act(TUMOUR, "staging", "A wide network, said to see more than the old one.", SCREENED)


def play(cast: Cast, folder: Path) -> None:
    """Play what has not been played; what goes wrong is said, and ends nothing else."""
    for scene in (_wine, _tumour):
        try:
            scene(cast, folder)
        except (Problem, journey.Stuck, TimeoutError, httpx.HTTPError) as error:
            note(f"A rollout of the demonstration did not come about: {error}")


def _wine(cast: Cast, folder: Path) -> None:
    trained = samples.wine(folder, seed=11, trees=120, depth=4)
    _version(cast, WINE, trained)
    _served(cast, WINE)
    _keep_asking(cast, WINE, "staging", trained, rows=1)
    good = _propose(cast, GOOD)
    # Its golden requests are asked in staging, so it need not be live there yet.
    slow = _propose(cast, SLOWLY)
    _keep_asking(cast, WINE, "production", trained, rows=1)
    if slow is not None:
        _approve(cast, slow)
    if good is not None:
        _say(cast, good, "live", seconds=600)


def _tumour(cast: Cast, folder: Path) -> None:
    trained = samples.breast_cancer_wide(folder)
    _served(cast, TUMOUR)
    _version(cast, TUMOUR, trained)
    _keep_asking(cast, TUMOUR, "staging", trained, rows=AT_ONCE)
    bad = _propose(cast, BAD)
    if bad is not None:
        _say(cast, bad, "live", seconds=600)


def _version(cast: Cast, name: str, trained: samples.Trained) -> None:
    """Have a second version registered and built."""
    house = cast.house
    if len(house.get(f"/api/v1/models/{name}/versions")["results"]) < 2:
        journey.register(house, name, trained, team="platform")
        journey.build(house, name, 2)
        note(f"{name} v2 is built.")


def _served(cast: Cast, name: str) -> None:
    """Have the first version live in staging, so that the second has something to take over."""
    found = cast.house.get("/api/v1/endpoints", model=name, environment="staging")["results"]
    if not found or not found[0]["serves"]:
        journey.serve(cast.house, name, 1, environment="staging")


def _propose(cast: Cast, act: Act) -> Json | None:
    """Return the release, proposed now; None when an earlier start did so."""
    asked = {"model": act.name, "environment": act.environment}
    known = [r for r in cast.ada.pages("/api/v1/releases", **asked) if r["version"] == 2]
    if known:
        return None
    body = {**asked, "version": 2, "summary": act.summary, "strategy": act.strategy}
    made = cast.ada.post("/api/v1/releases", body)
    note(f"Ada proposed R-{made['number']}: {act.name} v2 to {act.environment}, as a canary.")
    return made


def _approve(cast: Cast, release: Json) -> None:
    seen = releases.follow(cast.grace, release["number"], "awaiting_approval", seconds=180)
    if seen["state"] == "awaiting_approval":
        said = {"digest": seen["digest"], "reason": "Slowly is fine."}
        cast.grace.post(f"/api/v1/releases/{release['number']}/approve", said)
        note(f"Grace approved R-{release['number']}; it climbs slowly.")


def _say(cast: Cast, release: Json, until: str, *, seconds: float) -> None:
    ended = releases.follow(cast.ada, release["number"], until, seconds=seconds)
    note(f"R-{ended['number']} is {ended['state'].replace('_', ' ')}.")


def _keep_asking(
    cast: Cast, name: str, environment: str, trained: samples.Trained, *, rows: int
) -> None:
    """Send a few requests a second to an endpoint, until the demo ends."""
    found = cast.house.get("/api/v1/endpoints", model=name, environment=environment)["results"]
    if not found:
        return
    address = cast.house.get(f"/api/v1/endpoints/{found[0]['id']}")["address"]
    inputs = cast.house.get(f"/api/v1/models/{name}/versions/1")["inputs"]
    threading.Thread(target=_ask, args=(address, inputs, trained, rows), daemon=True).start()


def _ask(address: str, inputs: list[Json], trained: samples.Trained, rows: int) -> None:
    first = 0
    with httpx.Client(timeout=10) as http:
        while True:
            first = (first + 1) % max(1, len(trained.inputs) - rows)
            try:
                oip.predict(http, address, inputs, trained.inputs[first : first + rows])
            except httpx.HTTPError as error:
                note(f"{address}: {error}")
                time.sleep(5)
            time.sleep(PACE)
