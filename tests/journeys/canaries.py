"""What the journeys of rollouts share: models, releases to staging, callers, and an open ear."""

import http.client
import json
import random
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from queue import Queue
from typing import Any
from urllib.parse import urlsplit

import httpx
from onnx import TensorProto, helper

from controlplane.cli import journey
from controlplane.cli.client import Client
from controlplane.cli.main import ensure_model
from controlplane.cli.stack import Stack

Json = dict[str, Any]
Asked = tuple[int, str, float]  # by whom, from where, and what
WHERE = "staging"
TRIP = 4096.0  # what the bad model stumbles over: no proof of a build draws it
AT_MOST = 180.0  # seconds that anybody calls
ERRORS = {"name": "errors", "source": "errors", "tolerance": {"absolute": 0.02},
          "margin": {"absolute": 0.15}}  # fmt: skip
QUICK = {
    "kind": "canary",
    "metrics": [ERRORS],
    "steps": [
        {"weight": 10, "hold_seconds": 2, "judge": False},
        {"weight": 50, "hold_seconds": 3},
    ],
}
LONG = {
    "kind": "canary",
    "metrics": [ERRORS],
    "steps": [
        {"weight": 10, "hold_seconds": 1, "judge": False},
        {"weight": 50, "hold_seconds": 600},
    ],
}


def graph(note: str, *, stumbles: bool = False, adds: float = 0.0) -> bytes:
    """Return an ONNX model that gives back what it gets.

    Args:
        note: Another one gives another digest.
        stumbles: Whether it fails on `TRIP`, by dividing whole numbers by nought.
        adds: What it adds to what it gets; it does not stumble then.
    """
    if adds:
        much = helper.make_tensor("much", TensorProto.FLOAT, [], [adds])
        return _model(note, [helper.make_node("Add", ["x", "much"], ["y"])], [much])
    trip = helper.make_tensor("trip", TensorProto.INT32, [], [int(TRIP)])
    nought = helper.make_tensor("nought", TensorProto.INT32, [], [0])
    nodes = [
        helper.make_node("Cast", ["x"], ["whole"], to=TensorProto.INT32),
        helper.make_node("Sub", ["whole", "trip"], ["divisor"]),
        helper.make_node("Div", ["nought", "divisor"], ["divided"]),
        helper.make_node("Cast", ["divided"], ["added"], to=TensorProto.FLOAT),
        helper.make_node("Add", ["x", "added"], ["y"]),
    ]
    if stumbles:
        return _model(note, nodes, [trip, nought])
    return _model(note, [helper.make_node("Identity", ["x"], ["y"])], [])


def _model(note: str, nodes: list[Any], constants: list[Any]) -> bytes:
    made = helper.make_model(
        helper.make_graph(
            nodes,
            "canary",
            [helper.make_tensor_value_info("x", TensorProto.FLOAT, [None, 1])],
            [helper.make_tensor_value_info("y", TensorProto.FLOAT, [None, 1])],
            constants,
            doc_string=note,
        ),
        opset_imports=[helper.make_opsetid("", 17)],
        ir_version=9,
    )
    return bytes(made.SerializeToString())


def versions(client: Client, name: str, folder: Path, graphs: list[bytes]) -> None:
    """Have versions of a new model registered and built, and serve the first in staging."""
    ensure_model(client, name, "platform")
    for number, content in enumerate(graphs, 1):
        file = folder / f"v{number}.onnx"
        file.write_bytes(content)
        client.post(f"/api/v1/models/{name}/versions", {"upload": client.upload(file)})
    for number in range(1, len(graphs) + 1):
        journey.build(client, name, number)
    journey.serve(client, name, 1, environment=WHERE, variant="native")


def begin(client: Client, name: str, version: int, strategy: Json) -> Json:
    """Propose a release, and return its rollout once there is one."""
    body = {
        "model": name, "version": version, "environment": WHERE, "strategy": strategy,
        "variant": "native", "summary": "For the journey.",
    }  # fmt: skip
    return rollout_of(client, name, client.post("/api/v1/releases", body)["number"])


