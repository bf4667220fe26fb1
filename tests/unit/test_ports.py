"""Choosing ports."""

import os
import socket
import subprocess
import sys
from collections.abc import Iterator

import pytest

from controlplane.drivers.local import ports


@pytest.fixture
def taken() -> Iterator[int]:
    with socket.socket() as holder:
        holder.bind(("127.0.0.1", 0))
        holder.listen()
        yield holder.getsockname()[1]


def test_a_free_port_is_used_as_asked(taken: int) -> None:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        free = probe.getsockname()[1]
    assert ports.choose(free) == ports.Choice(free, free)


def test_a_taken_port_is_named_with_its_holder_and_another_is_chosen(taken: int) -> None:
    choice = ports.choose(taken)
    assert choice.port != taken
    assert ports.is_free(choice.port)
    assert f"process {os.getpid()}" in choice.holder


def test_a_port_promised_to_another_part_is_not_given_twice() -> None:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        free = probe.getsockname()[1]
    choice = ports.choose(free, avoid=[free])
    assert choice.port != free
    assert choice.holder == "another part of this stack"


def test_a_port_that_another_process_holds_is_given_to_nobody_until_that_process_ends() -> None:
    code = (
        "from controlplane.drivers.local import ports; import sys, time;"
        "print(ports.choose(23_456).port, flush=True); sys.stdin.read()"
    )
    with subprocess.Popen(
        [sys.executable, "-c", code], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    ) as other:
        assert other.stdout is not None
        held = int(other.stdout.readline())
        assert ports.is_free(held)
        choice = ports.choose(held)
        assert choice.port != held
        assert choice.holder == "another stack that starts"
        other.kill()
    assert ports.choose(held).port == held
