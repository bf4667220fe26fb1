"""What every reader of kept answers promises: the same suite against all of them."""

import json
import threading
from collections.abc import Iterator
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any, Protocol

import httpx
import numpy as np
import pytest

from apps.analysis.domain.answers import Kept, Output, ServerAnswers
from apps.analysis.ports import AnswerLog
from controlplane.drivers.local.answers import PATH, LocalAnswers
from controlplane.drivers.memory.answers import MemoryAnswers
from controlplane.kernel.errors import Transient
from controlplane.project.settings.test import TEST_HOME
from tests import model_servers as made
from tests.model_servers import Bundle, Server, estimator, features
from workers.runtimes.oip import kept

pytestmark = [
    pytest.mark.allow_hosts(["127.0.0.1", "127.0.0.2"]),
    pytest.mark.xdist_group("runtimes"),
]


class House(Protocol):
    """Two servers that keep answers, a port of one that does not, and who reads them.

    What they keep already is of earlier tests.
    """

    @property
    def log(self) -> AnswerLog: ...

    @property
    def ports(self) -> tuple[int, int]: ...

    @property
    def silent(self) -> int: ...

    def ask(self, port: int, *requests: str) -> None: ...

    def restart(self, port: int) -> None: ...

    def stop(self, port: int) -> None: ...


@dataclass
class MemoryHouse:
    """Implements `House` without a process."""

    log: MemoryAnswers = field(default_factory=lambda: MemoryAnswers(silent={3}))
    ports: tuple[int, int] = (1, 2)
    silent: int = 3

    def ask(self, port: int, *requests: str) -> None:
        for request in requests:
            outputs = (
                Output("label", "INT64", (1,), (0,)),
                Output("probabilities", "FP32", (1, 2), (1.0, 0.0)),
            )
            self.log.keep(Kept(port, 0, 1.0, request, "body", 200, 1.0, outputs))

    def restart(self, port: int) -> None:
        self.log.restart(port)

    def stop(self, port: int) -> None:
        self.log.down.add(port)


@dataclass
class LocalHouse:
    """Implements `House` with processes."""

    servers: dict[int, Server]
    silent: int
    log: LocalAnswers = field(default_factory=LocalAnswers)

    @property
    def ports(self) -> tuple[int, int]:
        first, second = self.servers
        return first, second

    def ask(self, port: int, *requests: str) -> None:
        for request in requests:
            asked(self.servers[port], request)

    def restart(self, port: int) -> None:
        self.stop(port)
        self.servers[port] = made.start(self.servers[port].plan)
        made.wait_until_ready(self.servers[port])

    def stop(self, port: int) -> None:
        made.stop(self.servers[port])


class Stranger(BaseHTTPRequestHandler):
    """A server that knows nothing of kept answers."""

    def do_GET(self) -> None:
        self.send_error(404)

    def log_message(self, format: str, *args: Any) -> None:
        """Say nothing."""


@pytest.fixture(scope="module")
def bundle(tmp_path_factory: pytest.TempPathFactory) -> Bundle:
    return made.onnx_bundle(tmp_path_factory.mktemp("bundle"))


@pytest.fixture(scope="module")
def running(bundle: Bundle, tmp_path_factory: pytest.TempPathFactory) -> Iterator[LocalHouse]:
    folder = tmp_path_factory.mktemp("house")
    stranger = ThreadingHTTPServer(("127.0.0.1", 0), Stranger)
    threading.Thread(target=stranger.serve_forever, daemon=True).start()
    plans = [
        made.planned("onnxruntime", bundle.copied_to(folder / name), TEST_HOME) for name in "12"
    ]
    servers = {int(plan.address.rpartition(":")[2]): made.start(plan) for plan in plans}
    house = LocalHouse(servers, int(stranger.server_address[1]))
    try:
        for server in servers.values():
            made.wait_until_ready(server)
        yield house
    finally:
        for server in house.servers.values():
            made.stop(server)
        house.log.close()
        stranger.shutdown()
        stranger.server_close()


@pytest.fixture
def local(running: LocalHouse) -> Iterator[LocalHouse]:
    yield running
    for port, server in running.servers.items():
        if server.process.poll() is not None:
            running.restart(port)


@pytest.fixture(params=["memory", "local"])
def house(request: pytest.FixtureRequest) -> House:
    found: House = MemoryHouse() if request.param == "memory" else request.getfixturevalue("local")
    return found


def asked(
    server: Server, request: str, *, start: int = 0, stop: int = 1, mark: str = "1", **more: Any
) -> httpx.Response:
    """Ask about rows of the data, as the proxy does while it mirrors."""
    data = features()[start:stop]
    x = {"name": "X", "datatype": "FP32", "shape": list(data.shape), "data": data.tolist()}
    headers = {"x-request-id": request, **({"x-modelyard-capture": mark} if mark else {})}
    return server.post(json.dumps({"inputs": [x], **more}).encode(), headers=headers)


