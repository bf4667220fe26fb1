"""Real traffic for rollouts: callers that keep their pace, models that misbehave, and a driver."""

import json
import threading
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from typing import Any

import httpx
import numpy as np
from onnx import TensorProto, helper

from apps.builds.models import Build, Variant
from apps.endpoints.models import Endpoint
from apps.endpoints.watch import Watch
from apps.monitoring.reconcile import Measurer
from apps.registry.models import ModelVersion
from tests.rolling import House
from tests.serving import World, now, tensor
from workers import loop

INPUT = {"name": "x", "datatype": "FP32", "shape": [-1, 1]}
OUTPUT = {"name": "y", "datatype": "FP32", "shape": [-1, 1]}
SPINS = 30_000  # turns of the slow model's loop: tens of milliseconds


@dataclass(frozen=True)
class Answered:
    """One request, as its caller saw it."""

    at: float
    status: int
    revision: int | None
    milliseconds: float


@dataclass
class Callers:
    """Callers that keep their pace whether or not answers come: an open loop, bounded in time.

    Attributes:
        url: Where they call.
        rate: Requests per second, all together.
        trips: Every how many requests carries what a bad model trips over; 0 for none.
    """

    url: str
    rate: float = 60.0
    trips: int = 0
    answers: list[Answered] = field(default_factory=list)
    _stop: threading.Event = field(default_factory=threading.Event)

    def __enter__(self) -> "Callers":
        """Begin to call."""
        self._thread = threading.Thread(target=self._call, daemon=True)
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        """Stop, and wait for what is on its way."""
        self._stop.set()
        self._thread.join(30)

    def _call(self) -> None:
        began, number = time.monotonic(), 0
        with httpx.Client(timeout=10) as client, ThreadPoolExecutor(16) as pool:
            while not self._stop.is_set() and time.monotonic() < began + 120:
                pool.submit(self._ask, client, number)
                number += 1
                self._stop.wait(max(0.0, began + number / self.rate - time.monotonic()))

    def _ask(self, client: httpx.Client, number: int) -> None:
        trips = self.trips and number % self.trips == 0
        at = time.monotonic()
        try:
            answer = client.post(self.url, json=question(1.0 if trips else 0.0))
        except httpx.HTTPError:
            self.answers.append(Answered(at, 0, None, 0.0))
            return
        told = answer.headers.get("x-modelyard-revision", "")
        self.answers.append(
            Answered(
                at,
                answer.status_code,
                int(told) if told.isdigit() else None,
                (time.monotonic() - at) * 1000,
            )
        )

    def failed(self) -> list[Answered]:
        """Return what was not answered well."""
        return [a for a in self.answers if a.status != 200]

    def since(self, at: float) -> list[Answered]:
        """Return what was asked after a moment."""
        return [a for a in self.answers if a.at >= at]


@dataclass
class Gauntlet:
    """Endpoints, rollouts and analyses driven by their loops, in real time, with real parts."""

    world: World
    house: House

    def bundle(self, graph: bytes) -> str:
        """Return the digest of a bundle with this model, and one golden request."""
        folder = self.world.home / "gauntlet"
        folder.mkdir(exist_ok=True)
        (folder / "model.onnx").write_bytes(graph)
        zero = np.zeros((1, 1), np.float32)
        case = {"inputs": [tensor("x", "FP32", zero)], "outputs": [tensor("y", "FP32", zero)]}
        (folder / "golden.json").write_bytes(_json({"tolerance": 1e-4, "cases": [case]}))
        return self.world.bundles.write(
            {name: folder / name for name in ("model.onnx", "golden.json")},
            {
                "schema": 1, "variant": "onnx", "format": "onnx", "entry": "model.onnx",
                "inputs": [INPUT], "outputs": [OUTPUT], "requirements": None,
                "golden": "golden.json",
            },
        )  # fmt: skip

    def variant(self, version: ModelVersion, graph: bytes) -> Variant:
        """Return a variant of `version` that is this model."""
        build = Build.objects.create(version=version, number=1, requested_by="factory")
        return Variant.objects.create(
            build=build, version=version, kind="onnx", state="built", verdict="passed",
            bundle_digest=self.bundle(graph), size=10_000, runtimes=["onnxruntime"], p50_ms=0.1,
        )  # fmt: skip

    def url(self, endpoint: Endpoint) -> str:
        """Return where callers of an endpoint call."""
        name = endpoint.name
        return f"{self.world.url}/{endpoint.environment.slug}/{name}/v2/models/{name}/infer"

    def drive(self, until: Callable[[], bool], *, seconds: float = 60) -> None:
        """Run what falls due, as the workers do, until something is so."""
        measurer, watch = Measurer(self.world.meter), Watch(self.world.servers, self.world.router)
        end, next_look = time.monotonic() + seconds, 0.0
        while time.monotonic() < end:
            if until():
                return
            if time.monotonic() >= next_look:
                measurer(now())
                watch(now())
                next_look = time.monotonic() + 1
            for kind in self.house.kinds.values():
                loop.sweep(kind, now=now)
            time.sleep(0.02)
        raise AssertionError(f"not so within {seconds} s: {self.house.told()}")


