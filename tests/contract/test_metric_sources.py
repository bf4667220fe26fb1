"""What every driver of `MetricSource` must do; run against memory, HTTP, programs and Prometheus.

A real Prometheus is asked where the machine has one; elsewhere, and besides, a server that answers
in the forms that Prometheus documents.
"""

import json
import os
import shutil
import socket
import subprocess
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import closing, contextmanager
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from threading import Thread
from typing import Any
from urllib.parse import parse_qs

import httpx
import psutil
import pytest

from apps.analysis.domain.queries import Measured, Query, Side, Target
from apps.analysis.ports import MetricSource
from controlplane.drivers.local.metric_jobs import MetricJobs
from controlplane.drivers.memory.metrics import MemorySource
from controlplane.drivers.prometheus.source import PrometheusSource
from controlplane.drivers.webhooks.source import WebhookSource
from controlplane.kernel.errors import Invalid, Permanent, Transient

PROMETHEUS = shutil.which("prometheus")
AT = datetime(2026, 11, 28, 12, 0, tzinfo=UTC)
STABLE = Target(Side.STABLE, 3, "abc123", 41, "card-fraud", "production")
CANARY = Target(Side.CANARY, 7, "abc123", 42, "card-fraud", "production")


@dataclass
class Bench:
    """A source, and what to ask it for.

    Attributes:
        source: The driver.
        number: A text that is answered with the revision's number over 100.
        nothing: One that is answered with no data.
        wrong: One that cannot be answered, however often it is asked.
        down: Has the source not answer.
        counted: Whether it says of how many observations a number is.
    """

    source: MetricSource
    number: str
    nothing: str
    wrong: str
    down: Callable[[], None]
    counted: bool = False

    def ask(self, text: str, *, of: Target = CANARY) -> Measured:
        return self.source.measure(Query(text, of, AT))


# --- the world of each driver -------------------------------------------------------------------


@contextmanager
def http_server(answer: Callable[[str, bytes], tuple[int, Any]]) -> Iterator[ThreadingHTTPServer]:
    """Listen on a free port; `answer` makes a status and a body of a path and a body."""

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            length = int(self.headers.get("Content-Length", 0))
            status, found = answer(self.path, self.rfile.read(length))
            body = found if isinstance(found, bytes) else json.dumps(found).encode()
            self.send_response(status)
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, *_: Any) -> None:
            """Say nothing."""

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    thread = Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01}, daemon=True)
    thread.start()
    try:
        yield server
    finally:
        server.shutdown()
        server.server_close()


def stopped(server: ThreadingHTTPServer) -> Callable[[], None]:
    def stop() -> None:
        server.shutdown()
        server.server_close()

    return stop


def vector(*values: str) -> dict[str, Any]:
    """Return an instant vector as Prometheus' documentation shows it."""
    series = [{"metric": {"n": str(i)}, "value": [1435781451.7, v]} for i, v in enumerate(values)]
    return {"status": "success", "data": {"resultType": "vector", "result": series}}


def as_documented(path: str, body: bytes) -> tuple[int, Any]:
    """Answer in the forms of Prometheus' HTTP API."""
    query = parse_qs(body.decode())["query"][0]
    assert path == "/prefix/api/v1/query"
    if query.startswith("vector("):
        return 200, vector(str(int(query[7:].partition(")")[0]) / 100))
    answers: dict[str, tuple[int, Any]] = {
        "empty": (200, vector()),
        "nan": (200, vector("NaN")),
        "two": (200, vector("1", "2")),
        "scalar": (
            200,
            {"status": "success", "data": {"resultType": "scalar", "result": [1.5, "0.25"]}},
        ),
        "range": (
            200,
            {"status": "success", "data": {"resultType": "matrix", "result": []}},
        ),
        "slow": (503, {"status": "error", "errorType": "timeout", "error": "query timed out"}),
        "many": (200, vector(*["1"] * 50_000)),
        "html": (200, b"<html>sign in</html>"),
        "secret": (401, b""),
    }
    wrong = {"status": "error", "errorType": "bad_data", "error": "parse error: unexpected"}
    return answers.get(query, (400, wrong))


@contextmanager
def documented() -> Iterator[tuple[str, Callable[[], None]]]:
    with http_server(as_documented) as server:
        yield f"http://127.0.0.1:{server.server_port}/prefix", stopped(server)


