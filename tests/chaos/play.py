"""The play: rollouts on several endpoints of a real stack, while its processes are killed.

1. Two versions of each model are built, and the first one is served at every endpoint.
2. Every endpoint goes through its rollouts one after the other, all endpoints at once: good ones,
   some whose answers fail, some whose server crashes, some that a person aborts.
3. Meanwhile callers ask every endpoint, and one process after the other is killed.
4. When all rollouts have ended and everything is back, callers go on asking for a while.
5. Everything that was written down is judged.
"""

import contextlib
import random
import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, TypeVar

import httpx

from apps.audit.domain import signing
from controlplane.cli import journey, ledger
from controlplane.cli.client import Client, Problem, Unreachable
from controlplane.cli.stack import Stack
from tests.chaos import killing, models, verdict
from tests.chaos.killing import Killer
from tests.chaos.records import Asked, Fate, Kill, Place, Played
from tests.chaos.traffic import Traffic
from tests.chaos.watching import Row, Watch, moment

ENVIRONMENTS = ("dev", "staging")  # they ask for nobody's approval
HOLD = 2.0
LONG = 600.0  # a hold that nothing lives through
LADDER = ((10, HOLD), (50, HOLD))
WITHOUT_END = ((10, HOLD), (50, LONG))
# Of a candidate that is killed again and again the judge may well say that it fails more.
PATIENT = {"name": "errors", "source": "errors", "tolerance": {"absolute": 0.9},
           "margin": {"absolute": 0.95}}  # fmt: skip
RATE = 4.0  # requests a second at each endpoint
TOGETHER = 0.5  # seconds within which the first rollouts begin
ENDED = ("live", "rolled_back", "superseded", "declined", "withdrawn", "expired")
Found = TypeVar("Found")
QUIET = 4.0  # seconds in the end in which nothing may fail
BREATH = 2.0  # seconds after everything is back until the quiet begins
FREED = 20.0  # seconds in which what the dead held has to be free


@dataclass(frozen=True)
class Script:
    """What happens: fates by endpoint, and kinds of kills with the pauses between them.

    Attributes:
        seed: Of every chance.
        models: Names of the models; each has an endpoint in every environment.
        fates: Of the rollouts of each endpoint, in order.
        kills: What is killed, in order.
        pause: Shortest and longest time between two kills, in seconds.
        patience: How long one rollout may take, in seconds.
    """

    seed: int
    models: Sequence[str]
    fates: Sequence[Sequence[Fate]]
    kills: Sequence[str]
    pause: tuple[float, float]
    patience: float = 180.0


@dataclass
class Report:
    """What came of it.

    Attributes:
        script: What was played.
        played: Every rollout.
        kills: Every kill.
        answers: How many requests were answered, and how many failed of what.
        violations: Sentences; empty when everything is as it has to be.
        seconds: How long the play took, without the building before it.
    """

    script: Script
    played: list[Played] = field(default_factory=list)
    kills: list[Kill] = field(default_factory=list)
    answers: dict[str, int] = field(default_factory=dict)
    violations: list[str] = field(default_factory=list)
    seconds: float = 0.0

    def __str__(self) -> str:
        """Say it for a person who wants to play it again."""
        kills = [f"{k.at:%H:%M:%S.%f} {k.kind} {k.pid}, back after {k.back} s" for k in self.kills]
        ends = [f"{p.place}, {p.fate}: {p.state} ({p.rollout})" for p in self.played]
        parts = [f"seed {self.script.seed}, {self.seconds:.1f} s", *kills, *ends,
                 str(self.answers), *(self.violations or ["nothing is wrong"])]  # fmt: skip
        return "\n".join(parts)


@dataclass(frozen=True)
class _Begun:
    """One rollout as its endpoint's thread leaves it."""

    place: Place
    fate: Fate
    stable: int
    candidate: int
    number: int
    row: Row
    at: datetime


def play(stack: Stack, client: Client, script: Script, *, folder: Path) -> Report:
    """Play a script on a stack, and judge it."""
    places = _prepare(client, script, folder)
    chance = random.Random(script.seed)
    watch, traffic = Watch(stack.home), Traffic(places, each=RATE)
    killer = Killer(stack, watch, chance=chance)
    began = time.monotonic()
    with traffic.flowing(), watch.looking():
        with killer.at_random(script.kills, pause=script.pause):
            begun, violations = _all_places(stack, client, script, places, watch, traffic, killer)
        kills = killer.kills
        violations += [] if killer.all_well() else ["not every part came back"]
        violations += [f"{k.kind} did not come back" for k in kills if k.back is None]
        time.sleep(BREATH)
        quiet = datetime.now(UTC)
        serves = {place: _serves(place) for place in places}
        time.sleep(QUIET)
    played = _collected(client, watch, begun, serves)
    violations += _judged(played, traffic.asked, kills, quiet)
    violations += _left(client, watch, folder)
    seconds = time.monotonic() - began
    return Report(script, played, kills, verdict.summary(traffic.asked), violations, seconds)


