"""Every setting that comes from outside, parsed in one place.

`read` is a pure function from a mapping to a frozen `Env`; it refuses what is unknown, malformed
or unsafe. A value may come from a file: `NAME_FILE=/run/secrets/x` for `NAME`. On one machine,
`manage.py up` writes what it started to `MODELYARD_HOME/stack.env`, which fills the gaps here.
"""

import os
import re
from collections.abc import Mapping
from dataclasses import dataclass
from email.utils import parseaddr
from pathlib import Path
from typing import Any
from urllib.parse import parse_qsl, unquote, urlsplit

ROOT = Path(__file__).resolve().parents[4]


class BadSetting(Exception):
    """A setting is missing, unknown, malformed or unsafe; the message names it and the mend."""


KNOWN = {
    "MODELYARD_HOME", "MODELYARD_MODE", "MODELYARD_SECRET_KEY", "MODELYARD_HOSTS",
    "MODELYARD_PUBLIC_URL", "MODELYARD_LOG", "MODELYARD_INSTANCE",
    "MODELYARD_UPLOAD_LIMIT", "MODELYARD_URL", "MODELYARD_TOKEN", "MODELYARD_DEMO_PASSWORD",
    "MODELYARD_SUPERVISOR", "MODELYARD_ENVOY_ADMIN", "MODELYARD_SERVING_URL",
    "MODELYARD_AUTO_BUILD", "MODELYARD_TRITON", "MODELYARD_PART", "MODELYARD_GROUP",
    "MODELYARD_KEY", "MODELYARD_VERSION", "MODELYARD_MAIL_FROM", "MODELYARD_NOTIFY_PRIVATE",
    "MODELYARD_AUDIT_DAYS", "MODELYARD_PROMETHEUS_URL", "MODELYARD_METRIC_JOBS",
}  # fmt: skip
BROKERS = ("redis", "rediss", "redis+socket", "memory")
DATABASE_OPTIONS = {
    "sslmode", "sslrootcert", "sslcert", "sslkey", "application_name", "target_session_attrs",
}  # fmt: skip
LEAST_SECRET = 50  # characters
LEAST_AUDIT_DAYS = 183  # six months: EU AI Act, Articles 19 and 26; a trigger holds it too
FROM_FILES = (
    "MODELYARD_SECRET_KEY", "DATABASE_URL", "BROKER_URL", "MLFLOW_URL", "S3", "SMTP_URL",
    "MODELYARD_PROMETHEUS_URL",
)  # fmt: skip


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
        envoy_admin: Envoy's admin address, "unix:///PATH" or "http://HOST:PORT".
        instance: What every process of the running stack carries in its environment.
        auto_build: Whether new versions are built without being asked.
        audit_days: How long the database keeps an entry of the ledger; None for ever.
        replica_price: What one replica costs an hour, and its currency; None when nobody says.
        smtp_url: The server that takes our mail, "smtp://NAME:PASSWORD@HOST:PORT"; "" for none.
        mail_from: Whom our mail is from.
        notify_private: Whether messages may go to addresses of the own machine and network, and
            metrics be asked of them.
        prometheus_url: Where metrics of rollouts are asked for; "" when there is none.
        metric_jobs: The folder of programs that print a metric; "" when there is none.
    """

    home: Path
    mode: str
    secret_key: str
    hosts: tuple[str, ...]
    public_url: str
    serving_url: str
    database: dict[str, Any]
    broker_url: str
    mlflow_url: str
    s3: str
    log: str
    upload_limit: int
    supervisor: str
    envoy_admin: str
    instance: str
    auto_build: bool
    audit_days: int | None
    replica_price: tuple[float, str] | None
    smtp_url: str
    mail_from: str
    notify_private: bool
    prometheus_url: str
    metric_jobs: str


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
    if mode == "production":
        _refuse_unsafe(values)
    return Env(
        home=home,
        mode=mode,
        secret_key=values.get("MODELYARD_SECRET_KEY") or "only-for-development-" + "0" * 40,
        hosts=_hosts(values) or ("127.0.0.1", "localhost", "[::1]", "testserver"),
        public_url=_url(values, "MODELYARD_PUBLIC_URL", "http://127.0.0.1:8000"),
        serving_url=_url(values, "MODELYARD_SERVING_URL", "http://127.0.0.1:8080"),
        database=_database(values.get("DATABASE_URL") or "postgresql:///modelyard"),
        broker_url=_address(values, "BROKER_URL", BROKERS) or "redis://127.0.0.1:6379/0",
        mlflow_url=_address(values, "MLFLOW_URL", ("http", "https")),
        s3=_address(values, "S3", ("s3",)),
        log=_one_of(values, "MODELYARD_LOG", ("console", "json")),
        upload_limit=_bytes(values, "MODELYARD_UPLOAD_LIMIT", 5 * 1024**3),
        supervisor=values.get("MODELYARD_SUPERVISOR", str(home / "run" / "supervisor.sock")),
        envoy_admin=_address(values, "MODELYARD_ENVOY_ADMIN", ("unix", "http")),
        instance=values.get("MODELYARD_INSTANCE", ""),
        auto_build=_one_of(values, "MODELYARD_AUTO_BUILD", ("on", "off")) == "on",
        audit_days=_audit_days(values),
        replica_price=_price(values, "MODELYARD_REPLICA_PRICE"),
        smtp_url=_smtp(values),
        mail_from=_mail_from(values),
        notify_private=_one_of(values, "MODELYARD_NOTIFY_PRIVATE", ("off", "on")) == "on",
        prometheus_url=_address(values, "MODELYARD_PROMETHEUS_URL", ("http", "https")),
        metric_jobs=_folder(values, "MODELYARD_METRIC_JOBS"),
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


def _refuse_unsafe(values: Mapping[str, str]) -> None:
    """Refuse what would be careless where strangers can reach us."""
    if len(values.get("MODELYARD_SECRET_KEY", "")) < LEAST_SECRET:
        raise BadSetting(
            f"MODELYARD_SECRET_KEY has fewer than {LEAST_SECRET} characters; "
            "make one with `openssl rand -hex 32`."
        )
    if not _hosts(values) or "*" in _hosts(values):
        raise BadSetting(
            "MODELYARD_HOSTS must name the host names that the web answers to, "
            "separated by commas; * is not one."
        )
    for name in ("DATABASE_URL", "BROKER_URL", "MODELYARD_PUBLIC_URL"):
        if not values.get(name):
            raise BadSetting(f"{name} is missing; production needs it.")
    if urlsplit(values["MODELYARD_PUBLIC_URL"]).scheme != "https":
        raise BadSetting(
            "MODELYARD_PUBLIC_URL must begin with https:// in production: "
            "sessions and tokens would travel in the clear."
        )


def _hosts(values: Mapping[str, str]) -> tuple[str, ...]:
    given = values.get("MODELYARD_HOSTS", "").split(",")
    return tuple(host.strip() for host in given if host.strip())


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


def _address(values: Mapping[str, str], name: str, schemes: tuple[str, ...]) -> str:
    value = values.get(name, "").rstrip("/")
    if value and urlsplit(value).scheme not in schemes:
        wanted = " or ".join(f"{scheme}://" for scheme in schemes)
        raise BadSetting(f"{name} must begin with {wanted}.")
    return value


def _folder(values: Mapping[str, str], name: str) -> str:
    """Return a folder that is there, with its links followed; "" when none is named."""
    value = values.get(name, "")
    if value and not Path(value).is_dir():
        raise BadSetting(f"{name}={value} is not a folder.")
    return str(Path(value).resolve()) if value else ""


def _smtp(values: Mapping[str, str]) -> str:
    """Return the address of the mail server; a password in it is never in a message."""
    value = _address(values, "SMTP_URL", ("smtp", "smtps"))
    if not value:
        return ""
    try:
        host, port = urlsplit(value).hostname, urlsplit(value).port
    except ValueError as error:
        raise BadSetting("SMTP_URL has a port that is not a number from 1 to 65535.") from error
    if not host or port == 0:
        raise BadSetting("SMTP_URL names no host; it is of the form smtp://HOST:PORT.")
    return value


def _mail_from(values: Mapping[str, str]) -> str:
    host = urlsplit(_url(values, "MODELYARD_PUBLIC_URL", "http://127.0.0.1:8000")).hostname
    value = values.get("MODELYARD_MAIL_FROM") or f"modelyard@{host}"
    _, address = parseaddr(value)
    if "@" not in address or not value.isprintable():
        raise BadSetting(
            f"MODELYARD_MAIL_FROM={value!r} is not a mail address; "
            "it is of the form Modelyard <modelyard@example.org>."
        )
    return value


def _bytes(values: Mapping[str, str], name: str, default: int) -> int:
    value = values.get(name) or str(default)
    if not value.isdigit() or int(value) < 1:
        raise BadSetting(f"{name}={value} is not a number of bytes.")
    return int(value)


def _price(values: Mapping[str, str], name: str) -> tuple[float, str] | None:
    value = values.get(name, "").strip()
    if not value:
        return None
    amount, _, currency = value.partition(" ")
    if not re.fullmatch(r"[0-9]{1,9}(\.[0-9]{1,9})?", amount) or not re.fullmatch(
        r"[A-Z]{3}", currency
    ):
        raise BadSetting(f"{name}={value} is not a price an hour, such as 0.12 EUR.")
    return float(amount), currency


def _audit_days(values: Mapping[str, str]) -> int | None:
    value = values.get("MODELYARD_AUDIT_DAYS") or "forever"
    if value == "forever":
        return None
    if not (value.isascii() and value.isdigit()) or int(value[:9]) < LEAST_AUDIT_DAYS:
        raise BadSetting(
            f"MODELYARD_AUDIT_DAYS={value[:40]} is less than the ledger must be kept; "
            f"say `forever` or a number of days from {LEAST_AUDIT_DAYS}, which is six months."
        )
    return int(value[:9])


def _database(url: str) -> dict[str, Any]:
    """Return Django's dictionary for a libpq address; its password is never in a message."""
    parts = urlsplit(url)
    if parts.scheme not in ("postgresql", "postgres"):
        raise BadSetting(
            f"DATABASE_URL begins with {parts.scheme!r}; Modelyard needs postgresql://."
        )
    query = dict(parse_qsl(parts.query))
    unknown = sorted(query.keys() - DATABASE_OPTIONS - {"host", "port"})
    if unknown:
        raise BadSetting(f"DATABASE_URL has the unknown option {unknown[0]!r}.")
    return {
        "ENGINE": "django.db.backends.postgresql",
        "NAME": unquote(parts.path.lstrip("/")) or "modelyard",
        "USER": unquote(parts.username or ""),
        "PASSWORD": unquote(parts.password or ""),
        "HOST": query.get("host", "") or unquote(parts.hostname or ""),
        "PORT": str(parts.port or query.get("port", "")),
        "OPTIONS": {name: query[name] for name in sorted(query.keys() & DATABASE_OPTIONS)},
    }


def blob_storage(s3: str, folder: Path) -> dict[str, object]:
    """Return Django's storage for blobs: the bucket "s3://bucket/prefix", or else `folder`.

    Credentials and endpoint are boto3's own (AWS_ACCESS_KEY_ID, AWS_ENDPOINT_URL_S3, ...).

    Raises:
        BadSetting: `s3` names no bucket.
    """
    if not s3:
        return {"BACKEND": "apps.registry.blobs.BlobFolder", "OPTIONS": {"location": str(folder)}}
    parts = urlsplit(s3)
    if parts.scheme != "s3" or not parts.netloc:
        raise BadSetting(f"S3={s3} is not of the form s3://bucket/prefix.")
    options = {
        "bucket_name": parts.netloc,
        "location": f"{parts.path.strip('/')}/blobs".lstrip("/"),
        "default_acl": None,
        "file_overwrite": True,
    }
    return {"BACKEND": "storages.backends.s3.S3Storage", "OPTIONS": options}


def current() -> Env:
    """Return the settings of this process."""
    return read(os.environ)
