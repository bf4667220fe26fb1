"""Programs on this machine as a source of numbers: each prints one as its last line.

Whoever runs Modelyard puts them into one folder; a metric names one of them, and nothing else can
be run. There is no shell: what is asked travels in the environment.

    METRIC_SIDE METRIC_REVISION METRIC_ENDPOINT METRIC_VERSION METRIC_MODEL METRIC_ENVIRONMENT
    METRIC_AT    as of when, ISO 8601

The last line is "0.031", or "0.031 1204" with of how many observations it is the mean, or "none"
for no data.
"""

import math
import os
import re
import signal
import subprocess
import tempfile
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import IO

from apps.analysis.domain.queries import Measured, Query
from controlplane.kernel.errors import Permanent, Transient

NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,63}")
SECONDS = 20.0
TAIL = 4096  # bytes of what it prints that are looked at
WORDS = 200
# What a program needs to start; our own secrets are none of its business.
PASSED_ON = ("PATH", "HOME", "LANG", "LC_ALL", "TZ", "TMPDIR")


@dataclass(frozen=True)
class MetricJobs:
    """Implements `apps.analysis.ports.MetricSource`.

    Attributes:
        folder: Where the programs are; "" when there are none.
        seconds: How long one may take.
    """

    folder: str
    seconds: float = SECONDS

    def measure(self, query: Query) -> Measured:
        """Implement `MetricSource.measure`."""
        program = self._program(query.text.strip())
        asked = {f"METRIC_{name.upper()}": v for name, v in query.target.values().items()}
        said = _run(program, {**asked, "METRIC_AT": query.at.isoformat()}, seconds=self.seconds)
        return _measured(program.name, said)

    def _program(self, name: str) -> Path:
        if not self.folder:
            raise Permanent(
                "There is no folder of metric jobs.",
                remedy="Set MODELYARD_METRIC_JOBS to one, and restart the workers.",
                code="metric_job.not_configured",
            )
        program = Path(self.folder) / name
        if not NAME.fullmatch(name) or not program.is_file() or not os.access(program, os.X_OK):
            raise Permanent(
                f"There is no metric job {name[:64]!r}.",
                remedy="Put a program of that name into the folder of metric jobs, executable.",
                code="metric_job.missing",
            )
        return program


def _run(program: Path, asked: Mapping[str, str], *, seconds: float) -> str:
    """Return the end of what a program prints; it and its children end with its time."""
    environ = {name: os.environ[name] for name in PASSED_ON if name in os.environ}
    # Files, not pipes: a child that outlives the program would hold a pipe open.
    with tempfile.TemporaryFile() as out, tempfile.TemporaryFile() as wrong:
        try:
            process = subprocess.Popen(  # noqa: S603  # a name, checked, from a folder of ours
                [str(program)], env={**environ, **asked}, cwd=program.parent,
                stdin=subprocess.DEVNULL, stdout=out, stderr=wrong, start_new_session=True,
            )  # fmt: skip
        except OSError as error:
            raise Permanent(
                f"The metric job {program.name} cannot be run: {error.strerror}.",
                remedy="Check its first line and its rights.",
                code="metric_job.cannot_run",
            ) from error
        try:
            code = process.wait(timeout=seconds)
        except subprocess.TimeoutExpired as error:
            raise Transient(
                f"The metric job {program.name} took longer than {seconds:g} s.",
                remedy="It is run again by itself; have it answer from what is prepared.",
                code="metric_job.timeout",
            ) from error
        finally:
            with suppress(ProcessLookupError):
                os.killpg(process.pid, signal.SIGKILL)
            process.wait()
        if code:
            raise Transient(
                f"The metric job {program.name} ended with {code}: {_last_line(_tail(wrong))}",
                remedy="It is run again by itself; its own words say what is wrong.",
                code="metric_job.failed",
            )
        return _tail(out)


def _tail(file: IO[bytes]) -> str:
    size = file.seek(0, os.SEEK_END)
    file.seek(max(0, size - TAIL))
    return file.read().decode("utf-8", "replace").replace("\x00", "")


def _last_line(said: str) -> str:
    lines = [line.strip() for line in said.splitlines() if line.strip()]
    return lines[-1][:WORDS] if lines else ""


def _measured(name: str, said: str) -> Measured:
    line = _last_line(said)
    words = line.split()
    if line == "none":
        return Measured(None)
    try:
        numbers = [float(word) for word in words]
    except ValueError:
        numbers = []
    if not 1 <= len(numbers) <= 2 or any(math.isinf(n) for n in numbers):
        raise Permanent(
            f"The last line of the metric job {name} is no number: {line!r}",
            remedy='Have it print "0.031", or "0.031 1204" with a count, or "none".',
            code="metric_job.no_number",
        )
    value, count = numbers[0], numbers[1] if len(numbers) == 2 else None
    if math.isnan(value) or (count is not None and not count > 0):
        return Measured(None)
    return Measured(value, count)
