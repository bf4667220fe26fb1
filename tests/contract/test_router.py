"""One suite for every traffic router, and what only the real proxy can show."""

import os
import signal
import tempfile
import threading
import time
from collections import Counter
from collections.abc import Iterator
from dataclasses import replace
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import httpx
import pytest

from apps.endpoints.domain.values import Route, RouteSeen, Segment, Share, Sticky, StickyBy
from apps.endpoints.ports import TrafficRouter
from controlplane.drivers.envoy import bootstrap
from controlplane.drivers.envoy.admin import address, is_ready
from controlplane.drivers.envoy.predictor import EnvoyPredictor
from controlplane.drivers.memory.serving import MemoryRouter
from controlplane.kernel.errors import (
    Conflict,
    ControlPlaneError,
    Denied,
    Invalid,
    Permanent,
    Transient,
)
from tests.serving import ENVOY, World, wait_for, world


class Upstream(BaseHTTPRequestHandler):
    """A model server that says which revision it is, or does what its caller asks."""

    protocol_version = "HTTP/1.1"
    wbufsize = -1  # one packet an answer, or the kernel waits for the rest

    def do_POST(self) -> None:
        body = self.rfile.read(int(self.headers.get("Content-Length") or 0))
        wish = self.headers.get("X-Wish", "")
        if wish == "sleep":
            time.sleep(2)
        answer = body if wish == "echo" else f'{{"path": "{self.path}"}}'.encode()
        self.send_response(int(wish) if wish.isdigit() else 200)
        for name in ("X-Request-Id", "X-Api-Key"):
            if self.headers.get(name):
                self.send_header(f"Seen-{name}", self.headers[name])
        self.send_header("Content-Length", str(len(answer)))
        self.end_headers()
        self.wfile.write(answer)

    do_GET = do_POST  # noqa: N815  # the base class names it

    def log_message(self, format: str, *args: Any) -> None:
        """Say nothing."""


@pytest.fixture(scope="module")
def outside() -> Iterator[World]:
    with tempfile.TemporaryDirectory(prefix="my-", dir="/tmp") as folder, world(Path(folder)) as w:
        yield w


@pytest.fixture(scope="module")
def upstream() -> Iterator[int]:
    server = ThreadingHTTPServer(("127.0.0.1", 0), Upstream)
    server.daemon_threads = True
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    yield server.server_address[1]
    server.shutdown()
    server.server_close()
    thread.join()


def route(port: int, **more: Any) -> Route:
    known: dict[str, Any] = {
        "endpoint": "abc", "generation": 1, "environment": "dev", "name": "a model",
        "shares": (Share(1, 100, (port,)),), "unavailable": "Nobody is ready.",
        "timeout_ms": 500, "max_request_bytes": 10_000, "admitted": None,
    }  # fmt: skip
    return Route(**{**known, **more})


@pytest.fixture(params=["memory", "envoy"])
def router(request: Any, outside: World) -> Iterator[TrafficRouter]:
    if request.param == "memory":
        yield MemoryRouter()
        return
    yield outside.router
    clear(outside)


@pytest.fixture
def envoy(outside: World) -> Iterator[World]:
    yield outside
    clear(outside)


def clear(outside: World) -> None:
    """Have the proxy forget everything, and what was ever asked of it."""
    table = outside.home / "envoy" / "table.json"
    table.unlink(missing_ok=True)
    outside.router.remove("abc", generation=0)
    table.unlink()


def test_what_was_put_in_force_is_read_back(router: TrafficRouter, upstream: int) -> None:
    for asked in (
        route(upstream),
        route(upstream, endpoint="two", name="b", admitted=("k1", "k2")),
        route(upstream, endpoint="split", name="c",
              shares=(Share(1, 90, (upstream,)), Share(2, 10, (upstream,)), Share(3, 0, ()))),
        route(upstream, endpoint="none", name="d", shares=()),
        route(upstream, endpoint="shut", name="e", admitted=()),
    ):  # fmt: skip
        router.apply(asked)
        assert router.observe(asked.endpoint) == RouteSeen(asked, intact=True)
    assert router.observe_all().keys() == {"abc", "two", "split", "none", "shut"}


