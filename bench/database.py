"""A PostgreSQL of a bench's own, and processes with Django in them that work inside it."""

import json
import os
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from controlplane.cli.stack import ROOT
from controlplane.drivers.local import postgres


@contextmanager
def database(home: Path) -> Iterator[None]:
    """Run a PostgreSQL that keeps what it is told, as the embedded stack does."""
    command = [sys.executable, "-m", "controlplane.drivers.local.postgres", "--home", str(home)]
    with (home / "postgres.log").open("wb") as log:
        server = subprocess.Popen(command, cwd=ROOT, stdout=log, stderr=log)
    try:
        if not postgres.wait_until_accepting(home, seconds=60):
            raise RuntimeError("PostgreSQL did not start.")
        postgres.ensure_database(home, postgres.NAME)
        run(home, "manage.py", "migrate", "--verbosity", "0")
        yield
    finally:
        server.terminate()
        server.wait()


def work(home: Path, module: str, *arguments: object) -> dict[str, Any]:
    """Return what `module` printed last, as JSON; it works in a process of its own."""
    said = run(home, "-m", module, *map(str, arguments))
    return dict(json.loads(said.strip().splitlines()[-1]))


def run(home: Path, *arguments: str) -> str:
    """Run Python with these arguments inside the database, and return what it printed."""
    env = {
        "MODELYARD_HOME": str(home),
        "DATABASE_URL": postgres.database_url(home),
        "DJANGO_SETTINGS_MODULE": "controlplane.project.settings.dev",
        "PATH": os.environ["PATH"],
        "PYTHONWARNINGS": "ignore",
    }
    done = subprocess.run(
        [sys.executable, *arguments], cwd=ROOT, env=env, stdout=subprocess.PIPE, text=True
    )
    if done.returncode:
        raise RuntimeError(f"{' '.join(arguments)} failed.")
    return done.stdout