@contextmanager
def real_prometheus(folder: Path) -> Iterator[tuple[str, Callable[[], None]]]:
    """Run a Prometheus that scrapes nothing: expressions need no series."""
    assert PROMETHEUS is not None
    (folder / "prometheus.yml").write_text("global: {}\n")
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        address = f"127.0.0.1:{free.getsockname()[1]}"
    process = subprocess.Popen(
        [
            PROMETHEUS, f"--config.file={folder}/prometheus.yml",
            f"--storage.tsdb.path={folder}/data", f"--web.listen-address={address}",
        ],
        stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL,
    )  # fmt: skip
    try:
        until = time.monotonic() + 20
        while not _is_ready(f"http://{address}/-/ready"):
            assert time.monotonic() < until, "Prometheus did not start"
            time.sleep(0.05)
        yield f"http://{address}", lambda: _end(process)
    finally:
        _end(process)


def _is_ready(url: str) -> bool:
    try:
        return httpx.get(url, trust_env=False).is_success
    except httpx.HTTPError:
        return False


def _end(process: "subprocess.Popen[bytes]") -> None:
    process.kill()
    process.wait()


def by_webhook(path: str, body: bytes) -> tuple[int, Any]:
    asked = json.loads(body)
    answers: Mapping[str, tuple[int, Any]] = {
        "/rate/canary": (200, {"value": int(asked["revision"]) / 100, "count": 1204}),
        "/rate/stable": (200, {"value": int(asked["revision"]) / 100, "count": 1204}),
        "/nothing": (200, {"value": None}),
        "/none-of": (200, {"value": 0.5, "count": 0}),
        "/words": (200, {"value": "much"}),
        "/nan": (200, b'{"value": NaN}'),
        "/true": (200, {"value": True}),
        "/minus": (200, {"value": 1, "count": -1}),
        "/html": (200, b"<html>"),
        "/list": (200, [0.5]),
        "/busy": (503, b"later"),
        "/moved": (302, b""),
        "/no": (404, b""),
    }
    return answers[path]


def job(folder: Path, name: str, script: str) -> None:
    path = folder / name
    path.write_text(f"#!/bin/sh\n{script}\n")
    path.chmod(0o755)


@pytest.fixture
def jobs(tmp_path: Path) -> Path:
    job(tmp_path, "rate", 'echo working >&2; echo "working"; echo "0.0$METRIC_REVISION 1204"')
    job(tmp_path, "nothing", "echo none")
    job(tmp_path, "wrong", "echo many thanks")
    return tmp_path


@pytest.fixture(params=["memory", "documented", "prometheus", "webhook", "job"])
def bench(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Bench]:
    match request.param:
        case "memory":
            yield from _memory()
        case "documented":
            with documented() as (url, down):
                yield from _prometheus(url, down, nothing="empty", wrong="nonsense(")
        case "prometheus":
            if PROMETHEUS is None:
                pytest.skip("this machine has no Prometheus")
            with real_prometheus(tmp_path) as (url, down):
                yield from _prometheus(url, down, nothing='up{job="none"}', wrong="nonsense(")
        case "webhook":
            with http_server(by_webhook) as server:
                at = f"http://127.0.0.1:{server.server_port}"
                yield Bench(
                    WebhookSource(private=True), f"{at}/rate/{{side}}", f"{at}/nothing",
                    f"{at}/words", stopped(server), counted=True,
                )  # fmt: skip
        case _:
            folder = request.getfixturevalue("jobs")
            yield Bench(
                MetricJobs(str(folder), seconds=0.5), "rate", "nothing", "wrong",
                lambda: job(folder, "rate", "sleep 60"), counted=True,
            )  # fmt: skip


def _memory() -> Iterator[Bench]:
    source = MemorySource({Side.STABLE: Measured(0.03), Side.CANARY: Measured(0.07)})

    def hook(query: Query) -> None:
        source.problem = Permanent("No.") if query.text == "wrong" else source.problem
        if query.text == "nothing":
            source.answers = {}

    def down() -> None:
        source.problem = Transient("Silence.")

    source.hook = hook
    yield Bench(source, "{revision}", "nothing", "wrong", down)


def _prometheus(
    url: str, down: Callable[[], None], *, nothing: str, wrong: str
) -> Iterator[Bench]:
    text = "vector({revision}) / 100" if "prefix" not in url else "vector({revision})"
    with closing(PrometheusSource(url)) as source:
        yield Bench(source, text, nothing, wrong, down)


# --- what all must do ---------------------------------------------------------------------------


def test_each_side_is_asked_of_its_own_revision(bench: Bench) -> None:
    stable, canary = bench.ask(bench.number, of=STABLE), bench.ask(bench.number)
    assert [stable.value, canary.value] == pytest.approx([0.03, 0.07])
    assert canary.count == (1204 if bench.counted else None)


def test_no_data_is_no_number(bench: Bench) -> None:
    assert bench.ask(bench.nothing) == Measured(None)


