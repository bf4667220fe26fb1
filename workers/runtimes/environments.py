"""Python environments of servers, below MODELYARD_HOME/python, named by what is in them.

An environment appears complete or not at all, is made once however many ask for it at a time,
and is never changed afterwards. Packages are hard links into the installer's cache, so a second
environment with the same packages costs next to nothing.
"""

import fcntl
import hashlib
import os
import platform
import re
import shutil
import subprocess
import sys
import sysconfig
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from datetime import datetime, timedelta
from pathlib import Path

import psutil
import uv

from workers.runtimes.oip import problem
from workers.runtimes.oip.problem import Problem

LINES = 12  # of the installer's own words
SOURCES = Path(__file__).resolve().parents[2]  # the folder that holds `workers`
NAME = re.compile(r"[a-z]+-[0-9a-f]{20}")  # of what is made here
PATHS = ("PYTHONPATH", "VIRTUAL_ENV", "LD_LIBRARY_PATH", "PATH")
UNUSED_FOR = timedelta(days=14)
SHARED = ("workers/__init__.py", "workers/runtimes/__init__.py")


def make(
    home: Path,
    *,
    name: str,
    requirements: Sequence[Path],
    alone: Sequence[Path] = (),
    finish: Callable[[Path], None] = lambda folder: None,
) -> Path:
    """Return the folder of the environment with exactly `requirements`, made if need be.

    Args:
        home: MODELYARD_HOME.
        name: The first part of the folder's name.
        requirements: Requirement files; all of them are installed together.
        alone: Requirement files whose packages are installed without their dependencies.
        finish: Changes the new environment before anybody sees it.

    Raises:
        Problem: The installer refused; its own words are in it.
    """
    folder = home / "python" / f"{name}-{_key([*requirements, *alone])}"
    _once(folder, lambda draft: _install(home, draft, requirements, alone, finish))
    return folder


def python(folder: Path) -> Path:
    """Return the interpreter of the environment at `folder`."""
    return folder / "bin" / "python"


def packages(folder: Path) -> Path:
    """Return where the packages of the environment at `folder` lie."""
    version = sysconfig.get_python_version()
    return folder / "lib" / f"python{version}" / "site-packages"


def code(home: Path, parts: Sequence[str]) -> Path:
    """Return a folder for PYTHONPATH with nothing but some of our server modules in it.

    Servers run in environments that must not see the rest of our packages, and keep the code that
    they were started with when ours is upgraded.

    Args:
        home: MODELYARD_HOME.
        parts: Folders below `workers/runtimes`.
    """
    listed = [SOURCES / path for path in SHARED]
    for part in parts:
        listed += sorted((SOURCES / "workers" / "runtimes" / part).glob("*.py"))
    folder = home / "python" / f"code-{_digest(listed)}"
    _once(folder, lambda draft: _copy(listed, draft))
    return folder


def drop_unused(home: Path, *, now: datetime, after: timedelta = UNUSED_FOR) -> list[str]:
    """Drop environments that nobody asked for in `after` and that no process runs in.

    A server that is started again asks again, and its environment is made anew; so a mistake
    here costs time, not service. What is dropped vanishes by rename first: nobody finds half.

    Returns:
        The names of what was dropped.
    """
    old = [f for f in _mine(home) if f.stat().st_mtime < (now - after).timestamp()]
    if not old:
        return []
    running, dropped = _places_of_processes(), []
    for folder in old:
        if any(str(folder) in place for place in running):
            continue
        with _locked(folder):
            if folder.stat().st_mtime >= (now - after).timestamp():
                continue  # asked for since
            going = folder.with_name(f".{folder.name}.{os.getpid()}.making")
            folder.rename(going)
        shutil.rmtree(going, ignore_errors=True)
        dropped.append(folder.name)
    return dropped


def _mine(home: Path) -> list[Path]:
    root = home / "python"
    found = root.iterdir() if root.is_dir() else iter(())
    return sorted(path for path in found if NAME.fullmatch(path.name) and path.is_dir())


def _places_of_processes() -> list[str]:
    """Return command, PYTHONPATH and libraries' path of every process that may be looked at."""
    places = []
    for process in psutil.process_iter():
        try:
            environment = process.environ()
            words = [*process.cmdline(), *(environment.get(name, "") for name in PATHS)]
        except psutil.Error:
            continue
        places.append("\n".join(words))
    return places


