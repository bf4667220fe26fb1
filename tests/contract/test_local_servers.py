"""Model servers as processes: the port's promises, with a real supervisor and runtime."""

import os
import socket
import tempfile
from collections.abc import Iterator
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path

import pytest

from apps.endpoints.domain.values import ReplicaState, Servers, ServerSpec
from controlplane.drivers.local.servers import LocalServers, program
from controlplane.drivers.local.supervisor import Supervisor
from controlplane.drivers.oci.layout import OciLayout
from controlplane.kernel.errors import Conflict, Permanent, Transient
from tests.serving import World, wait_for, world


@pytest.fixture(scope="module")
def outside() -> Iterator[World]:
    with tempfile.TemporaryDirectory(prefix="my-", dir="/tmp") as folder, world(Path(folder)) as w:
        yield w


def spec(outside: World, revision: str, **more: object) -> ServerSpec:
    known = ServerSpec(
        revision=revision, generation=3, name="cancer", number=7,
        digest=outside.onnx_bundle(), runtime="onnxruntime", replicas=1,
    )  # fmt: skip
    return replace(known, **more)  # type: ignore[arg-type]


def seen(outside: World, revision: str) -> Servers | None:
    return outside.servers.observe([revision]).get(revision)


def ready(outside: World, asked: ServerSpec) -> Servers:
    def all_ready() -> bool:
        there = seen(outside, asked.revision)
        return there is not None and len(there.ready_ports(below=99)) == asked.replicas

    wait_for(all_ready)
    there = seen(outside, asked.revision)
    assert there is not None
    return there


def stop(outside: World, revision: str, *, generation: int = 3) -> None:
    def gone() -> bool:
        outside.servers.stop(revision, generation=generation)
        return revision not in outside.servers.known()

    wait_for(gone)


def test_servers_come_up_answer_golden_requests_and_go(outside: World) -> None:
    asked = spec(outside, "one", replicas=2)
    outside.servers.start(asked)
    begun = seen(outside, "one")
    assert begun is not None
    assert len(begun.replicas) == 2, "what was asked for is seen at once, ready or not"
    outside.servers.start(asked)
    there = ready(outside, asked)
    assert len({r.pid for r in there.replicas}) == 2
    assert outside.servers.warm(asked) == 6
    golden = outside.servers.ask_golden(asked)
    assert (golden.asked, golden.answered, golden.digest) == (6, 6, asked.digest)
    assert golden.example[0]["name"] == "X"
    stop(outside, "one")
    assert seen(outside, "one") is None
    assert not [p for p in outside.supervisor.status() if p.name.startswith("server-one")]


def test_logs_of_servers_that_are_gone_are_dropped_in_the_end(tmp_path: Path) -> None:
    nobody = Supervisor(tmp_path / "no.sock")
    servers = LocalServers(tmp_path, supervisor=nobody, bundles=OciLayout(tmp_path / "bundles"))
    logs, here = tmp_path / "logs" / "servers", tmp_path / "servers" / "here"
    logs.mkdir(parents=True)
    here.mkdir(parents=True)
    (here / "state.json").write_text("{}")
    for name in ("here-0.log", "gone-0.log", "gone-1.log.2", "lately-0.log", "notes.txt"):
        (logs / name).touch()
        if not name.startswith("lately"):
            os.utime(logs / name, (0, 0))
    assert servers.drop_logs(now=datetime.now(UTC)) == 2
    left = {path.name for path in logs.iterdir()}
    assert left == {"here-0.log", "lately-0.log", "notes.txt"}


def test_ports_stay_the_same_unless_somebody_else_has_taken_one(outside: World) -> None:
    asked = spec(outside, "two")
    outside.servers.start(asked)
    (port,) = ready(outside, asked).ready_ports(below=9)
    outside.supervisor.stop(program("two", 0))
    with socket.socket() as stranger:
        stranger.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        stranger.bind(("127.0.0.1", port))
        stranger.listen()
        outside.servers.start(asked)
        (other,) = ready(outside, asked).ready_ports(below=9)
    assert other != port
    outside.supervisor.stop(program("two", 0))
    outside.servers.start(asked)
    assert ready(outside, asked).ready_ports(below=9) == (other,)
    stop(outside, "two")


def test_a_command_that_was_overtaken_is_refused(outside: World) -> None:
    asked = spec(outside, "three", generation=5)
    outside.servers.start(asked)
    with pytest.raises(Conflict):
        outside.servers.start(replace(asked, generation=4))
    with pytest.raises(Conflict):
        outside.servers.stop("three", generation=4)
    stop(outside, "three", generation=5)


def test_a_server_that_missed_the_signal_to_end_is_asked_again(outside: World) -> None:
    deaf = "trap '' TERM; sleep 1; trap - TERM; exec sleep 60"
    outside.supervisor.add(
        program("eight", 0), argv=["sh", "-c", deaf], log=outside.home / "eight.log",
        stop_seconds=60,
    )  # fmt: skip

    def gone() -> bool:
        outside.servers.stop("eight", generation=1)
        return not [p for p in outside.supervisor.status() if p.name == program("eight", 0)]

    wait_for(gone)


def test_replicas_that_are_lost_come_back_and_those_too_many_go(outside: World) -> None:
    asked = spec(outside, "four", replicas=2)
    outside.servers.start(asked)
    ready(outside, asked)
    outside.supervisor.remove(program("four", 1))
    wait_for(lambda: states(outside, "four")[1] is ReplicaState.MISSING)
    outside.servers.start(asked)
    ready(outside, asked)
    fewer = replace(asked, replicas=1, generation=4)

    def one_left() -> bool:
        outside.servers.start(fewer)
        return states(outside, "four") == [ReplicaState.READY]

    wait_for(one_left)
    stop(outside, "four", generation=4)


def states(outside: World, revision: str) -> list[ReplicaState]:
    there = seen(outside, revision)
    return [r.state for r in there.replicas] if there else []


def test_a_bundle_that_was_changed_on_disk_is_never_started(outside: World) -> None:
    asked = spec(outside, "five")
    manifest = outside.bundles.read_manifest(asked.digest)
    model = max(manifest["layers"], key=lambda layer: int(layer["size"]))
    blob = outside.bundles.root / "blobs" / "sha256" / model["digest"].removeprefix("sha256:")
    blob.write_bytes(b"x" + blob.read_bytes()[1:])
    with pytest.raises(Permanent) as refused:
        outside.servers.start(asked)
    assert refused.value.code == "bundle.corrupt"
    stop(outside, "five")


def test_a_server_that_is_not_ready_is_not_asked(outside: World) -> None:
    with pytest.raises(Transient):
        outside.servers.ask_golden(spec(outside, "six"))


def test_servers_get_nothing_of_the_supervisor_s_environment(outside: World) -> None:
    asked = spec(outside, "seven")
    outside.servers.start(asked)
    pid = ready(outside, asked).replicas[0].pid
    environment = Path(f"/proc/{pid}/environ").read_bytes().decode().split("\0")
    names = {entry.partition("=")[0] for entry in environment}
    assert {n for n in names if n.startswith(("MODELYARD", "DJANGO", "DATABASE"))} == {
        "MODELYARD_INSTANCE"
    }
    stop(outside, "seven")
