"""What every model server must do, whatever runs inside: the same suite against all of them."""

import asyncio
import http.client
import json
import signal
import socket
import threading
import time
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from typing import Any

import httpx
import numpy as np
import pytest

from controlplane.drivers.local.launch import HOPELESS
from controlplane.project.settings.test import TEST_HOME
from tests import model_servers as made
from tests.model_servers import Bundle, Server, estimator, features

pytestmark = [
    pytest.mark.allow_hosts(["127.0.0.1", "127.0.0.2"]),
    pytest.mark.xdist_group("runtimes"),
]

RUNTIMES = [
    "onnxruntime",
    "mlflow-pyfunc",
    pytest.param("triton", marks=pytest.mark.triton),
]
OURS = ("onnxruntime", "mlflow-pyfunc")  # Triton words its errors itself


@pytest.fixture(scope="module", params=RUNTIMES)
def runtime(request: pytest.FixtureRequest) -> str:
    return str(request.param)


@pytest.fixture(scope="module")
def bundle(runtime: str, tmp_path_factory: pytest.TempPathFactory) -> Bundle:
    root = tmp_path_factory.mktemp("bundle")
    make = made.mlflow_bundle if runtime == "mlflow-pyfunc" else made.onnx_bundle
    return make(root)


@pytest.fixture(scope="module")
def prepared(runtime: str, bundle: Bundle) -> None:
    plan = made.planned(runtime, bundle, TEST_HOME)
    if plan.prepare is None:
        return
    done = made.prepare(plan)
    if done.returncode and runtime == "triton":
        pytest.skip(f"Triton's environment cannot be prepared: {done.stderr.decode()}")
    assert done.returncode == 0, done.stderr.decode()


@pytest.fixture(scope="module")
def server(runtime: str, bundle: Bundle, prepared: None) -> Iterator[Server]:
    with made.serving(made.planned(runtime, bundle, TEST_HOME)) as running:
        yield running


@pytest.fixture
def own_server(runtime: str, bundle: Bundle, prepared: None, tmp_path: Path) -> Iterator[Server]:
    """A server that a test may end."""
    copy = bundle.copied_to(tmp_path / "1")
    with made.serving(made.planned(runtime, copy, TEST_HOME)) as running:
        yield running


def rows(start: int, stop: int) -> dict[str, Any]:
    data = features()[start:stop]
    return {"name": "X", "datatype": "FP32", "shape": list(data.shape), "data": data.tolist()}


def request(start: int = 0, stop: int = 1, **more: Any) -> dict[str, Any]:
    return {"inputs": [rows(start, stop)], **more}


def output(answer: httpx.Response, name: str) -> np.ndarray[Any, Any]:
    assert answer.status_code == 200, answer.text
    found = next(o for o in answer.json()["outputs"] if o["name"] == name)
    return np.array(found["data"]).reshape(found["shape"])


def labels(start: int, stop: int) -> list[int]:
    predicted: list[int] = estimator().predict(features()[start:stop].astype(float)).tolist()
    return predicted


def test_it_is_live_and_ready(server: Server) -> None:
    assert server.get("/v2/health/live").status_code == 200
    assert server.get("/v2/health/ready").status_code == 200
    assert server.get(f"/v2/models/{made.NAME}/ready").status_code == 200
    assert server.get(f"/v2/models/{made.NAME}/versions/{made.REVISION}/ready").status_code == 200


def test_it_says_what_it_is(server: Server) -> None:
    about = server.get("/v2").json()
    assert about["name"]
    assert about["version"]
    assert "binary_tensor_data" in about["extensions"]


def test_it_says_what_its_model_takes_and_gives(server: Server) -> None:
    metadata = server.get(f"/v2/models/{made.NAME}").json()
    assert metadata["name"] == made.NAME
    assert metadata["versions"] == [str(made.REVISION)]
    assert metadata["inputs"] == [made.X]
    assert "label" in {entry["name"] for entry in metadata["outputs"]}