def test_what_cannot_be_answered_says_so_with_what_to_do(bench: Bench) -> None:
    with pytest.raises(Permanent) as refused:
        bench.ask(bench.wrong)
    assert refused.value.sentence


def test_a_source_that_does_not_answer_is_asked_again_later(bench: Bench) -> None:
    bench.down()
    with pytest.raises(Transient) as silent:
        bench.ask(bench.number)
    assert silent.value.sentence


# --- Prometheus ---------------------------------------------------------------------------------


@pytest.fixture
def forms() -> Iterator[PrometheusSource]:
    with documented() as (url, _), closing(PrometheusSource(url)) as source:
        yield source


@pytest.mark.parametrize(("text", "value"), [("empty", None), ("nan", None), ("scalar", 0.25)])
def test_prometheus_forms_of_one_number_and_of_none(
    forms: PrometheusSource, text: str, value: float | None
) -> None:
    assert forms.measure(Query(text, CANARY, AT)) == Measured(value)


@pytest.mark.parametrize(
    ("text", "error", "code"),
    [
        ("two", Permanent, "prometheus.many"),
        ("many", Permanent, "prometheus.many"),
        ("range", Permanent, "prometheus.no_number"),
        ("slow", Transient, "prometheus.unavailable"),
        ("html", Transient, "prometheus.unavailable"),
        ("secret", Permanent, "prometheus.refused"),
        ("{nonsense}", Invalid, "analysis.unknown_placeholder"),
    ],
)
def test_prometheus_forms_that_are_no_number(
    forms: PrometheusSource, text: str, error: type[Exception], code: str
) -> None:
    with pytest.raises(error) as raised:
        forms.measure(Query(text, CANARY, AT))
    assert raised.value.code == code  # type: ignore[attr-defined]


def test_without_a_prometheus_nothing_is_measured() -> None:
    with pytest.raises(Permanent, match="No Prometheus is known"):
        PrometheusSource("").measure(Query("up", CANARY, AT))


@pytest.mark.skipif(PROMETHEUS is None, reason="this machine has no Prometheus")
def test_a_value_stays_within_its_quotes_in_a_real_prometheus(tmp_path: Path) -> None:
    nasty = "a\"} or vector(1) # \\ ' `\n"
    target = replace(CANARY, model=nasty)
    with real_prometheus(tmp_path) as (url, _), closing(PrometheusSource(url)) as source:
        for quote in ('"', "'"):
            text = f"up{{model={quote}{{model}}{quote}}}"
            assert source.measure(Query(text, target, AT)) == Measured(None)
        # The value arrives as it is: the label that is made of it equals the label it is made of.
        same = (
            'count(label_replace(vector(1), "m", "{model}", "", "")'
            ' * on(m) label_replace(vector(1), "m", \'{model}\', "", ""))'
        )
        assert source.measure(Query(same, target, AT)).value == 1
        two = 'vector(1) or label_replace(vector(2), "a", "b", "", "")'
        with pytest.raises(Permanent, match="2 series"):
            source.measure(Query(two, CANARY, AT))
        assert source.measure(Query("vector(0) / vector(0)", CANARY, AT)) == Measured(None)
        assert source.measure(Query("scalar(vector(4))", CANARY, AT)) == Measured(4.0)
        assert source.measure(Query("time()", CANARY, AT)) == Measured(AT.timestamp())


# --- a webhook ----------------------------------------------------------------------------------


@pytest.fixture
def hook() -> Iterator[str]:
    with http_server(by_webhook) as server:
        yield f"http://127.0.0.1:{server.server_port}"


def by_hook(address: str, *, private: bool = True) -> Measured:
    return WebhookSource(private=private).measure(Query(address, CANARY, AT))


@pytest.mark.parametrize("path", ["words", "nan", "true", "minus", "html", "list", "moved", "no"])
def test_a_webhook_that_gives_no_number(hook: str, path: str) -> None:
    with pytest.raises(Permanent):
        by_hook(f"{hook}/{path}")


def test_a_webhook_that_is_busy_is_asked_again(hook: str) -> None:
    with pytest.raises(Transient, match="503: later"):
        by_hook(f"{hook}/busy")


def test_a_mean_of_no_observations_is_no_number(hook: str) -> None:
    assert by_hook(f"{hook}/none-of") == Measured(None)


def test_a_webhook_of_this_machine_is_not_asked_unless_that_is_allowed(hook: str) -> None:
    with pytest.raises(Permanent) as refused:
        by_hook(f"{hook}/nothing", private=False)
    assert refused.value.code == "notice.private_address"


