"""The whole embedded stack: killed part by part, killed at the top, started again, stopped."""

import json
import os
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import urlsplit

import httpx
import psutil
import pytest

from controlplane.drivers.local import leftovers, parts
from controlplane.drivers.local.home import Home
from controlplane.drivers.local.parts import Addresses
from controlplane.drivers.local.supervisor import Supervisor
from controlplane.kernel.errors import Transient

pytestmark = [pytest.mark.stack, pytest.mark.timeout(600), pytest.mark.xdist_group("stack")]

ROOT = Path(__file__).resolve().parents[3]
BACK = 15.0  # seconds until a killed part works again, on a machine that is not overloaded


@dataclass
class Up:
    """A `manage.py up` in a home of its own."""

    home: Path
    process: "subprocess.Popen[bytes] | None" = None

    def start(self, *, port: int = 18000) -> None:
        """Start it, and wait until every part is healthy."""
        ready = self.home / "ready.json"
        ready.unlink(missing_ok=True)
        with (self.home / "up.log").open("ab") as log:
            self.process = subprocess.Popen(
                [
                    *(sys.executable, "manage.py", "up", "--plain", "--ready-file", str(ready)),
                    *("--port", str(port), "--serving-port", str(port + 80)),
                    *("--mlflow-port", str(port + 50)),
                ],
                cwd=ROOT,
                env=self.environment(),
                stdout=log,
                stderr=log,
            )
        end = time.monotonic() + 240
        while not (ready.exists() and json.loads(ready.read_text())["healthy"]):
            if self.process.poll() is not None or time.monotonic() > end:
                pytest.fail(self.said())
            time.sleep(0.1)

    def stop(self) -> int:
        assert self.process is not None
        self.process.send_signal(signal.SIGINT)
        return self.process.wait(90)

    def environment(self) -> dict[str, str]:
        kept = {n: v for n, v in os.environ.items() if not n.startswith("MODELYARD_")}
        del kept["DJANGO_SETTINGS_MODULE"]
        return {**kept, "MODELYARD_HOME": str(self.home)}

    def said(self) -> str:
        return (self.home / "up.log").read_text()[-4000:]

    def facts(self) -> dict[str, str]:
        found: dict[str, str] = json.loads((self.home / "ready.json").read_text())
        return found

    def parts(self) -> dict[str, parts.Part]:
        facts = self.facts()
        ports = {n: urlsplit(facts[n]).port for n in ("web", "serving", "mlflow")}
        at = Addresses(host="127.0.0.1", **{n: port or 0 for n, port in ports.items()})
        every = parts.all_parts(Home(self.home), at, outside=frozenset())
        return {part.name: part for part in every}

    def client(self) -> Supervisor:
        return Supervisor(Home(self.home).run / "supervisor.sock")

    def ours(self) -> list[psutil.Process]:
        home = Home(self.home)
        return leftovers.find(home.instance, data=home.data)


@pytest.fixture(scope="module")
def up() -> Iterator[Up]:
    with tempfile.TemporaryDirectory(prefix="my-", dir="/tmp") as folder:
        Path(folder).chmod(0o755)
        running = Up(Path(folder))
        running.start()
        yield running
        if running.process and running.process.poll() is None:
            running.stop()
        leftovers.end(running.ours(), seconds=10)


def patience() -> float:
    """Return the promise, stretched by how many others wait for each processor."""
    waiting = os.getloadavg()[0] / (os.cpu_count() or 1)
    return BACK * max(1.0, waiting)


def wait_until_back(up: Up, name: str, *, but: int) -> float:
    """Wait until a part works in another process, and return how long it took."""
    began, part, client = time.monotonic(), up.parts()[name], up.client()
    while time.monotonic() - began < patience() + 30:
        try:
            status = client.status_of(name)
            if status and status.pid and status.pid != but and part.healthy(status.pid):
                return time.monotonic() - began
        except Transient:
            pass  # the supervisor itself is not back yet
        time.sleep(0.05)
    pytest.fail(f"{name} did not come back.\n{up.said()}")


@pytest.mark.parametrize("name", parts.NAMES)
def test_a_killed_part_is_back_within_15_seconds(up: Up, name: str) -> None:
    status = up.client().status_of(name)
    assert status is not None
    assert status.pid is not None
    os.kill(status.pid, signal.SIGKILL)
    took = wait_until_back(up, name, but=status.pid)
    print(f"{name} back after {took:.2f} s")
    assert took < patience()


def test_the_web_answers_through_the_front_door(up: Up) -> None:
    assert httpx.get(f"{up.facts()['web']}/livez").text == "ok\n"
    assert httpx.get(f"{up.facts()['web']}/readyz").json() == {"ready": True}


def test_idle_memory_stays_under_one_and_a_half_gigabytes(up: Up) -> None:
    used = sum(process.memory_full_info().pss for process in up.ours())
    print(f"idle: {used / 2**20:.0f} MB")
    assert used < 1.5 * 2**30


def test_a_second_start_on_the_same_home_says_where_the_first_one_is(up: Up) -> None:
    second = subprocess.run(
        [sys.executable, "manage.py", "up"],
        cwd=ROOT,
        env=up.environment(),
        capture_output=True,
        text=True,
    )
    assert second.returncode == 1
    assert f"already runs in {up.home}: {up.facts()['web']}" in second.stderr


def test_a_killed_supervisor_is_replaced_and_everything_comes_back(up: Up) -> None:
    before = {status.name: status.pid or 0 for status in up.client().status()}
    os.kill(up.client().pid(), signal.SIGKILL)
    for name in parts.NAMES:
        wait_until_back(up, name, but=before[name])


def test_a_start_after_the_watcher_was_killed_takes_over_and_spares_strangers(up: Up) -> None:
    stranger = subprocess.Popen(
        ["sleep", "300"], env={"PATH": os.environ["PATH"], "MODELYARD_INSTANCE": "another"}
    )
    try:
        assert up.process is not None
        before = {process.pid for process in up.ours()}
        up.process.kill()
        up.process.wait()
        up.start()
        assert not before & {process.pid for process in up.ours()}
        assert stranger.poll() is None
    finally:
        stranger.kill()
        stranger.wait()


def test_stopping_leaves_nothing_running_and_the_state_in_place(up: Up) -> None:
    assert up.stop() == 0
    assert up.ours() == []
    assert (up.home / "postgres" / "data" / "PG_VERSION").exists()
    assert "Everything is stopped" in up.said()