def test_it_says_the_digest_that_it_serves(runtime: str, server: Server, bundle: Bundle) -> None:
    if runtime == "triton":
        told = server.get(f"/v2/models/{made.NAME}/config").json()["parameters"]
        found = {name: value["string_value"] for name, value in told.items()}
    else:
        found = server.get(f"/v2/models/{made.NAME}").json()["parameters"]
    assert found["bundle_digest"] == bundle.digest
    assert found["revision"] == str(made.REVISION)


def test_it_answers_as_the_native_model_does(server: Server) -> None:
    answer = server.infer(request(0, 100))
    assert output(answer, "label").tolist() == labels(0, 100)


def test_probabilities_are_the_native_models(runtime: str, server: Server) -> None:
    if runtime == "mlflow-pyfunc":
        pytest.skip("pyfunc gives labels")
    found = output(server.infer(request(0, 100)), "probabilities")
    expected = estimator().predict_proba(features()[:100].astype(float))
    assert np.abs(found - expected).max() < 1e-5


def test_the_version_may_be_named(server: Server) -> None:
    url = server.url(f"/v2/models/{made.NAME}/versions/{made.REVISION}/infer")
    answer = httpx.post(url, json=request())
    assert output(answer, "label").tolist() == labels(0, 1)
    assert answer.json()["model_version"] == str(made.REVISION)


def test_another_version_is_not_found(server: Server) -> None:
    url = server.url(f"/v2/models/{made.NAME}/versions/{made.REVISION + 1}/infer")
    answer = httpx.post(url, json=request())
    assert 400 <= answer.status_code < 500
    assert answer.json()["error"]


def test_the_requests_id_comes_back(server: Server) -> None:
    assert server.infer(request(id="abc-1")).json()["id"] == "abc-1"


def test_nested_and_flat_data_are_the_same(server: Server) -> None:
    flat = request(0, 3)
    flat["inputs"][0]["data"] = features()[:3].reshape(-1).tolist()
    assert output(server.infer(flat), "label").tolist() == labels(0, 3)


def test_only_the_outputs_that_are_asked_for_come_back(server: Server) -> None:
    answer = server.infer(request(outputs=[{"name": "label"}]))
    assert [entry["name"] for entry in answer.json()["outputs"]] == ["label"]


def test_an_output_that_is_not_there_is_refused(server: Server) -> None:
    answer = server.infer(request(outputs=[{"name": "nonsense"}]))
    assert 400 <= answer.status_code < 500
    assert "nonsense" in answer.json()["error"]


def test_binary_tensors_are_taken_and_given(server: Server) -> None:
    data = features()[:5]
    document = {
        "inputs": [
            {
                "name": "X",
                "datatype": "FP32",
                "shape": list(data.shape),
                "parameters": {"binary_data_size": data.nbytes},
            }
        ],
        "outputs": [{"name": "label", "parameters": {"binary_data": True}}],
    }
    head = json.dumps(document).encode()
    answer = server.post(
        head + data.tobytes(), headers={"Inference-Header-Content-Length": str(len(head))}
    )
    assert answer.status_code == 200, answer.text
    length = int(answer.headers["Inference-Header-Content-Length"])
    entry = json.loads(answer.content[:length])["outputs"][0]
    assert entry["parameters"]["binary_data_size"] == 40
    assert np.frombuffer(answer.content[length:], "<i8").tolist() == labels(0, 5)


def test_another_models_name_is_not_found(server: Server) -> None:
    answer = server.infer(request(), name="nobody")
    assert answer.status_code == 404
    assert "nobody" in answer.json()["error"]