def question(x: float) -> dict[str, Any]:
    """Return an inference request."""
    return {"inputs": [tensor("x", "FP32", np.array([[x]], np.float32))]}


def good(*, name: str = "good") -> bytes:
    """Return a model whose answer is what it was asked."""
    return _graph(name, [helper.make_node("Identity", ["x"], ["y"])])


def failing() -> bytes:
    """Return a model that fails on 1: it looks up a row that its table has not."""
    table = helper.make_tensor("table", TensorProto.FLOAT, [1, 1], [0.0])
    nodes = [
        helper.make_node("Cast", ["x"], ["row"], to=TensorProto.INT64),
        helper.make_node("GatherND", ["table", "row"], ["found"]),
        helper.make_node("Mul", ["found", "x"], ["y"]),
    ]
    return _graph("failing", nodes, [table])


def crashing() -> bytes:
    """Return a model whose process dies on 1: the smallest whole number by -1 is none (SIGFPE)."""
    whole = TensorProto.INT32
    smallest = helper.make_tensor("smallest", whole, [1, 1], [-(2**31)])
    one = helper.make_tensor("one", whole, [1, 1], [1])
    nodes = [
        helper.make_node("Cast", ["x"], ["whole"], to=whole),
        helper.make_node("Sub", ["one", "whole"], ["less"]),
        helper.make_node("Sub", ["less", "whole"], ["divisor"]),
        helper.make_node("Div", ["smallest", "divisor"], ["divided"]),
        helper.make_node("Mul", ["divided", "whole"], ["multiplied"]),
        helper.make_node("Cast", ["multiplied"], ["y"], to=TensorProto.FLOAT),
    ]
    return _graph("crashing", nodes, [smallest, one])


def slow() -> bytes:
    """Return a model that answers rightly, and late: it turns a loop."""
    turn = helper.make_graph(
        [
            helper.make_node("Identity", ["go"], ["go_on"]),
            helper.make_node("Identity", ["carried"], ["carried_on"]),
        ],
        "turn",
        [
            helper.make_tensor_value_info("turns", TensorProto.INT64, []),
            helper.make_tensor_value_info("go", TensorProto.BOOL, []),
            helper.make_tensor_value_info("carried", TensorProto.FLOAT, [None, 1]),
        ],
        [
            helper.make_tensor_value_info("go_on", TensorProto.BOOL, []),
            helper.make_tensor_value_info("carried_on", TensorProto.FLOAT, [None, 1]),
        ],
    )
    spins = helper.make_tensor("spins", TensorProto.INT64, [], [SPINS])
    go = helper.make_tensor("always", TensorProto.BOOL, [], [True])
    nodes = [helper.make_node("Loop", ["spins", "always", "x"], ["y"], body=turn)]
    return _graph("slow", nodes, [spins, go])


def _graph(name: str, nodes: list[Any], initializers: list[Any] | None = None) -> bytes:
    graph = helper.make_graph(
        nodes,
        name,
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, [None, 1])],
        [helper.make_tensor_value_info("y", TensorProto.FLOAT, [None, 1])],
        initializers or [],
    )
    opset = [helper.make_opsetid("", 17)]
    made: bytes = helper.make_model(graph, opset_imports=opset, ir_version=9).SerializeToString()
    return made


def _json(value: Any) -> bytes:
    return json.dumps(value).encode()