def rollout_of(client: Client, name: str, number: int) -> Json:
    """Return the rollout of a release, once there is one."""
    end = time.monotonic() + 90
    while time.monotonic() < end:
        rows = client.get("/api/v1/rollouts", model=name, environment=WHERE)["results"]
        found = [row for row in rows if row["release_number"] == number]
        if found:
            return dict(found[0])
        time.sleep(0.1)
    raise AssertionError(client.get(f"/api/v1/releases/{number}"))


def until(
    client: Client, rollout: Json, so: Callable[[Json], bool], *, seconds: float = 90
) -> Json:
    """Wait until something is so of a rollout, and return it."""
    return client.wait(path(rollout), so, seconds=seconds, every=0.1)


def settled_after(rollout: Json) -> float:
    """Return the seconds from the decision until it was seen in force."""
    decided, settled = (datetime.fromisoformat(rollout[n]) for n in ("decided_at", "settled_at"))
    return (settled - decided).total_seconds()


def path(rollout: Json) -> str:
    """Return the address of a rollout."""
    return f"/api/v1/rollouts/{rollout['id']}"


def story(client: Client, rollout: Json) -> list[Json]:
    """Return a rollout's log, oldest first."""
    return list(client.pages(f"{path(rollout)}/events"))[::-1]


def address(client: Client, name: str) -> str:
    """Return where callers of the model call."""
    return str(endpoint(client, name)["address"])


def endpoint(client: Client, name: str) -> Json:
    """Return the model's endpoint as it is now."""
    row = client.get("/api/v1/endpoints", model=name, environment=WHERE)["results"][0]
    return dict(client.get(f"/api/v1/endpoints/{row['id']}"))


@dataclass(frozen=True)
class Answer:
    """One request, as its caller saw it."""

    asked_at: float  # of time.monotonic()
    status: int  # 0: no answer
    revision: str
    request: str = ""
    user: int = 0
    country: str = ""


@dataclass
class Callers:
    """Callers that keep their pace whether or not answers come.

    Attributes:
        url: Where they call.
        rate: Requests a second.
        trips: Every how many requests carries `TRIP`; 0 for none.
        users: How many different callers say who they are, one after the other, in `x-user-id`.
        countries: Where they say they are, one after the other, in `x-country`.
    """

    url: str
    rate: float = 50.0
    trips: int = 0
    users: int = 1
    countries: tuple[str, ...] = ("",)
    answers: list[Answer] = field(default_factory=list)

    def since(self, moment: float) -> list[Answer]:
        """Return what was asked after a moment."""
        return [a for a in self.answers if a.asked_at >= moment]

    def failed(self) -> list[Answer]:
        """Return what was not answered well."""
        return [a for a in self.answers if a.status != 200]

    @contextmanager
    def calling(self) -> Iterator["Callers"]:
        """Call while the block runs."""
        over, due = threading.Event(), Queue[Asked | None]()
        hands = [threading.Thread(target=self._answer, args=(due,), daemon=True) for _ in range(8)]
        pace = threading.Thread(target=self._pace, args=(over, due, hands), daemon=True)
        for thread in (*hands, pace):
            thread.start()
        try:
            yield self
        finally:
            over.set()
            for thread in (pace, *hands):
                thread.join(15)

    def _pace(self, over: threading.Event, due: "Queue[Asked | None]", hands: list[Any]) -> None:
        began, number = time.monotonic(), 0
        while not over.is_set() and time.monotonic() < began + AT_MOST:
            trips = self.trips and number % self.trips == 0
            x = TRIP if trips else float(number % 100)
            due.put((number % self.users, self.countries[number % len(self.countries)], x))
            number += 1
            over.wait(max(0.0, began + number / self.rate - time.monotonic()))
        for _ in hands:
            due.put(None)

    def _answer(self, due: "Queue[Asked | None]") -> None:
        where = urlsplit(self.url)
        line = http.client.HTTPConnection(where.netloc, timeout=10)
        while (asked := due.get()) is not None:
            user, country, x = asked
            tensor = {"name": "x", "datatype": "FP32", "shape": [1, 1], "data": [x]}
            headers = {"Content-Type": "application/json", "x-user-id": f"user-{user}",
                       "x-country": country}  # fmt: skip
            at = time.monotonic()
            try:
                line.request("POST", where.path, json.dumps({"inputs": [tensor]}), headers)
                answer = line.getresponse()
                answer.read()
                told = (
                    answer.headers.get(f"x-{n}", "") for n in ("modelyard-revision", "request-id")
                )
                self.answers.append(Answer(at, answer.status, *told, user, country))
            except (OSError, http.client.HTTPException):
                line.close()
                self.answers.append(Answer(at, 0, "", "", user, country))
        line.close()