@pytest.mark.parametrize(
    ("change", "named"),
    [
        pytest.param({"shape": [1, 29], "data": [0.0] * 29}, "[1, 29]", id="too few columns"),
        pytest.param({"shape": [30], "data": [0.0] * 30}, "[30]", id="too few axes"),
        pytest.param({"datatype": "INT64", "data": [1] * 30}, "INT64", id="datatype"),
        pytest.param({"datatype": "NOPE"}, "NOPE", id="unknown datatype"),
        pytest.param({"name": "Y"}, "Y", id="unknown input"),
    ],
)
def test_an_input_that_does_not_fit_is_refused_by_name(
    runtime: str, server: Server, change: dict[str, Any], named: str
) -> None:
    answer = server.infer({"inputs": [rows(0, 1) | change]})
    assert 400 <= answer.status_code < 500
    sentence = answer.json()["error"]
    if runtime in OURS:
        assert "X" in sentence
        assert named in sentence
        assert "FP32" in sentence
        assert "[-1, 30]" in sentence


@pytest.mark.parametrize(
    "data",
    [
        pytest.param([0.0] * 29, id="too few values"),
        pytest.param([0.0] * 31, id="too many values"),
        pytest.param(["1"] * 30, id="text"),
        pytest.param([None] * 30, id="null"),
        pytest.param([1e39] * 30, id="beyond the datatype"),
        pytest.param([[1.0], [1.0, 2.0]], id="ragged"),
        pytest.param("nothing", id="no list"),
    ],
)
def test_data_that_does_not_fit_is_refused(runtime: str, server: Server, data: Any) -> None:
    if runtime not in OURS:
        pytest.skip("Triton answers these with 500 or not at all as an error; Envoy passes it on")
    answer = server.infer({"inputs": [rows(0, 1) | {"data": data}]})
    assert answer.status_code == 400, answer.text
    assert "X" in answer.json()["error"]


def test_a_missing_input_is_named(runtime: str, server: Server) -> None:
    answer = server.infer({"inputs": []})
    assert 400 <= answer.status_code < 500
    assert "X" in answer.json()["error"] or runtime not in OURS


@pytest.mark.parametrize("body", [b"", b"{", b"[]", b"null", b'{"inputs": 5}', b"\xff\xfe"])
def test_a_body_that_is_no_request_is_refused(runtime: str, server: Server, body: bytes) -> None:
    answer = server.post(body)
    assert 400 <= answer.status_code < (500 if runtime in OURS else 501)
    assert answer.json()["error"]


def test_a_huge_batch_is_answered_whole(server: Server) -> None:
    many = np.tile(features(), (18, 1))[:10_000]
    entry = {"name": "X", "datatype": "FP32", "shape": [10_000, 30], "data": many.tolist()}
    found = output(server.infer({"inputs": [entry]}), "label")
    assert found.tolist() == estimator().predict(many.astype(float)).tolist()


def test_a_body_that_is_too_large_is_refused(runtime: str, bundle: Bundle, prepared: None) -> None:
    if runtime not in OURS:
        pytest.skip("this Triton has no limit of its own; Envoy before it has")
    plan = made.planned(runtime, bundle, TEST_HOME, {"max_body": 2048})
    with made.serving(plan) as server:
        answer = server.post(b" " * 200_000)
        assert answer.status_code == 413
        assert "2048" in answer.json()["error"]
        assert server.infer(request()).status_code == 200


def test_answers_go_to_those_who_asked(server: Server) -> None:
    async def ask_many() -> list[tuple[int, httpx.Response]]:
        limit = asyncio.Semaphore(64)
        async with httpx.AsyncClient(timeout=60) as client:

            async def ask(place: int) -> tuple[int, httpx.Response]:
                async with limit:
                    url = server.url(f"/v2/models/{made.NAME}/infer")
                    asked = request(place, place + 1 + place % 3, id=str(place))
                    return place, await client.post(url, json=asked)

            return await asyncio.gather(*(ask(place) for place in range(512)))

    for place, answer in asyncio.run(ask_many()):
        assert answer.json()["id"] == str(place)
        assert output(answer, "label").tolist() == labels(place, place + 1 + place % 3)