def _prepare(client: Client, script: Script, folder: Path) -> list[Place]:
    with ThreadPoolExecutor(2) as pool:
        list(pool.map(lambda name: models.register(client, name, folder), script.models))
        pairs = [(name, place) for name in script.models for place in ENVIRONMENTS]
        return list(pool.map(lambda pair: _served(client, *pair), pairs))


def _served(client: Client, name: str, environment: str) -> Place:
    served = journey.serve(client, name, 1, environment=environment)
    return Place(name, environment, served["endpoint"]["address"])


def _all_places(
    stack: Stack,
    client: Client,
    script: Script,
    places: Sequence[Place],
    watch: Watch,
    traffic: Traffic,
    killer: Killer,
) -> tuple[list[_Begun], list[str]]:
    """Drive every endpoint through its rollouts, each in a thread of its own.

    Returns:
        What was begun, and a sentence for every endpoint that got stuck.
    """

    def one(number: int) -> _Director:
        chance = random.Random(f"{script.seed}/{number}")
        with _another(client, stack) as mine:
            director = _Director(
                mine, watch, traffic, killer, chance, places[number], script.patience
            )
            director.all_of(script.fates[number])
            return director

    with ThreadPoolExecutor(len(places), thread_name_prefix="place") as pool:
        directors = list(pool.map(one, range(len(places))))
    begun = [one for director in directors for one in director.begun]
    return begun, [director.stuck for director in directors if director.stuck]


@contextlib.contextmanager
def _another(client: Client, stack: Stack) -> Iterator[Client]:
    opened = Client(stack.web, client.token, patience=90)
    try:
        yield opened
    finally:
        opened.close()


@dataclass
class _Director:
    """Takes one endpoint through its rollouts."""

    client: Client
    watch: Watch
    traffic: Traffic
    killer: Killer
    chance: random.Random
    place: Place
    patience: float
    live: int = 1
    stuck: str = ""  # where it got, if not to the end
    begun: list[_Begun] = field(default_factory=list)

    def all_of(self, fates: Sequence[Fate]) -> None:
        """Play every rollout of the endpoint, unless one of them gets stuck."""
        time.sleep(self.chance.uniform(0, TOGETHER))
        try:
            for fate in fates:
                self.begun.append(self._one(fate))
        except (TimeoutError, Problem, Unreachable) as error:
            self.stuck = f"{self.place}: {error}"

    def _one(self, fate: Fate) -> _Begun:
        stable, candidate, at = self.live, 3 - self.live, datetime.now(UTC)
        release = self.client.post("/api/v1/releases", self._body(candidate, fate))
        number = int(release["number"])
        self._until(lambda: self._carries(number), f"R-{number} moves traffic")
        self._spoil(fate, number, candidate)
        row = self._until(lambda: self._ended(number), f"the rollout of R-{number} ends")
        self.traffic.poison(self.place, 0)
        self._release_ends(number)
        if row["state"] == "promoted":
            self.live = candidate
        return _Begun(self.place, fate, stable, candidate, number, row, at)

    def _body(self, version: int, fate: Fate) -> dict[str, Any]:
        return {
            "model": self.place.model,
            "environment": self.place.environment,
            "version": version,
            "strategy": strategy(fate),
            "summary": f"It is meant to be {fate}.",
        }

    def _spoil(self, fate: Fate, number: int, candidate: int) -> None:
        """Make happen what the rollout is there for."""
        match fate:
            case Fate.GOOD:
                return
            case Fate.FAILS:
                self.traffic.poison(self.place, candidate)
            case Fate.CRASHES:
                time.sleep(self.chance.uniform(0.5, 2))
                self._crash(number)
            case Fate.ABORTED:
                time.sleep(self.chance.uniform(0, 4))
                rollout = self._row(number)["rollout"]
                path = f"/api/v1/rollouts/{rollout}/abort"
                self.client.post(path, {"reason": "We have changed our minds."})

    def _crash(self, number: int) -> None:
        """Kill the server until the rollout goes back; a kill before it was seen ready is none."""

        def goes_back() -> bool:
            row = self._row(number)
            if row["state"] not in verdict.CLIMBING:
                return True
            if row["weight"] and any(r["state"] == "ready" for r in row["replicas"]):
                self.killer.candidate_of(number)
                time.sleep(5)
            return False

        self._until(goes_back, f"R-{number} goes back")

    def _row(self, number: int) -> Row:
        row = self.watch.of_release(number)
        assert row is not None
        return row

    def _carries(self, number: int) -> Row | None:
        """Return the rollout once its candidate answers somebody, or it has ended."""
        row = self.watch.of_release(number)
        return row if row and (row["ended_at"] or row["weight"]) else None

    def _ended(self, number: int) -> Row | None:
        row = self._row(number)
        return row if moment(row) else None

    def _release_ends(self, number: int) -> None:
        path = f"/api/v1/releases/{number}"
        self._until(lambda: self.client.get(path)["state"] in ENDED, f"R-{number} ends")

    def _until(self, found: Callable[[], Found | None], what: str) -> Found:
        end = time.monotonic() + self.patience
        while not (value := found()):
            if time.monotonic() > end:
                raise TimeoutError(f"{self.place}: {what}: not within {self.patience:.0f} s.")
            time.sleep(0.1)
        return value