TRIALS: list[dict[str, Any]] = [
    {},
    {"mirror": 1},
    {"mirror": 100, "preview": True},
    {"sticky": Sticky(StickyBy.HEADER, "x-user-id")},
    {"sticky": Sticky(StickyBy.COOKIE, "caller"), "preview": True},
    {"segments": (Segment("x-region", "north", 100), Segment("x-region", "south", 0))},
    {
        "mirror": 5,
        "preview": True,
        "sticky": Sticky(StickyBy.COOKIE, "caller"),
        "segments": (Segment("X-Tier", "a b; c=d", 40),),
    },
]


@pytest.mark.parametrize("trial", TRIALS)
def test_a_trial_is_read_back(router: TrafficRouter, upstream: int, trial: dict[str, Any]) -> None:
    for number, weight in ((2, 0), (2, 30), (1, 30), (2, 100)):
        shares = tuple(
            Share(n, weight if n == number else 100 - weight, (upstream,)) for n in (1, 2)
        )
        asked = route(upstream, shares=shares, candidate=number, **trial)
        router.apply(asked)
        assert router.observe("abc") == RouteSeen(asked, intact=True)
    router.apply(route(upstream, shares=shares))
    assert router.observe("abc") == RouteSeen(route(upstream, shares=shares), intact=True)


def test_what_is_not_possible_of_a_trial_is_not_in_force(
    router: TrafficRouter, upstream: int
) -> None:
    shares = (Share(1, 100, (upstream,)), Share(2, 0, ()))
    trial = {**TRIALS[-1], "candidate": 2}
    router.apply(route(upstream, shares=shares, **trial))
    seen = router.observe("abc")
    left = route(upstream, shares=shares, candidate=2, preview=True, sticky=trial["sticky"])
    assert seen == RouteSeen(left, intact=True)
    nobody = tuple(replace(s, weight=0) for s in shares)
    router.apply(route(upstream, shares=nobody, **trial))
    assert router.observe("abc").route == route(upstream, shares=nobody, candidate=2, preview=True)


def test_asking_twice_is_asking_once(router: TrafficRouter, upstream: int) -> None:
    router.apply(route(upstream))
    router.apply(route(upstream))
    assert router.observe("abc").route == route(upstream)


def test_a_command_that_was_overtaken_is_refused(router: TrafficRouter, upstream: int) -> None:
    router.apply(route(upstream, generation=5))
    with pytest.raises(Conflict):
        router.apply(route(upstream, generation=4))
    with pytest.raises(Conflict):
        router.remove("abc", generation=4)
    router.remove("abc", generation=6)
    assert router.observe("abc") == RouteSeen()
    with pytest.raises(Conflict):
        router.apply(route(upstream, generation=5))


def test_a_removed_endpoint_is_gone_and_may_come_back(
    router: TrafficRouter, upstream: int
) -> None:
    router.apply(route(upstream))
    router.remove("abc", generation=1)
    router.remove("abc", generation=1)
    assert router.observe("abc").route is None
    router.apply(route(upstream, generation=2))
    assert router.observe("abc").intact


INFER = "/dev/a%20model/v2/models/a%20model/infer"


def ask(outside: World, path: str = INFER, method: str = "POST", **how: Any) -> httpx.Response:
    return httpx.request(method, outside.url + path, timeout=10, **how)


@pytest.mark.parametrize(
    ("method", "path", "status"),
    [
        ("POST", INFER, 200),
        ("GET", INFER, 404),
        ("GET", "/dev/a%20model/v2/models/a%20model", 200),
        ("GET", "/dev/a%20model/v2/models/a%20model/ready", 200),
        ("GET", "/dev/a%20model/v2/health/ready", 200),
        ("GET", "/dev/a%20model/v2/health/live", 200),
        ("GET", "/dev/a%20model/v2", 200),
        ("GET", "/dev/a%20model/metrics", 404),
        ("POST", "/dev/a%20model/v2/repository/models/x/unload", 404),
        ("GET", "/dev/a%20model/v2/../metrics", 404),
        ("GET", "/dev/a%20model%2fv2", 400),
        ("POST", "/prod/a%20model/v2/models/a%20model/infer", 404),
        ("POST", "/dev/nobody/v2/models/nobody/infer", 404),
        ("GET", "/", 404),
    ],
)
def test_only_predictions_and_what_describes_them_are_let_through(
    envoy: World, upstream: int, method: str, path: str, status: int
) -> None:
    envoy.router.apply(route(upstream))
    answer = ask(envoy, path, method)
    assert answer.status_code == status
    if status != 200:
        assert answer.json().keys() == {"error"}


