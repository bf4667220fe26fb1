"""The command line that every server shares; `controlplane.drivers.local.launch` writes it."""

import argparse
import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True)
class Options:
    """What a server is told.

    Attributes:
        bundle: The materialised bundle.
        name: The model's name in the protocol.
        revision: Its version in the protocol.
        digest: Of the bundle.
        host: To listen on.
        port: To listen on.
        home: MODELYARD_HOME.
        problem: Where to say why it gave up.
        settings: Whole numbers by name; see the runtime catalogue.
    """

    bundle: Path
    name: str
    revision: int
    digest: str
    host: str
    port: int
    home: Path
    problem: Path
    settings: dict[str, int]


def read(argv: Sequence[str]) -> Options:
    """Parse the arguments of a server."""
    parser = argparse.ArgumentParser(description="Serve one bundle.", allow_abbrev=False)
    parser.add_argument("--bundle", type=Path, required=True)
    parser.add_argument("--name", required=True)
    parser.add_argument("--revision", type=int, required=True)
    parser.add_argument("--digest", required=True)
    parser.add_argument("--host", default="127.0.0.1")
    parser.add_argument("--port", type=int, required=True)
    parser.add_argument("--home", type=Path, required=True)
    parser.add_argument("--problem", type=Path, required=True)
    parser.add_argument("--settings", type=json.loads, default={})
    return Options(**vars(parser.parse_args(argv)))
