"""Choosing where the stack listens: what was asked for, else what it used last, else the usual."""

import json
from collections.abc import Mapping

from controlplane.drivers.local import ports
from controlplane.drivers.local.home import Home
from controlplane.drivers.local.parts import Addresses
from controlplane.drivers.local.ports import Choice

USUAL = {"web": 8000, "serving": 8080, "mlflow": 5500}
NEAR = frozenset({"mlflow"})  # never reachable from other machines


def choose(
    home: Home, *, host: str, asked: Mapping[str, int | None]
) -> tuple[Addresses, dict[str, Choice]]:
    """Choose a free port for every part that needs one.

    Args:
        home: Remembers the ports of the last run.
        host: The address that web and endpoints are bound to.
        asked: Ports that a person asked for, by part.

    Returns:
        The addresses, and the choices whose wanted port was taken, by part.
    """
    wanted = {**USUAL, **_last(home), **{n: port for n, port in asked.items() if port}}
    choices: dict[str, Choice] = {}
    for name in USUAL:
        near = "127.0.0.1" if name in NEAR else host
        promised = [choice.port for choice in choices.values()]
        choices[name] = ports.choose(wanted[name], host=near, avoid=promised)
    chosen = {name: choice.port for name, choice in choices.items()}
    _remember(home, chosen)
    moved = {name: choice for name, choice in choices.items() if choice.port != choice.wanted}
    return Addresses(host=host, **chosen), moved


def _last(home: Home) -> dict[str, int]:
    try:
        found = json.loads((home.path / "run" / "ports.json").read_text())
    except (OSError, ValueError):
        return {}
    return {name: port for name, port in found.items() if name in USUAL}


def _remember(home: Home, chosen: Mapping[str, int]) -> None:
    (home.path / "run" / "ports.json").write_text(json.dumps(chosen))