def test_limits_hold_and_say_so(envoy: World, upstream: int) -> None:
    envoy.router.apply(route(upstream))
    assert ask(envoy, content=b"x" * 10_000, headers={"X-Wish": "echo"}).content == b"x" * 10_000
    for wish, body, status, words in (
        ("", b"x" * 10_001, 413, "larger"),
        ("sleep", b"", 504, "in the time"),
    ):
        answer = ask(envoy, content=body, headers={"X-Wish": wish})
        assert answer.status_code == status
        assert words in answer.json()["error"]
    # A caller cannot buy itself more time, or more tries.
    greedy = {"X-Wish": "sleep", "x-envoy-upstream-rq-timeout-ms": "9000"}
    assert ask(envoy, headers=greedy).status_code == 504


def test_a_model_s_own_errors_pass_as_they_are(envoy: World, upstream: int) -> None:
    envoy.router.apply(route(upstream))
    for status in (400, 422, 500, 503):
        answer = ask(envoy, headers={"X-Wish": str(status)})
        assert answer.status_code == status
        assert "path" in answer.json()


def test_a_correlation_id_is_kept_or_made_and_given_back(envoy: World, upstream: int) -> None:
    envoy.router.apply(route(upstream))
    mine = ask(envoy, headers={"X-Request-Id": "mine-1"})
    assert mine.headers["x-request-id"] == mine.headers["seen-x-request-id"] == "mine-1"
    made = ask(envoy)
    assert len(made.headers["x-request-id"]) == 36
    assert made.headers["x-request-id"] == made.headers["seen-x-request-id"]


def test_a_key_never_reaches_the_model(envoy: World, upstream: int) -> None:
    envoy.router.apply(route(upstream))
    assert "seen-x-api-key" not in ask(envoy, headers={"X-Api-Key": "secret"}).headers


def test_without_a_ready_replica_the_reason_is_told(envoy: World, upstream: int) -> None:
    envoy.router.apply(route(upstream, shares=(Share(1, 0, ()),)))
    answer = ask(envoy)
    assert answer.status_code == 503
    assert answer.json() == {"error": "Nobody is ready."}


def test_a_dead_replica_costs_no_request_while_another_is_there(
    envoy: World, upstream: int
) -> None:
    dead = 1  # nothing listens on port 1
    envoy.router.apply(route(upstream, shares=(Share(1, 100, (dead, upstream)),)))
    assert Counter(ask(envoy).status_code for _ in range(300)) == {200: 300}
    envoy.router.apply(route(upstream, shares=(Share(1, 100, (dead,)),)))
    answer = ask(envoy)
    assert answer.status_code == 503
    assert "Try again" in answer.json()["error"]


def test_weights_change_again_and_again_without_a_failed_request(
    envoy: World, upstream: int
) -> None:
    def split(weight: int, **trial: Any) -> Route:
        return route(
            upstream,
            shares=(Share(1, 100 - weight, (upstream,)), Share(2, weight, (upstream,))),
            candidate=2,
            timeout_ms=8000,  # of a busy machine, not of the proxy
            **trial,
        )

    by_header, by_cookie = TRIALS[3], TRIALS[4]
    changes = [
        split(0), split(10), split(100), split(50), split(0), split(100),
        split(70, **by_header), split(50, **by_header), split(50, **by_cookie),
        split(0, mirror=100), split(0, mirror=20), split(20, mirror=20, **by_header),
        split(20, **TRIALS[5]), split(30, **TRIALS[6]),
    ]  # fmt: skip
    envoy.router.apply(changes[0])
    failed: list[str] = []
    seen: list[str] = []
    over = threading.Event()

    def call(headers: dict[str, str]) -> None:
        with httpx.Client(base_url=envoy.url, timeout=10, headers=headers) as client:
            while not over.is_set():
                answer = client.post(INFER)
                (seen if answer.status_code == 200 else failed).append(
                    answer.headers.get("x-modelyard-revision", answer.text)
                )

    who = [{}, {"x-user-id": "anna"}, {"x-region": "north"}, {"x-tier": "a b; c=d"}]
    callers = [threading.Thread(target=call, args=[headers]) for headers in who]
    for caller in callers:
        caller.start()
    took = []
    try:
        for change in changes * 5:
            begun = time.monotonic()
            envoy.router.apply(change)
            took.append(time.monotonic() - begun)
    finally:
        over.set()
        for caller in callers:
            caller.join()
    mean = 1000 * sum(took) / len(took)
    print(f"\n{len(seen)} requests over {len(took)} changes of {mean:.0f} ms")
    assert failed == []
    assert len(seen) > 200
    assert set(seen) == {"1", "2"}