def test_a_webhook_is_told_what_it_is_asked() -> None:
    bodies: list[dict[str, Any]] = []

    def answer(path: str, body: bytes) -> tuple[int, Any]:
        bodies.append({"path": path, **json.loads(body)})
        return 200, {"value": 1}

    with http_server(answer) as server:
        address = f"http://127.0.0.1:{server.server_port}/{{model}}"
        WebhookSource(private=True).measure(Query(address, replace(CANARY, model="a/b c"), AT))
    assert bodies == [
        {
            "path": "/a%2Fb%20c", "side": "canary", "revision": "7", "endpoint": "abc123",
            "version": "42", "model": "a/b c", "environment": "production", "at": AT.isoformat(),
        }
    ]  # fmt: skip


@pytest.mark.parametrize("address", ["ftp://127.0.0.1/", "file:///etc/passwd", "x", "http://"])
def test_what_is_no_address_is_not_asked(address: str) -> None:
    with pytest.raises(Permanent, match="is not an http or https address"):
        WebhookSource(private=True).measure(Query(address, CANARY, AT))


# --- jobs ---------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", ["", ".", "..", "../rate", "/bin/ls", "a b", "none", "plain"])
def test_only_programs_of_the_folder_are_run(jobs: Path, name: str) -> None:
    (jobs / "plain").write_text("not executable")
    with pytest.raises(Permanent, match="There is no metric job"):
        MetricJobs(str(jobs)).measure(Query(name, CANARY, AT))


def test_without_a_folder_there_are_no_jobs() -> None:
    with pytest.raises(Permanent, match="There is no folder of metric jobs"):
        MetricJobs("").measure(Query("rate", CANARY, AT))


def test_a_job_knows_what_it_is_asked_and_none_of_our_secrets(
    jobs: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("MODELYARD_SECRET_KEY", "s" * 50)
    job(jobs, "env", "env | sort > env.txt; echo 1")
    MetricJobs(str(jobs)).measure(Query("env", CANARY, AT))
    names = dict(line.split("=", 1) for line in (jobs / "env.txt").read_text().splitlines())
    assert "MODELYARD_SECRET_KEY" not in names
    assert {n: v for n, v in names.items() if n.startswith("METRIC_")} == {
        "METRIC_SIDE": "canary", "METRIC_REVISION": "7", "METRIC_ENDPOINT": "abc123",
        "METRIC_VERSION": "42", "METRIC_MODEL": "card-fraud",
        "METRIC_ENVIRONMENT": "production", "METRIC_AT": AT.isoformat(),
    }  # fmt: skip


@pytest.mark.parametrize(
    ("script", "said"),
    [
        ("printf 0.5", Measured(0.5)),
        ("echo 1e-3 20", Measured(0.001, 20)),
        ("echo nan", Measured(None)),
        ("echo 0.5 0", Measured(None)),
        ("yes 9 | head -100000", Measured(9)),
    ],
)
def test_the_last_line_counts(jobs: Path, script: str, said: Measured) -> None:
    job(jobs, "one", script)
    assert MetricJobs(str(jobs)).measure(Query("one", CANARY, AT)) == said


@pytest.mark.parametrize("script", ["true", "echo inf", "echo 1 2 3", "echo 5%"])
def test_a_last_line_that_is_no_number_is_refused(jobs: Path, script: str) -> None:
    job(jobs, "one", script)
    with pytest.raises(Permanent, match="is no number"):
        MetricJobs(str(jobs)).measure(Query("one", CANARY, AT))


def test_a_job_that_fails_says_why_in_its_own_words(jobs: Path) -> None:
    job(jobs, "one", "echo 1; echo 'the warehouse is closed' >&2; exit 3")
    with pytest.raises(Transient, match="ended with 3: the warehouse is closed"):
        MetricJobs(str(jobs)).measure(Query("one", CANARY, AT))


def test_what_a_job_leaves_behind_is_ended_with_it(jobs: Path) -> None:
    job(jobs, "one", "sleep 300 & echo $! > child.txt; echo 1")
    assert MetricJobs(str(jobs)).measure(Query("one", CANARY, AT)) == Measured(1.0)
    child = int((jobs / "child.txt").read_text())
    until = time.monotonic() + 5
    while psutil.pid_exists(child) and psutil.Process(child).status() != "zombie":
        assert time.monotonic() < until
        time.sleep(0.01)


def test_a_job_that_cannot_be_run_says_so(jobs: Path) -> None:
    (jobs / "broken").write_bytes(b"#!/nowhere/at/all\n")
    os.chmod(jobs / "broken", 0o755)
    with pytest.raises(Permanent, match="cannot be run"):
        MetricJobs(str(jobs)).measure(Query("broken", CANARY, AT))