def _once(folder: Path, fill: Callable[[Path], None]) -> None:
    """Fill `folder` unless it is there; it appears by rename, under a lock."""
    folder.parent.mkdir(parents=True, exist_ok=True)
    with _locked(folder):
        if folder.is_dir():
            os.utime(folder)  # asked for now: `drop_unused` leaves it alone
            return
        for left in folder.parent.glob(f".{folder.name}.*.making"):
            shutil.rmtree(left, ignore_errors=True)  # by a process that was killed
        # Named by process: the installer of one that was killed may still be writing to its own.
        draft = folder.with_name(f".{folder.name}.{os.getpid()}.making")
        try:
            draft.mkdir()
            fill(draft)
            draft.rename(folder)
        finally:
            shutil.rmtree(draft, ignore_errors=True)


def _copy(sources: Sequence[Path], draft: Path) -> None:
    for path in sources:
        target = draft / path.relative_to(SOURCES)
        target.parent.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(path, target)


def _install(
    home: Path,
    draft: Path,
    requirements: Sequence[Path],
    alone: Sequence[Path],
    finish: Callable[[Path], None],
) -> None:
    _run(home, ["venv", "--relocatable", "--python", sys.executable, str(draft)])
    install = ["pip", "install", "--python", str(python(draft))]
    _run(home, [*install, *_files(requirements)])
    if alone:
        _run(home, [*install, "--no-deps", *_files(alone)])
    finish(draft)


def _files(requirements: Sequence[Path]) -> list[str]:
    return [argument for path in requirements for argument in ("-r", str(path))]


def _run(home: Path, arguments: list[str]) -> None:
    done = subprocess.run(  # noqa: S603
        [uv.find_uv_bin(), *arguments, "--no-progress", "--color=never"],
        env=os.environ | _cache(home),
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        stdin=subprocess.DEVNULL,
        text=True,
        check=False,
    )
    if done.returncode:
        raise _refused(done.stdout)


def _cache(home: Path) -> dict[str, str]:
    """Say where packages are cached: beside the environments, or they could not be linked."""
    if "UV_CACHE_DIR" in os.environ:
        return {}
    usual = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache")
    above = next(path for path in (usual, *usual.parents) if path.exists())
    if os.access(above, os.W_OK) and above.stat().st_dev == home.stat().st_dev:
        return {}
    return {"UV_CACHE_DIR": str(home / "python" / "cache")}


UNREACHABLE = ("failed to fetch", "error sending request", "dns error", "timed out", "connect")


def _refused(output: str) -> Problem:
    words = "\n".join(output.strip().splitlines()[-LINES:])
    if "no space left" in output.lower():
        return _problem(
            "The disk is full, so the environment of the model could not be made.",
            code="environment.disk_full",
            remedy="Free some space on the disk that holds MODELYARD_HOME.",
            words=words,
            status=problem.TRY_AGAIN,
        )
    if any(sign in output.lower() for sign in UNREACHABLE):
        return _problem(
            "The package index did not answer, so the environment of the model could not be made.",
            code="environment.index_unreachable",
            remedy="It is tried again. On a machine without the internet, set UV_DEFAULT_INDEX to "
            "an index that it reaches.",
            words=words,
            status=problem.TRY_AGAIN,
        )
    return _problem(
        "The packages that the model needs cannot be installed together.",
        code="environment.not_installable",
        remedy="Register the version again with requirements that can be installed, or serve "
        "its ONNX variant.",
        words=words,
        status=problem.BAD_DATA,
    )


def _problem(sentence: str, *, code: str, remedy: str, words: str, status: int) -> Problem:
    return Problem(sentence, code=code, remedy=remedy, words=words, status=status)


def _key(requirements: Sequence[Path]) -> str:
    # The installed packages differ between versions of Python and between machines.
    here = f"{platform.python_version()} {sysconfig.get_platform()} {platform.libc_ver()}"
    return _digest(requirements, salt=here)


def _digest(files: Sequence[Path], *, salt: str = "") -> str:
    seen = hashlib.sha256(salt.encode())
    for path in files:
        seen.update(hashlib.sha256(path.name.encode() + b"\0" + path.read_bytes()).digest())
    return seen.hexdigest()[:20]


@contextmanager
def _locked(folder: Path) -> Iterator[None]:
    # The lock's file stays: removing it would let two processes hold "the" lock.
    with folder.with_name(f".{folder.name}.lock").open("w") as stream:
        fcntl.flock(stream, fcntl.LOCK_EX)
        yield