@contextmanager
def telling(
    client: Client, endpoint: str, callers: Callers, share: Callable[[Answer], float]
) -> Iterator[None]:
    """Tell every second whether what was answered was `accepted`, as an application would.

    Args:
        client: Who tells.
        endpoint: The endpoint's id.
        callers: Whose answers.
        share: Of answers like one that are accepted.
    """
    over, chance = threading.Event(), random.Random(7)

    def tell() -> None:
        told = 0
        while not over.wait(1.0):
            fresh = callers.answers[told : told + 1000]
            told += len(fresh)
            items = [
                {"request_id": a.request, "revision": int(a.revision), "metric": "accepted",
                 "value": int(chance.random() < share(a)),
                 **({"segment": a.country} if a.country else {})}
                for a in fresh if a.status == 200
            ]  # fmt: skip
            if items:
                client.post(f"/api/v1/endpoints/{endpoint}/feedback", {"items": items})

    teller = threading.Thread(target=tell, daemon=True)
    teller.start()
    try:
        yield
    finally:
        over.set()
        teller.join(20)


@contextmanager
def listening(client: Client, topic: str) -> Iterator[list[datetime]]:
    """Yield when an open page is told that `topic` changed, a list that grows meanwhile."""
    heard: list[datetime] = []
    with (
        httpx.Client(timeout=20, headers={"Authorization": f"Bearer {client.token}"}) as line,
        line.stream("GET", f"{client.url}/live?topics={topic}") as stream,
    ):
        lines = stream.iter_lines()
        next(lines)  # the stream has begun
        ear = threading.Thread(target=_hear, args=(lines, topic, heard), daemon=True)
        ear.start()
        yield heard
        wire = stream.extensions["network_stream"].get_extra_info("socket")
        wire.shutdown(socket.SHUT_RDWR)  # whoever waits for the next line is told that none comes
        ear.join(10)


def _hear(lines: Iterator[str], topic: str, heard: list[datetime]) -> None:
    with suppress(httpx.HTTPError):
        for line in lines:
            if line.startswith("data:") and topic in line:
                heard.append(datetime.now(UTC))


def lags(events: list[Json], heard: list[datetime]) -> list[float]:
    """Return by how many seconds a page heard of each event after it happened."""
    found = []
    for event in events:
        at = datetime.fromisoformat(event["at"])
        later = [moment for moment in heard if moment >= at]
        assert later, f"no page was told of “{event['sentence']}”"
        found.append((later[0] - at).total_seconds())
    return found


def modelyard(stack: Stack, client: Client, *arguments: str) -> "subprocess.CompletedProcess[str]":
    """Run the command line as the client's own token."""
    return subprocess.run(
        [sys.executable, "-m", "controlplane.cli.main", "--json", *arguments],
        env={"MODELYARD_URL": stack.web, "MODELYARD_TOKEN": client.token, "PATH": "/usr/bin:/bin",
             "PYTHONPATH": "platform:."},
        capture_output=True, text=True, timeout=60, check=False,
    )  # fmt: skip
