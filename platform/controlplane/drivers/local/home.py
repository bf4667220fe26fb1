"""The one folder that holds the embedded stack's state, and what identifies it.

postgres/ valkey/ mlflow/ envoy/     what the parts keep
blobs/ bundles/ uploads/             what people gave and workers made
run/                                 sockets, locks, the supervisor's files
logs/PART.log                        one readable log per part
secrets/                             for the owner's eyes only
stack.env                            the running stack's addresses, read by the settings
"""

import os
import secrets
from collections.abc import Mapping
from pathlib import Path

from controlplane.drivers.local import places

FOLDERS = ("run", "run/servers", "logs", "valkey", "mlflow/artifacts", "envoy")


class Home:
    """The folders, secrets and files of one stack."""

    def __init__(self, path: Path) -> None:
        """Make the folders and the identity; what is there already stays."""
        self.path = path
        path.mkdir(parents=True, exist_ok=True)
        self.short = places.make_short(path)
        for name in FOLDERS:
            (path / name).mkdir(parents=True, exist_ok=True)
        (path / "secrets").mkdir(mode=0o700, exist_ok=True)
        self.instance = self.secret("instance", length=12)

    @property
    def run(self) -> Path:
        """Where sockets, locks and the supervisor's files lie, in a form short enough."""
        return self.short / "run"

    @property
    def data(self) -> Path:
        """PostgreSQL's data folder."""
        return self.path / "postgres" / "data"

    def log(self, part: str) -> Path:
        """Return where a part's output goes."""
        return self.path / "logs" / f"{part}.log"

    def secret(self, name: str, *, length: int = 50) -> str:
        """Return the secret `name`; make it the first time."""
        path = self.path / "secrets" / name
        if not path.exists():
            self.keep_secret(name, secrets.token_hex(length // 2))
        return path.read_text().strip()

    def keep_secret(self, name: str, value: str) -> Path:
        """Write a secret, whole or not at all, for its owner only."""
        path = self.path / "secrets" / name
        fresh = path.with_name(f".{name}.new")
        with os.fdopen(os.open(fresh, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600), "w") as file:
            file.write(f"{value}\n")
        fresh.rename(path)
        return path

    def write_settings(self, settings: Mapping[str, str]) -> None:
        """Write `stack.env`, from which every other process of this home learns its settings."""
        lines = [f"{name}={value}" for name, value in sorted(settings.items())]
        text = "# Written by `manage.py up`; the environment wins over this file.\n"
        fresh = self.path / ".stack.env.new"
        fresh.write_text(text + "\n".join(lines) + "\n")
        fresh.chmod(0o600)
        fresh.rename(self.path / "stack.env")