@pytest.mark.parametrize(
    ("method", "path", "status"),
    [
        ("HEAD", "/v2/health/ready", 200),
        ("GET", f"/v2/models/{made.NAME}/infer", 405),
        ("DELETE", f"/v2/models/{made.NAME}", 405),
        ("GET", "/v2/models/%00/../x", 404),
        ("GET", "/", 404),
        ("POST", f"/v2/models/{made.NAME}/versions/x/infer", 404),
    ],
)
def test_a_way_that_does_not_exist_is_said(
    runtime: str, server: Server, method: str, path: str, status: int
) -> None:
    if runtime not in OURS:
        pytest.skip("Triton answers 400 to what it does not know")
    answer = httpx.request(method, server.url(path))
    assert answer.status_code == status
    assert status == 200 or answer.json()["error"]


def test_a_body_in_chunks_is_read_whole(server: Server) -> None:
    body = json.dumps(request(0, 50)).encode()
    pieces = (body[start : start + 100] for start in range(0, len(body), 100))
    url = server.url(f"/v2/models/{made.NAME}/infer")
    answer = httpx.post(url, content=pieces, timeout=30)
    assert output(answer, "label").tolist() == labels(0, 50)


def test_its_metrics_count_requests(server: Server) -> None:
    server.infer(request())
    answer = httpx.get(server.plan.metrics_url)
    assert answer.status_code == 200
    counters = [
        line
        for line in answer.text.splitlines()
        if "request" in line and not line.startswith("#") and float(line.split()[-1]) > 0
    ]
    assert counters, answer.text


def test_sigterm_under_load_drops_no_accepted_request(runtime: str, own_server: Server) -> None:
    answered: list[int] = []
    lost: list[str] = []
    leave = threading.Event()
    callers = [
        threading.Thread(target=_ask_until_closed, args=(own_server, answered, lost, leave))
        for _ in range(16)
    ]
    for caller in callers:
        caller.start()
    time.sleep(1)
    own_server.process.send_signal(signal.SIGTERM)
    if runtime not in OURS:
        # Triton answers on open connections until they are closed, which Envoy does when the
        # replica is taken out of the route. Ours tell their callers to leave.
        time.sleep(0.5)
        leave.set()
    for caller in callers:
        caller.join(60)
    assert own_server.process.wait(40) == 0
    assert answered.count(200) > 16
    assert set(answered) <= {200, 503}
    assert lost == []


def _ask_until_closed(
    server: Server, answered: list[int], lost: list[str], leave: threading.Event
) -> None:
    """Ask on one connection until the server ends it, noting what it did not answer."""
    body = json.dumps(request()).encode()
    head = (
        f"POST /v2/models/{made.NAME}/infer HTTP/1.1\r\nHost: x\r\n"
        f"Content-Type: application/json\r\nContent-Length: {len(body)}\r\n\r\n"
    ).encode()
    with closing(http.client.HTTPConnection(server.plan.address, timeout=40)) as connection:
        connection.connect()
        while not leave.is_set():
            try:
                connection.sock.sendall(head + body)
                response = http.client.HTTPResponse(connection.sock, method="POST")
                response.begin()
                response.read()
            except (OSError, http.client.HTTPException) as error:
                lost.append(repr(error))
                return
            answered.append(response.status)
            if response.getheader("connection") == "close" or response.status == 503:
                return


def test_it_is_not_ready_from_the_moment_it_is_told_to_end(
    runtime: str, own_server: Server
) -> None:
    if runtime not in OURS:
        pytest.skip("Triton stops listening instead")
    with httpx.Client() as client:
        ready = own_server.url("/v2/health/ready")
        assert client.get(ready).status_code == 200
        own_server.process.send_signal(signal.SIGTERM)
        time.sleep(0.1)
        answer = client.get(ready)
    assert answer.status_code == 503
    assert answer.headers["connection"] == "close"
    assert own_server.process.wait(40) == 0