def last(house: House, port: int) -> int:
    """Return the number of the newest answer."""
    answers = house.log.read([port], after={}).servers[port].answers
    return answers[-1].sequence if answers else 0


def read(house: House, port: int, after: int) -> ServerAnswers:
    return house.log.read([port], after={port: after}).servers[port]


def ids(found: ServerAnswers) -> list[str]:
    return [answer.request_id for answer in found.answers]


def test_what_was_answered_is_read(house: House) -> None:
    first, second = house.ports
    before = {port: last(house, port) for port in house.ports}
    house.ask(first, "a", "b")
    house.ask(second, "c")
    found = house.log.read(house.ports, after=before)
    assert {port: ids(server) for port, server in found.servers.items()} == {
        first: ["a", "b"], second: ["c"],
    }  # fmt: skip
    answer = found.servers[first].answers[0]
    assert (answer.port, answer.sequence, answer.status) == (first, before[first] + 1, 200)
    assert answer.body == found.servers[second].answers[0].body != ""
    assert answer.milliseconds > 0
    label, probabilities = answer.outputs
    assert label == Output("label", "INT64", (1,), (0,))
    assert (probabilities.datatype, probabilities.shape) == ("FP32", (1, 2))
    assert sum(float(element) for element in probabilities.data) == pytest.approx(1)


def test_reading_twice_reads_the_same(house: House) -> None:
    port = house.ports[0]
    before = last(house, port)
    house.ask(port, "a", "b")
    assert read(house, port, before) == read(house, port, before)


def test_only_what_came_after_is_read(house: House) -> None:
    port = house.ports[0]
    before = last(house, port)
    house.ask(port, "a", "b", "c")
    assert ids(read(house, port, before + 2)) == ["c"]
    assert ids(read(house, port, before + 3)) == []
    assert read(house, port, before + 2).lost == 0


def test_another_process_is_another_run_and_begins_again(house: House) -> None:
    port = house.ports[0]
    house.ask(port, "a", "b")
    before = read(house, port, 0)
    house.restart(port)
    assert (read(house, port, 0).answers, read(house, port, 0).lost) == ((), 0)
    house.ask(port, "c")
    after = read(house, port, 0)
    assert after.run != before.run
    assert (ids(after), after.answers[0].sequence) == (["c"], 1)
    assert read(house, port, 2).answers == ()


def test_two_servers_are_two_runs(house: House) -> None:
    found = house.log.read(house.ports, after={})
    assert len({server.run for server in found.servers.values()}) == 2
    assert house.log.read([], after={}).servers == {}


def test_a_server_that_keeps_no_answers_is_silent(house: House) -> None:
    found = house.log.read([house.ports[0], house.silent], after={})
    assert found.silent == {house.silent}
    assert set(found.servers) == {house.ports[0]}


def test_a_server_that_is_gone_may_come_back(house: House) -> None:
    house.stop(house.ports[1])
    with pytest.raises(Transient) as refused:
        house.log.read(house.ports, after={})
    assert str(house.ports[1]) in refused.value.sentence


# --- what our own servers keep -------------------------------------------------------------------

RUNTIMES = ["onnxruntime", "mlflow-pyfunc"]


@pytest.fixture(scope="module", params=RUNTIMES)
def server(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Server]:
    root = tmp_path_factory.mktemp("server")
    make = made.mlflow_bundle if request.param == "mlflow-pyfunc" else made.onnx_bundle
    plan = made.planned(request.param, make(root), TEST_HOME)
    if plan.prepare is not None:
        done = made.prepare(plan)
        assert done.returncode == 0, done.stderr.decode()
    with made.serving(plan) as running:
        yield running


@pytest.fixture
def log() -> Iterator[LocalAnswers]:
    reader = LocalAnswers()
    yield reader
    reader.close()


def newest(log: LocalAnswers, server: Server, count: int = 1) -> list[Kept]:
    port = int(server.plan.address.rpartition(":")[2])
    return list(log.read([port], after={}).servers[port].answers[-count:])


def labels(start: int, stop: int) -> list[int]:
    predicted: list[int] = estimator().predict(features()[start:stop].astype(float)).tolist()
    return predicted


@pytest.mark.parametrize("mark", ["", "0", "true"])
def test_only_marked_requests_are_kept(log: LocalAnswers, server: Server, mark: str) -> None:
    asked(server, "marked")
    asked(server, "not", mark=mark)
    assert newest(log, server)[0].request_id == "marked"


