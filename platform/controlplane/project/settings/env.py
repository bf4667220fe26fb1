"""Every setting that comes from outside, parsed in one place.

`read` is a pure function from a mapping to a frozen `Env`; it refuses what is unknown, malformed
or unsafe. A value may come from a file: `NAME_FILE=/run/secrets/x` for `NAME`. On one machine,
`manage.py up` writes what it started to `MODELYARD_HOME/stack.env`, which fills the gaps here.
"""

import os
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import unquote, urlsplit

ROOT = Path(__file__).resolve().parents[4]


class BadSetting(Exception):
    """A setting is missing, unknown, malformed or unsafe; the message names it and the mend."""


KNOWN = {
    "MODELYARD_HOME", "MODELYARD_MODE", "MODELYARD_SECRET_KEY", "MODELYARD_HOSTS",
    "MODELYARD_PUBLIC_URL", "MODELYARD_LOG", "MODELYARD_INSTANCE", "MODELYARD_TIME_ZONE",
    "MODELYARD_UPLOAD_LIMIT", "MODELYARD_URL", "MODELYARD_TOKEN", "MODELYARD_DEMO_PASSWORD",
    "MODELYARD_SUPERVISOR", "MODELYARD_ENVOY_ADMIN", "MODELYARD_SERVING_URL",
    "MODELYARD_TRITON", "MODELYARD_PART", "MODELYARD_GROUP",
}  # fmt: skip
FROM_FILES = ("MODELYARD_SECRET_KEY", "DATABASE_URL", "BROKER_URL", "MLFLOW_URL", "S3")


@dataclass(frozen=True)
class Env:
    """The settings of one process.

    Attributes:
        home: The one folder that holds the embedded stack's state.
        mode: "dev" (embedded, on one machine) or "production".
        secret_key: Django's signing key.
        hosts: Host names the web answers to.
        public_url: How browsers and clients reach the web, without a trailing slash.
        serving_url: How callers reach the endpoints, without a trailing slash.
        database: Django's database dictionary, made from DATABASE_URL.
        broker_url: Celery's broker.
        mlflow_url: The MLflow server behind us; "" when there is none.
        s3: A bucket for blobs and bundles, "s3://bucket/prefix"; "" for folders below `home`.
        log: "console" or "json".
        upload_limit: The largest upload, in bytes.
        supervisor: The control socket of the process supervisor on this machine.
        envoy_admin: Envoy's admin address, "http://127.0.0.1:PORT".
    """

    home: Path
    mode: str
    secret_key: str
    hosts: tuple[str, ...]
    public_url: str
    serving_url: str
    database: dict[str, object]
    broker_url: str
    mlflow_url: str
    s3: str
    log: str
    upload_limit: int
    supervisor: str
    envoy_admin: str


def read(environ: Mapping[str, str]) -> Env:
    """Parse `environ`.

    Raises:
        BadSetting: With the name, the value and the mend.
    """
    values = dict(environ)
    home = Path(values.get("MODELYARD_HOME") or ROOT / ".modelyard").resolve()
    values = {**_stack_file(home), **_with_secrets(values)}
    unknown = sorted(n for n in values if n.startswith("MODELYARD_") and n not in KNOWN)
    if unknown:
        raise BadSetting(f"{unknown[0]} is not a setting of Modelyard; see docs/settings.md.")
    mode = _one_of(values, "MODELYARD_MODE", ("dev", "production"))
    secret = values.get("MODELYARD_SECRET_KEY", "")
    hosts = tuple(h for h in values.get("MODELYARD_HOSTS", "").split(",") if h)
    if mode == "production":
        if len(secret) < 50:
            raise BadSetting(
                "MODELYARD_SECRET_KEY has fewer than 50 characters; "
                "make one with `openssl rand -hex 32`."
            )
        if not hosts or "*" in hosts:
            raise BadSetting("MODELYARD_HOSTS must name the host names that the web answers to.")
        for name in ("DATABASE_URL", "BROKER_URL"):
            if not values.get(name):
                raise BadSetting(f"{name} is missing.")
    return Env(
        home=home,
        mode=mode,
        secret_key=secret or "only-for-development-" + "0" * 40,
        hosts=hosts or ("127.0.0.1", "localhost", "[::1]", "testserver"),
        public_url=_url(values, "MODELYARD_PUBLIC_URL", "http://127.0.0.1:8000"),
        serving_url=_url(values, "MODELYARD_SERVING_URL", "http://127.0.0.1:8080"),
        database=_database(values.get("DATABASE_URL") or "postgresql:///modelyard"),
        broker_url=values.get("BROKER_URL", "redis://127.0.0.1:6379/0"),
        mlflow_url=values.get("MLFLOW_URL", "").rstrip("/"),
        s3=values.get("S3", ""),
        log=_one_of(values, "MODELYARD_LOG", ("console", "json")),
        upload_limit=_bytes(values, "MODELYARD_UPLOAD_LIMIT", 5 * 1024**3),
        supervisor=values.get("MODELYARD_SUPERVISOR", str(home / "run" / "supervisor.sock")),
        envoy_admin=values.get("MODELYARD_ENVOY_ADMIN", "").rstrip("/"),
    )


def _stack_file(home: Path) -> dict[str, str]:
    path = home / "stack.env"
    try:
        lines = path.read_text().splitlines()
    except OSError:
        return {}
    pairs = (line.partition("=") for line in lines if "=" in line and not line.startswith("#"))
    return {name.strip(): value.strip() for name, _, value in pairs}


def _with_secrets(values: Mapping[str, str]) -> dict[str, str]:
    """Return `values` with every NAME_FILE replaced by the NAME that the file holds."""
    found = dict(values)
    for name in FROM_FILES:
        if path := found.pop(f"{name}_FILE", ""):
            found[name] = _secret(name, path)
    return found


def _secret(name: str, path: str) -> str:
    try:
        return Path(path).read_text().strip()
    except OSError as error:
        raise BadSetting(f"{name}_FILE={path} cannot be read: {error.strerror}.") from error


def _one_of(values: Mapping[str, str], name: str, allowed: tuple[str, ...]) -> str:
    value = values.get(name) or allowed[0]
    if value not in allowed:
        raise BadSetting(f"{name}={value} is unknown; it must be one of {', '.join(allowed)}.")
    return value


def _url(values: Mapping[str, str], name: str, default: str) -> str:
    value = (values.get(name) or default).rstrip("/")
    if urlsplit(value).scheme not in ("http", "https"):
        raise BadSetting(f"{name}={value} is not an http or https address.")
    return value


def _bytes(values: Mapping[str, str], name: str, default: int) -> int:
    value = values.get(name) or str(default)
    if not value.isdigit() or int(value) < 1:
        raise BadSetting(f"{name}={value} is not a number of bytes.")
    return int(value)


def _database(url: str) -> dict[str, object]:
    parts = urlsplit(url)
    if parts.scheme not in ("postgresql", "postgres"):
        raise BadSetting(
            f"DATABASE_URL begins with {parts.scheme!r}; Modelyard needs postgresql://."
        )
    query = dict(pair.partition("=")[::2] for pair in parts.query.split("&") if pair)
    return {
        "ENGINE": "django.db.backends.postgresql",
        "NAME": parts.path.lstrip("/") or "modelyard",
        "USER": unquote(parts.username or ""),
        "PASSWORD": unquote(parts.password or ""),
        "HOST": unquote(query.get("host", "") or parts.hostname or ""),
        "PORT": str(parts.port or query.get("port", "")),
    }


def current() -> Env:
    """Return the settings of this process."""
    return read(os.environ)