def test_a_bundle_that_was_changed_is_not_served(
    runtime: str, bundle: Bundle, prepared: None, tmp_path: Path
) -> None:
    copy = bundle.copied_to(tmp_path / "1")
    victim = next(p for p in sorted(copy.folder.rglob("model.*")) if p.is_file())
    content = bytearray(victim.read_bytes())
    content[-1] ^= 1
    victim.write_bytes(content)
    server = made.start(made.planned(runtime, copy, TEST_HOME))
    assert server.process.wait(60) in HOPELESS
    problem = server.problem()
    assert problem["code"] == "bundle.corrupt"
    assert victim.name in problem["words"]
    assert problem["remedy"]


def test_a_model_that_does_not_load_leaves_its_words(
    runtime: str, prepared: None, tmp_path: Path
) -> None:
    if runtime == "mlflow-pyfunc":
        (tmp_path / "files").mkdir()
        (tmp_path / "files" / "model.joblib").write_bytes(b"this is no pickle")
        broken = made.mlflow_bundle_of(tmp_path)
    else:
        broken = made.onnx_bundle_of(tmp_path, b"this is no protobuf")
    server = made.start(made.planned(runtime, broken, TEST_HOME))
    assert server.process.wait(120) in HOPELESS
    problem = server.problem()
    assert problem["code"] == "server.model_not_loaded"
    assert "Error" in problem["words"] or "INVALID_PROTOBUF" in problem["words"]
    assert problem["words"] in server.log.read_text()


def test_a_problem_is_forgotten_when_the_server_starts_again(
    runtime: str, bundle: Bundle, prepared: None, tmp_path: Path
) -> None:
    plan = made.planned(runtime, bundle.copied_to(tmp_path / "1"), TEST_HOME)
    plan.problem.write_text("{}")
    with made.serving(plan):
        assert not plan.problem.exists()


def test_a_taken_port_is_said_and_worth_another_try(bundle: Bundle, runtime: str) -> None:
    if runtime != "onnxruntime":
        pytest.skip("the same code listens for pyfunc; Triton says it in its log")
    plan = made.planned(runtime, bundle, TEST_HOME)
    with socket.socket() as holder:
        holder.bind(("127.0.0.1", int(plan.address.rsplit(":", 1)[1])))
        holder.listen()
        server = made.start(plan)
        assert server.process.wait(30) not in HOPELESS
    assert server.problem()["code"] == "server.port_taken"


@pytest.mark.parametrize(
    "runtime", ["onnxruntime", pytest.param("triton", marks=pytest.mark.triton)], scope="function"
)
def test_text_and_booleans_survive_the_way(runtime: str, tmp_path: Path) -> None:
    bundle = made.onnx_bundle_of(tmp_path, made.typed_onnx())
    plan = made.planned(runtime, bundle, TEST_HOME)
    if plan.prepare and made.prepare(plan).returncode:
        pytest.skip("Triton's environment cannot be prepared")
    given = {"text": ["BYTES", ["früh", ""]], "flag": ["BOOL", [True, False]]}
    given["count"] = ["INT64", [2**62, -1]]
    inputs = [
        {"name": name, "datatype": datatype, "shape": [2, 1], "data": data}
        for name, (datatype, data) in given.items()
    ]
    with made.serving(plan) as server:
        answer = server.infer({"inputs": inputs})
    assert answer.status_code == 200, answer.text
    found = {entry["name"]: entry for entry in answer.json()["outputs"]}
    for name, (datatype, data) in given.items():
        assert found[f"{name}_out"]["datatype"] == datatype
        assert found[f"{name}_out"]["data"] == data


def test_packages_that_cannot_be_installed_are_named(tmp_path: Path) -> None:
    (tmp_path / "files").mkdir()
    (tmp_path / "files" / "model.joblib").write_bytes(b"")
    bundle = made.mlflow_bundle_of(tmp_path, requirements=("orjson==0.0.1",))
    plan = made.planned("mlflow-pyfunc", bundle, TEST_HOME)
    assert made.prepare(plan).returncode in HOPELESS
    problem = json.loads(plan.problem.read_bytes())
    assert problem["code"] == "environment.not_installable"
    assert "orjson" in problem["words"]
    assert not list((TEST_HOME / "python").glob(".*.making"))
