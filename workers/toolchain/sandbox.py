"""The walls around a build: whatever a model's bytes make a process do stays in its job folder.

Where the kernel allows it (as root, or by unprivileged user namespaces) the steps get their own
mount, network, process and IPC namespaces: no interface is up, everything outside the job folder
is read-only, the product's own state is hidden, and nothing started inside outlives the job. What
the kernel refuses is said in the log, and Python's own sockets are blocked instead.
"""

import ctypes
import os
import pwd
import resource
import signal
import socket
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any, NoReturn

from workers.toolchain.spec import Limits

CLONE_NEWNS, CLONE_NEWIPC, CLONE_NEWUSER = 0x00020000, 0x08000000, 0x10000000
CLONE_NEWPID, CLONE_NEWNET = 0x20000000, 0x40000000
MS_RDONLY, MS_NOSUID, MS_NODEV, MS_NOEXEC = 1, 2, 4, 8
MS_REMOUNT, MS_BIND, MS_REC, MS_PRIVATE = 32, 4096, 16384, 1 << 18
MOUNT_ATTR_RDONLY, AT_RECURSIVE, AT_FDCWD, SYS_MOUNT_SETATTR = 1, 0x8000, -100, 442
PR_SET_PDEATHSIG, PR_SET_NO_NEW_PRIVS, PR_CAPBSET_DROP = 1, 38, 24
CAPABILITY_VERSION_3 = 0x20080522
OOM_ADJ = Path("/proc/self/oom_score_adj")
SHARED_MEMORY = "/dev/shm"  # noqa: S108

_libc = ctypes.CDLL(None, use_errno=True)


class NetworkIsCut(OSError):
    """A model tried to open a socket during its build."""

    def __init__(self) -> None:
        """Say what is so."""
        super().__init__("a build has no network, and this model tried to use it")


class _MountAttributes(ctypes.Structure):
    _fields_ = (
        ("set", ctypes.c_uint64),
        ("clear", ctypes.c_uint64),
        ("propagation", ctypes.c_uint64),
        ("namespace", ctypes.c_uint64),
    )


def enter(job: Path, out: Path, limits: Limits, *, hide: Path | None) -> list[str]:
    """Put this process inside the walls, and return what could not be walled off.

    Call it in a process of its own with one thread, before anything is loaded. Where process
    namespaces are allowed the caller continues in a new process; the old one waits for it and
    ends as it ended, and never returns from here.

    Args:
        job: The job's folder, which can be read.
        out: The one folder that can be written.
        limits: What the steps may use.
        hide: A folder whose content, but for `job`, disappears (the product's own state).

    Returns:
        Sentences for the log; empty when every wall stands.
    """
    _die_with_parent()
    weak = _namespaces(job, out, hide)
    _limit(limits)
    block_sockets()
    return weak


def block_sockets() -> None:
    """Make Python refuse to open any socket, so that a model's attempt is named as what it is.

    The namespace is the wall; this is the sign on it, and the wall's stand-in where there is none.
    """

    class Blocked(socket.socket):
        def __init__(self, *_: Any, **__: Any) -> None:
            raise NetworkIsCut

    def refuse(*_: Any, **__: Any) -> NoReturn:
        raise NetworkIsCut

    socket.socket = Blocked  # type: ignore[misc]
    socket.create_connection = refuse
    socket.getaddrinfo = refuse


def _namespaces(job: Path, out: Path, hide: Path | None) -> list[str]:
    error = _unshare()
    if error:
        return [
            f"The kernel refused separate namespaces ({error}), so the network could not be cut; "
            "Python's sockets are blocked instead."
        ]
    _become_init()
    weak = []
    walls: list[tuple[str, Callable[[], None]]] = [
        ("file system", lambda: _seal(job, out, hide)),
        ("/proc", _own_proc),
    ]
    for wall, build in walls:
        try:
            build()
        except OSError as refused:
            weak.append(f"The {wall} could not be walled off ({refused}).")
    _drop_capabilities()
    return weak


def _unshare() -> str:
    """Leave the machine's namespaces; return why not, or nothing."""
    flags = CLONE_NEWNS | CLONE_NEWNET | CLONE_NEWPID | CLONE_NEWIPC
    uid, gid = os.geteuid(), os.getegid()
    if uid == 0 and _libc.unshare(flags) == 0:
        return ""
    if _libc.unshare(flags | CLONE_NEWUSER) != 0:
        return os.strerror(ctypes.get_errno())
    Path("/proc/self/setgroups").write_text("deny")
    Path("/proc/self/uid_map").write_text(f"{uid} {uid} 1")
    Path("/proc/self/gid_map").write_text(f"{gid} {gid} 1")
    return ""


