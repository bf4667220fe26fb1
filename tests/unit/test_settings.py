"""What the settings take from outside, and what they refuse."""

from pathlib import Path

import pytest

from controlplane.project.settings.env import BadSetting, read

SAFE = {
    "MODELYARD_MODE": "production",
    "MODELYARD_SECRET_KEY": "k" * 64,
    "MODELYARD_HOSTS": "modelyard.example.org",
    "MODELYARD_PUBLIC_URL": "https://modelyard.example.org",
    "DATABASE_URL": "postgresql://me:p%40ss@db:5433/yard?sslmode=require",
    "BROKER_URL": "rediss://broker:6379/0",
}


@pytest.fixture
def home(tmp_path: Path) -> dict[str, str]:
    return {"MODELYARD_HOME": str(tmp_path)}


def test_an_empty_environment_is_a_developers_machine(home: dict[str, str]) -> None:
    env = read(home)
    assert (env.mode, env.public_url) == ("dev", "http://127.0.0.1:8000")
    assert env.upload_limit == 5 * 1024**3


@pytest.mark.parametrize(("given", "days"), [("forever", None), ("", None), ("183", 183)])
def test_the_ledger_is_kept_for_six_months_at_least(
    home: dict[str, str], given: str, days: int | None
) -> None:
    assert read(home | {"MODELYARD_AUDIT_DAYS": given}).audit_days == days


def test_production_takes_safe_values(home: dict[str, str]) -> None:
    env = read(home | SAFE)
    assert env.hosts == ("modelyard.example.org",)
    assert env.database == {
        "ENGINE": "django.db.backends.postgresql",
        "NAME": "yard",
        "USER": "me",
        "PASSWORD": "p@ss",
        "HOST": "db",
        "PORT": "5433",
        "OPTIONS": {"sslmode": "require"},
    }


@pytest.mark.parametrize(
    ("change", "named"),
    [
        ({"MODELYARD_COLOUR": "blue"}, "MODELYARD_COLOUR is not a setting"),
        ({"MODELYARD_MODE": "prod"}, "dev, production"),
        ({"MODELYARD_LOG": "xml"}, "console, json"),
        ({"MODELYARD_PUBLIC_URL": "ftp://x"}, "MODELYARD_PUBLIC_URL"),
        ({"MODELYARD_UPLOAD_LIMIT": "5GB"}, "not a number of bytes"),
        ({"MODELYARD_UPLOAD_LIMIT": "0"}, "not a number of bytes"),
        ({"SMTP_URL": "http://mail.example.org"}, "smtp:// or smtps://"),
        ({"MODELYARD_PROMETHEUS_URL": "prometheus:9090"}, "http:// or https://"),
        ({"MODELYARD_METRIC_JOBS": "/nowhere/at/all"}, "is not a folder"),
        ({"SMTP_URL": "smtp://"}, "names no host"),
        ({"SMTP_URL": "smtp://mail.example.org:mail"}, "SMTP_URL has a port"),
        ({"SMTP_URL": "smtp://mail.example.org:0"}, "names no host"),
        ({"MODELYARD_MAIL_FROM": "ada"}, "is not a mail address"),
        ({"MODELYARD_MAIL_FROM": "ada@x.org\nBcc: eve@x.org"}, "is not a mail address"),
        ({"MODELYARD_NOTIFY_PRIVATE": "yes"}, "off, on"),
        ({"MODELYARD_AUDIT_DAYS": "182"}, "MODELYARD_AUDIT_DAYS=182 is less"),
        ({"MODELYARD_AUDIT_DAYS": "a year"}, "`forever` or a number of days from 183"),
        ({"DATABASE_URL": "mysql://x/y"}, "needs postgresql://"),
        ({"DATABASE_URL": "postgresql:///y?ssl=on"}, "unknown option 'ssl'"),
        ({"BROKER_URL": "amqp://x"}, "BROKER_URL must begin with redis://"),
        ({"MLFLOW_URL": "mlflow:5000"}, "MLFLOW_URL must begin with http://"),
        ({"S3": "https://bucket"}, "S3 must begin with s3://"),
        ({"DATABASE_URL_FILE": "/nowhere"}, "DATABASE_URL_FILE=/nowhere cannot be read"),
    ],
)
def test_what_is_unknown_or_malformed_is_refused_by_name(
    home: dict[str, str], change: dict[str, str], named: str
) -> None:
    with pytest.raises(BadSetting, match=named.replace("(", r"\(")):
        read(home | change)


@pytest.mark.parametrize(
    ("change", "named"),
    [
        ({"MODELYARD_SECRET_KEY": "short"}, "fewer than 50"),
        ({"MODELYARD_SECRET_KEY": ""}, "fewer than 50"),
        ({"MODELYARD_HOSTS": ""}, "MODELYARD_HOSTS"),
        ({"MODELYARD_HOSTS": "*"}, "MODELYARD_HOSTS"),
        ({"MODELYARD_HOSTS": "a, *"}, "MODELYARD_HOSTS"),
        ({"DATABASE_URL": ""}, "DATABASE_URL is missing"),
        ({"BROKER_URL": ""}, "BROKER_URL is missing"),
        ({"MODELYARD_PUBLIC_URL": "http://modelyard.example.org"}, "https://"),
    ],
)
def test_production_refuses_what_would_be_unsafe(
    home: dict[str, str], change: dict[str, str], named: str
) -> None:
    with pytest.raises(BadSetting, match=named):
        read(home | SAFE | change)


def test_a_secret_may_come_from_a_file(home: dict[str, str], tmp_path: Path) -> None:
    (tmp_path / "key").write_text("s" * 60 + "\n")
    env = read(home | {"MODELYARD_SECRET_KEY_FILE": str(tmp_path / "key")})
    assert env.secret_key == "s" * 60


def test_the_stacks_own_file_fills_the_gaps_and_the_environment_wins(
    home: dict[str, str], tmp_path: Path
) -> None:
    (tmp_path / "stack.env").write_text(
        "# a comment\nMLFLOW_URL=http://127.0.0.1:5500\nBROKER_URL=redis+socket:///a?virtual_host=0\n"
    )
    env = read(home | {"MLFLOW_URL": "http://elsewhere:5000/"})
    assert env.mlflow_url == "http://elsewhere:5000"
    assert env.broker_url == "redis+socket:///a?virtual_host=0"


def test_a_password_never_shows_in_a_refusal(home: dict[str, str]) -> None:
    with pytest.raises(BadSetting) as refusal:
        read(home | {"DATABASE_URL": "mysql://me:hunter2@x/y"})
    assert "hunter2" not in str(refusal.value)