def test_a_refused_request_is_kept_without_outputs(log: LocalAnswers, server: Server) -> None:
    assert asked(server, "refused", start=0, stop=0, inputs=[]).status_code == 400
    (found,) = newest(log, server)
    assert (found.request_id, found.status, found.outputs) == ("refused", 400, ())
    assert found.body


def test_an_answer_in_binary_is_kept_like_any(log: LocalAnswers, server: Server) -> None:
    outputs = [{"name": "label", "parameters": {"binary_data": True}}]
    answer = asked(server, "binary", stop=3, outputs=outputs)
    assert answer.headers["Inference-Header-Content-Length"]
    (found,) = newest(log, server)
    assert found.outputs == (Output("label", "INT64", (3,), tuple(labels(0, 3))),)


def test_a_request_in_binary_is_kept_like_any(log: LocalAnswers, server: Server) -> None:
    data = features()[5:7]
    size = {"parameters": {"binary_data_size": data.nbytes}}
    x = {"name": "X", "datatype": "FP32", "shape": list(data.shape), **size}
    head = json.dumps({"inputs": [x]}).encode()
    headers = {"Inference-Header-Content-Length": str(len(head)), "x-modelyard-capture": "1"}
    assert server.post(head + data.tobytes(), headers=headers).status_code == 200
    (found,) = newest(log, server)
    assert list(found.outputs[0].data) == labels(5, 7)


def test_answers_of_one_batch_are_kept_apart(log: LocalAnswers, server: Server) -> None:
    def ask(place: int) -> None:
        asked(server, f"r{place}", start=place, stop=place + 1 + place % 3)

    callers = [threading.Thread(target=ask, args=(place,)) for place in range(24)]
    for caller in callers:
        caller.start()
    for caller in callers:
        caller.join()
    found = newest(log, server, 24)
    assert sorted(one.request_id for one in found) == sorted(f"r{place}" for place in range(24))
    for one in found:
        place = int(one.request_id[1:])
        assert list(one.outputs[0].data) == labels(place, place + 1 + place % 3)


def test_of_a_large_answer_a_sample_is_kept(log: LocalAnswers, server: Server) -> None:
    many = np.tile(features(), (6, 1))[:3000]
    x = {"name": "X", "datatype": "FP32", "shape": list(many.shape), "data": many.tolist()}
    assert asked(server, "large", inputs=[x], stop=0).status_code == 200
    (found,) = newest(log, server)
    label = found.outputs[0]
    assert label.shape == (3000,)
    assert label.step > 1
    assert label.digest
    expected = estimator().predict(many.astype(float))[:: label.step]
    assert list(label.data) == expected.tolist()
    assert sum(len(output.data) for output in found.outputs) <= kept.ELEMENTS


def test_many_answers_are_read_page_by_page(log: LocalAnswers, server: Server) -> None:
    asked(server, "before")
    (before,) = newest(log, server)
    names = [f"n{number}" for number in range(kept.PAGE + 30)]
    with httpx.Client() as client:
        data = features()[:1]
        x = {"name": "X", "datatype": "FP32", "shape": [1, 30], "data": data.tolist()}
        for name in names:
            headers = {"x-request-id": name, "x-modelyard-capture": "1"}
            url = server.url(f"/v2/models/{made.NAME}/infer")
            client.post(url, json={"inputs": [x]}, headers=headers)
    found = log.read([before.port], after={before.port: before.sequence}).servers[before.port]
    assert ids(found) == names
    assert found.lost == 0


@pytest.mark.parametrize(
    ("query", "status"),
    [
        ("", 200),
        ("?after=5&limit=2", 200),
        ("?after=x", 400),
        ("?after=-1", 400),
        ("?limit=0", 400),
    ],
)
def test_a_question_that_makes_no_sense_is_refused(
    server: Server, query: str, status: int
) -> None:
    answer = server.get(f"{PATH}{query}")
    assert answer.status_code == status
    assert status == 200 or answer.json()["error"]


def test_kept_answers_cannot_be_written(server: Server) -> None:
    assert httpx.post(server.url(PATH), json={}).status_code == 404


@pytest.mark.triton
def test_triton_keeps_no_answers(log: LocalAnswers, bundle: Bundle, tmp_path: Path) -> None:
    plan = made.planned("triton", bundle.copied_to(tmp_path / "1"), TEST_HOME)
    done = made.prepare(plan)
    if done.returncode:
        pytest.skip(f"Triton's environment cannot be prepared: {done.stderr.decode()}")
    with made.serving(plan) as triton:
        asked(triton, "a")
        port = int(plan.address.rpartition(":")[2])
        assert log.read([port], after={}).silent == {port}