def test_a_weight_is_what_callers_meet(envoy: World, upstream: int) -> None:
    shares = (Share(1, 75, (upstream,)), Share(2, 25, (upstream,)))
    envoy.router.apply(route(upstream, shares=shares))
    with httpx.Client(base_url=envoy.url) as client:
        met = [client.post(INFER).headers["x-modelyard-revision"] for _ in range(600)]
    assert 100 <= met.count("2") <= 200  # 150 is expected; 5 standard deviations


@pytest.mark.parametrize(
    ("part", "shows"),
    [
        ("mirror", {"mirror": 21}),
        ("another's mirror", {"mirror": 0}),
        ("sticky", {"sticky": Sticky(StickyBy.HEADER, "x-session")}),
        ("segment", {"segments": (Segment("x-region", "south", 41),)}),
        ("region", {"segments": (Segment("x-region", "north", 40),)}),
        ("preview", {"preview": False}),
        ("capture", {}),
    ],
)
def test_a_trial_that_is_changed_by_hand_is_seen_and_told(
    envoy: World, upstream: int, part: str, shows: dict[str, Any]
) -> None:
    asked = route(
        upstream, shares=(Share(1, 90, (upstream,)), Share(2, 10, (upstream,))), candidate=2,
        mirror=20, preview=True, sticky=Sticky(StickyBy.HEADER, "x-user"),
        segments=(Segment("x-region", "south", 40),),
    )  # fmt: skip
    envoy.router.apply(asked)
    before, after = {
        "mirror": ('"numerator":20', '"numerator":21'),
        "another's mirror": (
            '"request_mirror_policies":[{"cluster":"abc-2"',
            '"request_mirror_policies":[{"cluster":"abc-1"',
        ),
        "sticky": ('"header_name":"x-user"', '"header_name":"x-session"'),
        "segment": ('"name":"abc-2","weight":40', '"name":"abc-2","weight":41'),
        "region": ('"exact":"south"', '"exact":"north"'),
        "preview": ("/dev/a%20model/preview/v2", "/dev/a%20model/review/v2"),
        "capture": ('"key":"x-modelyard-capture"', '"key":"x-modelyard-other"'),
    }[part]
    change_by_hand(envoy, "rds.json", before, after)
    wait_for(lambda: not envoy.router.observe("abc").intact)
    assert envoy.router.observe("abc") == RouteSeen(replace(asked, **shows), intact=False)
    envoy.router.apply(asked)
    assert envoy.router.observe("abc") == RouteSeen(asked, intact=True)


def change_by_hand(outside: World, name: str, before: str, after: str) -> None:
    path = outside.home / "envoy" / name
    text = path.read_text()
    assert before in text
    path.with_name("edited").write_text(text.replace(before, after))
    path.with_name("edited").rename(path)


@pytest.mark.parametrize("part", ["weight", "key", "timeout", "replica", "cluster"])
def test_whatever_is_changed_by_hand_is_seen(envoy: World, upstream: int, part: str) -> None:
    shares = (Share(1, 90, (upstream,)), Share(2, 10, (upstream,)))
    asked = route(upstream, shares=shares, admitted=("k1",))
    envoy.router.apply(asked)
    name, before, after = {
        "weight": ("rds.json", '"weight":90', '"weight":91'),
        "key": ("rds.json", '"exact":"k1"', '"exact":"k2"'),
        "timeout": ("rds.json", '"timeout":"0.500s"', '"timeout":"5s"'),
        "replica": ("cds.json", f'"port_value":{upstream}', '"port_value":9'),
        "cluster": ("cds.json", '"max_retries":64', '"max_retries":65'),
    }[part]
    change_by_hand(envoy, name, before, after)
    wait_for(lambda: not envoy.router.observe("abc").intact, seconds=5)
    envoy.router.apply(asked)
    assert envoy.router.observe("abc") == RouteSeen(asked, intact=True)