def _become_init() -> None:
    """Fork twice: a first process that reaps and ends with the job, and the job itself."""
    if child := os.fork():
        _end_as(child)
    _die_with_parent()
    if child := os.fork():
        _end_as(child)
    _die_with_parent()


def _end_as(child: int) -> NoReturn:
    """Wait for `child`, reaping whatever else ends, and end as it did."""
    while True:
        try:
            pid, status = os.wait()
        except ChildProcessError:
            os._exit(1)
        if pid == child:
            code = os.waitstatus_to_exitcode(status)
            os._exit(code if code >= 0 else 128 - code)


def _seal(job: Path, out: Path, hide: Path | None) -> None:
    """Make everything read-only but `out`, and hide what lies beside `job`."""
    _mount("none", "/", None, MS_REC | MS_PRIVATE)
    handle = os.open(job, os.O_RDONLY | os.O_DIRECTORY)
    for folder in [hide, *_secrets()]:
        if folder is not None and folder.is_dir():
            _mount("tmpfs", str(folder), "tmpfs", MS_NOSUID | MS_NODEV, "size=64k,mode=755")
    job.mkdir(parents=True, exist_ok=True)
    _mount(f"/proc/self/fd/{handle}", str(job), None, MS_BIND)
    os.close(handle)
    _mount(str(out), str(out), None, MS_BIND)
    _mount("tmpfs", SHARED_MEMORY, "tmpfs", MS_NOSUID | MS_NODEV | MS_NOEXEC)
    _read_only("/")
    for writable in (str(out), SHARED_MEMORY):
        _mount_attributes(writable, 0, clear=MOUNT_ATTR_RDONLY)
    os.chdir(out)


def _secrets() -> list[Path]:
    """Return where the account that runs the product usually keeps keys."""
    home = Path(pwd.getpwuid(os.geteuid()).pw_dir)
    return [home / name for name in (".ssh", ".aws", ".kube", ".gnupg", ".docker", ".config")]


def _own_proc() -> None:
    _mount("proc", "/proc", "proc", MS_NOSUID | MS_NODEV | MS_NOEXEC)


def _mount(source: str, target: str, kind: str | None, flags: int, data: str = "") -> None:
    done = _libc.mount(
        source.encode(),
        target.encode(),
        kind.encode() if kind else None,
        ctypes.c_ulong(flags),
        data.encode() or None,
    )
    if done != 0:
        number = ctypes.get_errno()
        raise OSError(number, f"mounting {target}: {os.strerror(number)}")


def _read_only(target: str) -> None:
    _mount_attributes(target, AT_RECURSIVE, set=MOUNT_ATTR_RDONLY)


def _mount_attributes(target: str, flags: int, **change: int) -> None:
    attributes = _MountAttributes(**change)
    done = _libc.syscall(
        SYS_MOUNT_SETATTR,
        AT_FDCWD,
        target.encode(),
        flags,
        ctypes.byref(attributes),
        ctypes.sizeof(attributes),
    )
    if done != 0:
        number = ctypes.get_errno()
        raise OSError(number, f"protecting {target}: {os.strerror(number)}")


def _die_with_parent() -> None:
    _libc.prctl(PR_SET_PDEATHSIG, signal.SIGKILL, 0, 0, 0)


def _drop_capabilities() -> None:
    """Give up every power over the walls, for good."""
    for capability in range(64):
        _libc.prctl(PR_CAPBSET_DROP, capability, 0, 0, 0)
    _libc.prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0)
    header = (ctypes.c_uint32 * 2)(CAPABILITY_VERSION_3, 0)
    nothing = (ctypes.c_uint32 * 6)()
    _libc.capset(ctypes.byref(header), ctypes.byref(nothing))


def _limit(limits: Limits) -> None:
    _set_limit(resource.RLIMIT_CPU, limits.cpu_seconds)
    _set_limit(resource.RLIMIT_FSIZE, limits.file_bytes)
    _set_limit(resource.RLIMIT_NOFILE, limits.open_files)
    _set_limit(resource.RLIMIT_CORE, 0)
    _set_limit(resource.RLIMIT_AS, limits.memory_bytes)
    os.nice(5)
    try:  # when the machine runs out of memory, a build goes first
        OOM_ADJ.write_text("700")
    except OSError as refused:
        print(f"(not first in line when memory runs out: {refused})", file=sys.stderr)


def _set_limit(kind: int, value: int) -> None:
    hard = resource.getrlimit(kind)[1]
    bound = value if hard == resource.RLIM_INFINITY else min(value, hard)
    resource.setrlimit(kind, (bound, bound))