def strategy(fate: Fate) -> dict[str, Any]:
    """Return how a rollout climbs; what sends it back is nothing but what is meant to."""
    rungs = LADDER if fate is Fate.GOOD else WITHOUT_END
    limits = {
        "errors": 5 if fate is Fate.FAILS else 100_000,
        "restarts": 1 if fate is Fate.CRASHES else 100,
    }
    steps = [{"weight": weight, "hold_seconds": hold, "judge": False} for weight, hold in rungs]
    return {
        "kind": "canary", "steps": steps, "limits": limits, "keep_warm_seconds": 3,
        "metrics": [PATIENT],
    }  # fmt: skip


def _serves(place: Place) -> list[int]:
    """Return who answers ten requests."""
    found = []
    with httpx.Client(timeout=5) as http:
        for _ in range(10):
            answer = http.post(place.address, json=models.question())
            found.append(models.answered_by(answer.json()) if answer.is_success else 0)
    return found


def _collected(
    client: Client, watch: Watch, begun: Sequence[_Begun], serves: dict[Place, list[int]]
) -> list[Played]:
    """Put together what is known of every rollout, in the order of each endpoint."""
    now = datetime.now(UTC)
    played: list[Played] = []
    for index, one in enumerate(begun):
        later = [b for b in begun[index + 1 :] if b.place == one.place]
        rollout = one.row["rollout"]
        played.append(
            Played(
                one.place, one.fate, one.stable, one.candidate,
                LADDER if one.fate is Fate.GOOD else WITHOUT_END,
                rollout,
                watch.rows[one.number]["state"],
                client.get(f"/api/v1/rollouts/{rollout}")["reason"],
                client.get(f"/api/v1/releases/{one.number}")["state"],
                superseded=any(b.row["state"] == "promoted" for b in later),
                last=not later,
                events=watch.events(rollout),
                verbs=watch.verbs(rollout),
                samples=verdict.looked_at(watch.samples, rollout),
                ended_at=moment(one.row),
                until=later[0].at if later else now,
                serves=() if later else serves[one.place],
            )
        )  # fmt: skip
    return played


def _judged(
    played: Sequence[Played], asked: Sequence[Asked], kills: Sequence[Kill], quiet: datetime
) -> list[str]:
    found = [sentence for one in played for sentence in verdict.of_rollout(one)]
    return found + verdict.of_traffic(asked, played, kills, quiet=quiet)


def _left(client: Client, watch: Watch, folder: Path) -> list[str]:
    """Return what is left of the chaos: leases that nobody frees, a ledger that is not whole."""
    killing.until(lambda: not watch.stuck_leases(), FREED)
    found = [f"a lease is stuck: {lease}" for lease in watch.stuck_leases()]
    killing.until(lambda: not client.get("/api/v1/audit-health")["waiting"], FREED)
    export = folder / "ledger.jsonl"
    export.write_bytes(client.download("/api/v1/audit-events/export"))
    keys = [key["pem"].encode() for key in _keys(client)]
    report = ledger.check([export], signing.keyring(keys))
    if not report.whole:
        found.append(f"the ledger is not whole: {report.findings[:3]}")
    return found


def _keys(client: Client) -> list[dict[str, str]]:
    return [key for key in client.get("/api/v1/audit-key")["keys"] if key["use"] == "ledger"]
