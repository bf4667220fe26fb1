"""Triton's environment: the same for every model, made once per machine."""

import shutil
import sys
import sysconfig
from pathlib import Path

from workers.runtimes import environments
from workers.runtimes.oip import problem
from workers.runtimes.oip.problem import Problem

HERE = Path(__file__).parent
STUB = "triton_python_backend_stub"


def make(home: Path) -> Path:
    """Return the environment's folder, made if need be.

    Raises:
        Problem: Its packages cannot be installed, or Triton does not run here.
    """
    if sys.platform != "linux":
        raise _not_here(f"Triton's wheel is for Linux, and this is {sys.platform}.")
    return environments.make(
        home,
        name="triton",
        requirements=[HERE / "requirements.txt"],
        alone=[HERE / "requirements-server.txt"],
        finish=_place_stub,
    )


def server(folder: Path) -> Path:
    """Return Triton's own folder in the environment at `folder`."""
    return environments.packages(folder) / "pytriton" / "tritonserver"


def libraries(folder: Path) -> list[Path]:
    """Return where the loader finds Triton's libraries, and the libpython of this interpreter.

    Without the second it would take the system's, and the backend would fail at its first step.
    """
    own = Path(sys.base_prefix) / "lib"
    return [environments.packages(folder) / "nvidia_pytriton.libs", own]


def _place_stub(folder: Path) -> None:
    """Put the Python backend's process for this version of Python where Triton looks for it."""
    version = sysconfig.get_python_version()
    stub = server(folder) / "python_backend_stubs" / version / STUB
    if not stub.is_file():
        raise _not_here(f"Triton's wheel has no Python backend for Python {version}.")
    shutil.copy(stub, server(folder) / "backends" / "python" / STUB)


def _not_here(words: str) -> Problem:
    return Problem(
        "Triton does not run on this machine.",
        code="environment.triton_unsupported",
        remedy="Serve the variant with the runtime onnxruntime.",
        words=words,
        status=problem.BAD_DATA,
    )
