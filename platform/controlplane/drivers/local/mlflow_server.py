"""MLflow's own server, in one process instead of two.

`mlflow server` brings its tables up to date and then starts uvicorn as a second process, which
imports everything again: twice the memory, twice the time, and a child that holds the port when
its parent is killed. Here the same command runs with the same options, and where it would start
uvicorn, uvicorn takes over this process.

    python -m controlplane.drivers.local.mlflow_server --host 127.0.0.1 --port 5500 ...
"""

import os
import sys
from collections.abc import Mapping, Sequence
from typing import Any, NoReturn

import mlflow.server
import uvicorn.main
from mlflow.cli import cli


def main() -> None:
    """Run `mlflow server` with this command line."""
    setattr(mlflow.server, "_exec_cmd", _continue_as)  # noqa: B010  it is not declared public
    cli(args=["server", *sys.argv[1:]])


def _continue_as(command: Sequence[str], *, extra_env: Mapping[str, str], **_: Any) -> NoReturn:
    """Do in this process what `[python, "-m", "uvicorn", ...]` would do in another."""
    if list(command[1:3]) != ["-m", "uvicorn"]:
        sys.exit(f"MLflow would run {command[:3]}, not uvicorn; the pinned version has changed.")
    os.environ.update(extra_env)
    uvicorn.main.main(args=list(command[3:]))
    sys.exit(0)


if __name__ == "__main__":
    main()
