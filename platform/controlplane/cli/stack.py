"""Start the embedded stack as a child process, know when it is ready, and stop it."""

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).resolve().parents[3]


@dataclass(frozen=True)
class Stack:
    """A running embedded stack.

    Attributes:
        home: Its folder.
        web: Where the pages and the API are.
        serving: Where predictions are answered.
        mlflow: The MLflow server itself, behind the door.
        seconds: How long it took to be ready.
    """

    home: Path
    web: str
    serving: str
    mlflow: str
    seconds: float

    @property
    def admin_password(self) -> str:
        """Return the password of the first admin, as the first start has kept it."""
        return (self.home / "secrets" / "admin-password").read_text().strip()

    def token(self, name: str) -> str:
        """Return a fresh API token of the first admin."""
        return self._manage("token", name)

    def people(self) -> dict[str, dict[str, str]]:
        """Return the people of the demonstration, with password and a fresh token each."""
        told: dict[str, dict[str, str]] = json.loads(Path(self._manage("demo_people")).read_text())
        return told

    def _manage(self, *arguments: str) -> str:
        done = subprocess.run(  # noqa: S603
            [sys.executable, "manage.py", *arguments],
            cwd=ROOT,
            env=_environment(self.home),
            capture_output=True,
            text=True,
            check=True,
        )
        return done.stdout.strip().splitlines()[-1]


@contextmanager
def running(home: Path, *, seconds: float = 120, arguments: Sequence[str] = ()) -> Iterator[Stack]:
    """Run the stack with its state in `home` while the block runs; leave nothing behind.

    Raises:
        RuntimeError: It was not ready in time; the message ends with what it said last.
    """
    ready, said = home / "ready.json", home / "up.log"
    ready.unlink(missing_ok=True)
    began = time.monotonic()
    with said.open("w") as log:
        process = subprocess.Popen(  # noqa: S603
            [sys.executable, "manage.py", "up", "--ready-file", str(ready), *arguments],
            cwd=ROOT,
            env=_environment(home),
            stdout=log,
            stderr=subprocess.STDOUT,
            start_new_session=True,
        )
    try:
        yield _wait(process, ready, said, home, began, began + seconds)
    finally:
        _stop(process)


def _environment(home: Path) -> dict[str, str]:
    """Return ours, less what would make the stack another than a new user's."""
    own = ("MODELYARD_", "DJANGO_", "DATABASE_URL", "BROKER_URL", "MLFLOW_", "S3", "SMTP_")
    kept = {name: value for name, value in os.environ.items() if not name.startswith(own)}
    return {**kept, "MODELYARD_HOME": str(home)}


def _wait(
    process: "subprocess.Popen[bytes]",
    ready: Path,
    said: Path,
    home: Path,
    began: float,
    deadline: float,
) -> Stack:
    while not ready.exists():
        if process.poll() is not None or time.monotonic() > deadline:
            last = "\n".join(said.read_text().splitlines()[-15:])
            raise RuntimeError(f"The stack was not ready; it said last:\n{last}")
        time.sleep(0.1)
    facts = json.loads(ready.read_text())
    seconds = round(time.monotonic() - began, 2)
    return Stack(home, facts["web"], facts["serving"], facts["mlflow"], seconds)


def _stop(process: "subprocess.Popen[bytes]") -> None:
    if process.poll() is None:
        process.send_signal(signal.SIGTERM)
    try:
        process.wait(60)
    except subprocess.TimeoutExpired:
        os.killpg(process.pid, signal.SIGKILL)
        process.wait(10)
