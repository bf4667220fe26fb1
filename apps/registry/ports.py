"""What the registry needs from outside: a store that MLflow's clients load models from."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from pathlib import Path
from typing import Any, Protocol


@dataclass(frozen=True)
class StoredModel:
    """A registered model as the store knows it.

    Attributes:
        name: Its name.
        aliases: Version numbers by alias.
        changed_at_ms: Milliseconds since 1970; changes with every new version.
        is_prompt: Whether it is a prompt, which MLflow keeps among its models.
    """

    name: str
    description: str = ""
    aliases: Mapping[str, int] = field(default_factory=dict)
    tags: Mapping[str, str] = field(default_factory=dict)
    changed_at_ms: int = 0
    is_prompt: bool = False


@dataclass(frozen=True)
class StoredVersion:
    """A model version as the store knows it."""

    model: str
    number: int
    source: str = ""
    run_id: str = ""
    description: str = ""
    tags: Mapping[str, str] = field(default_factory=dict)
    changed_at_ms: int = 0
    is_prompt: bool = False


@dataclass(frozen=True)
class StoredFile:
    """One file of a version; `path` is relative to the version's folder, `size` in bytes."""

    path: str
    size: int


@dataclass(frozen=True)
class StoredRun:
    """What a training run says about the model it made."""

    run_id: str
    metrics: Mapping[str, float] = field(default_factory=dict)
    params: Mapping[str, str] = field(default_factory=dict)
    tags: Mapping[str, str] = field(default_factory=dict)
    dataset: str = ""
    dataset_digest: str = ""
    ended_at: datetime | None = None


@dataclass(frozen=True)
class Package:
    """What the store's folder for a version is made of.

    Attributes:
        files: The folder with the version's own files.
        format: A value of `Format`.
        requirements: Pip requirement lines.
    """

    files: Path
    format: str
    inputs: Sequence[Mapping[str, Any]]
    outputs: Sequence[Mapping[str, Any]]
    requirements: Sequence[str]


class ModelStore(Protocol):
    """Registered models, versions and their files, as MLflow keeps them.

    Every method raises `Transient` when the store does not answer, and `Permanent` when it
    refuses. Numbers are the store's: one more than the highest it has given in that model.
    """

    def model(self, name: str) -> StoredModel | None:
        """Return the model, or None."""
        ...

    def ensure_model(self, name: str, *, description: str = "") -> None:
        """Create the model unless it is there."""
        ...

    def version(self, name: str, number: int) -> StoredVersion | None:
        """Return the version, or None."""
        ...

    def highest_number(self, name: str) -> int:
        """Return the highest number in the model; 0 without any."""
        ...

    def reserve(self, key: str, *, name: str, number: int) -> str:
        """Return the place for the files of the version that we call `key`, made on first use.

        Asked twice for one key, it gives the same place.
        """
        ...

    def package(self, package: Package, target: Path) -> None:
        """Write the folder that MLflow's client loads to `target`."""
        ...

    def upload(self, folder: Path, place: str, *, deadline: float) -> bool:
        """Send the files of `folder` that `place` lacks.

        Args:
            folder: What `package` wrote.
            place: From `reserve`.
            deadline: On the monotonic clock; no further file is begun after it.

        Returns:
            Whether everything is there; False when time ran out first.
        """
        ...

    def create_version(
        self,
        name: str,
        *,
        place: str,
        description: str = "",
        tags: Mapping[str, str],
    ) -> int:
        """Create the next version of the model with the files at `place`; return its number."""
        ...

    def withdraw(self, name: str, number: int) -> None:
        """Take back a version that was created under a number it was not meant for."""
        ...

    def describe(
        self, name: str, number: int, *, description: str, tags: Mapping[str, str]
    ) -> None:
        """Make the version's description and the given tags so; other tags stay."""
        ...

    def set_alias(self, name: str, alias: str, number: int) -> None:
        """Let `alias` name the version."""
        ...

    def remove_alias(self, name: str, alias: str) -> None:
        """Remove the alias; nothing happens when there is none."""
        ...

    def locate(self, version: StoredVersion) -> str:
        """Return where the version's files lie, for `files` and `fetch`.

        Raises:
            Permanent: They lie where the store gives no access (code `mlflow.unreachable_files`).
        """
        ...

    def locate_run_model(self, run_id: str, path: str) -> str:
        """Return where the model lies that a run logged as `path`.

        Raises:
            Permanent: There is no such run or model (code `mlflow.no_such_run`).
        """
        ...

    def files(self, location: str) -> list[StoredFile]:
        """Return every file below `location`, sorted by path."""
        ...

    def fetch(self, location: str, path: str, *, offset: int = 0) -> Iterator[bytes]:
        """Yield the bytes of one file, from `offset` on."""
        ...

    def run(self, run_id: str) -> StoredRun | None:
        """Return the run, or None."""
        ...

    def versions_changed_since(self, at_ms: int) -> Iterator[StoredVersion]:
        """Yield versions changed after `at_ms`, the latest change first."""
        ...

    def models_changed_since(self, at_ms: int) -> Iterator[StoredModel]:
        """Yield models changed after `at_ms`, the latest change first."""
        ...