def test_a_route_that_envoy_refuses_is_told_in_its_words_and_harms_no_other(
    envoy: World, upstream: int
) -> None:
    envoy.router.apply(route(upstream))
    bad = route(upstream, endpoint="bad", name="bad", timeout_ms=-1)
    with pytest.raises(Permanent) as refused:
        envoy.router.apply(bad)
    assert "Envoy refused" in refused.value.sentence
    assert "duration" in refused.value.sentence.lower()
    assert ask(envoy).status_code == 200
    envoy.router.apply(route(upstream, timeout_ms=700))
    assert envoy.router.observe("abc").intact
    assert envoy.router.observe("bad").route is None


def test_a_thousand_endpoints_are_changed_and_looked_at_quickly(
    envoy: World, upstream: int
) -> None:
    table = {
        f"e{n}": envoy_table(route(upstream, endpoint=f"e{n}", name=f"m{n}"))
        for n in range(1000)
    }  # fmt: skip
    bootstrap.replace(envoy.home / "envoy" / "table.json", table)
    begun = time.monotonic()
    envoy.router.apply(route(upstream))
    first = time.monotonic() - begun
    begun = time.monotonic()
    envoy.router.apply(route(upstream, timeout_ms=600))
    again = time.monotonic() - begun
    begun = time.process_time()
    envoy.router._seen = None
    assert all(seen.intact for seen in envoy.router.observe_all().values())
    look = time.process_time() - begun
    print(f"\nfirst {first:.2f} s, one change {again:.2f} s, one look {look:.2f} s of CPU")
    assert again < 5


def envoy_table(asked: Route) -> dict[str, Any]:
    from controlplane.drivers.envoy.routes import to_json

    return to_json(asked)


@pytest.mark.parametrize(
    ("wish", "error", "code"),
    [
        ("400", Invalid, "predict.refused"),
        ("500", Permanent, "predict.failed"),
        ("503", Transient, "predict.unavailable"),
        ("sleep", Transient, "predict.unavailable"),
        ("403", Denied, "predict.denied"),
    ],
)
def test_trying_an_endpoint_says_what_went_wrong(
    envoy: World, upstream: int, wish: str, error: type[ControlPlaneError], code: str
) -> None:
    envoy.router.apply(route(upstream))

    class Wishing(EnvoyPredictor):
        def _caller(self) -> httpx.Client:
            caller = super()._caller()
            caller.headers["X-Wish"] = wish
            return caller

    asked = {"environment": "dev", "name": "a model", "body": {}, "key": "", "request_id": "r"}
    with pytest.raises(error) as refused:
        Wishing(envoy.url).predict(**asked)  # type: ignore[arg-type]
    assert refused.value.code == code
    answered = EnvoyPredictor(envoy.url).predict(**asked)  # type: ignore[arg-type]
    assert answered.revision == 1
    assert answered.request_id == "r"
    with pytest.raises(Transient) as silent:
        EnvoyPredictor("http://127.0.0.1:1").predict(**asked)  # type: ignore[arg-type]
    assert silent.value.code == "predict.unreachable"


def test_replacing_an_endpoint_s_generation_is_enough_to_be_newer(
    router: TrafficRouter, upstream: int
) -> None:
    router.apply(route(upstream))
    newer = replace(route(upstream), generation=2)
    router.apply(newer)
    assert router.observe("abc").route == newer


def test_an_envoy_that_was_killed_takes_its_admin_socket_again(outside: World) -> None:
    (envoy,) = (p for p in outside.supervisor.status() if p.name == ENVOY)
    assert is_ready(address(outside.admin))
    assert outside.admin.stat().st_mode & 0o077 == 0
    os.kill(envoy.pid or 0, signal.SIGKILL)
    wait_for(lambda: not is_ready(address(outside.admin)))
    assert outside.admin.exists()  # what it left would keep a port's successor out
    wait_for(lambda: is_ready(address(outside.admin)))


def test_nothing_at_the_admin_socket_is_an_envoy_that_is_not_ready(tmp_path: Path) -> None:
    assert not is_ready(address(tmp_path / "nothing.sock"))
