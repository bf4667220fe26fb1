"""A model store in a few dictionaries, which can be told to fail: for fault tests."""

import time
from collections import Counter
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path

from apps.registry.ports import Package, StoredFile, StoredModel, StoredRun, StoredVersion
from controlplane.drivers.mlflow.mlmodel import as_mlflow_folder
from controlplane.kernel.errors import Permanent, Transient


@dataclass
class MemoryModelStore:
    """Implements `apps.registry.ports.ModelStore`.

    Attributes:
        die_before: The number of the write that fails, and all after it; None for none.
        die_after: The number of the write that is done but not answered, and all after it fail.
    """

    models: dict[str, StoredModel] = field(default_factory=dict)
    versions: dict[tuple[str, int], StoredVersion] = field(default_factory=dict)
    places: dict[str, dict[str, bytes]] = field(default_factory=dict)
    keys: dict[str, str] = field(default_factory=dict)
    runs: dict[str, StoredRun] = field(default_factory=dict)
    run_models: dict[tuple[str, str], str] = field(default_factory=dict)
    numbers: Counter[str] = field(default_factory=Counter)
    writes: int = 0
    die_before: int | None = None
    die_after: int | None = None
    ticks: int = 0

    def model(self, name: str) -> StoredModel | None:
        """Implement `ModelStore.model`."""
        return self.models.get(name)

    def ensure_model(self, name: str, *, description: str = "") -> None:
        """Implement `ModelStore.ensure_model`."""
        with self._write():
            if name not in self.models:
                self.models[name] = StoredModel(name, description, changed_at_ms=self._tick())

    def version(self, name: str, number: int) -> StoredVersion | None:
        """Implement `ModelStore.version`."""
        return self.versions.get((name, number))

    def highest_number(self, name: str) -> int:
        """Implement `ModelStore.highest_number`."""
        return max((number for model, number in self.versions if model == name), default=0)

    def reserve(self, key: str, *, name: str, number: int) -> str:
        """Implement `ModelStore.reserve`."""
        with self._write():
            place = self.keys.setdefault(key, f"m-{len(self.keys) + 1}")
            self.places.setdefault(place, {})
        return place

    def package(self, package: Package, target: Path) -> None:
        """Implement `ModelStore.package`."""
        as_mlflow_folder(
            files=package.files,
            format=package.format,
            inputs=package.inputs,
            outputs=package.outputs,
            requirements=package.requirements,
            target=target,
        )

    def upload(self, folder: Path, place: str, *, deadline: float) -> bool:
        """Implement `ModelStore.upload`."""
        for path in sorted(p for p in folder.rglob("*") if p.is_file()):
            relative = path.relative_to(folder).as_posix()
            if relative in self.places[place]:
                continue
            if time.monotonic() > deadline:
                return False
            with self._write():
                self.places[place][relative] = path.read_bytes()
        return True

    def create_version(
        self,
        name: str,
        *,
        place: str,
        description: str = "",
        tags: Mapping[str, str],
    ) -> int:
        """Implement `ModelStore.create_version`."""
        with self._write():
            if name not in self.models:
                raise Permanent(f"MLflow refused: no model {name}", code="mlflow.refused")
            self.numbers[name] += 1
            number = self.numbers[name]
            now = self._tick()
            self.versions[name, number] = StoredVersion(
                name, number, f"models:/{place}", "", description, dict(tags), now
            )
            self.models[name] = replace(self.models[name], changed_at_ms=now)
        return number

    def withdraw(self, name: str, number: int) -> None:
        """Implement `ModelStore.withdraw`: the number stays used."""
        with self._write():
            self.versions.pop((name, number), None)

    def describe(
        self, name: str, number: int, *, description: str, tags: Mapping[str, str]
    ) -> None:
        """Implement `ModelStore.describe`."""
        with self._write():
            now = self.versions.get((name, number))
            if now is not None:
                self.versions[name, number] = replace(
                    now, description=description, tags={**now.tags, **tags}
                )

    def set_alias(self, name: str, alias: str, number: int) -> None:
        """Implement `ModelStore.set_alias`."""
        with self._write():
            if (name, number) not in self.versions:
                raise Permanent(f"MLflow refused: no version {number}", code="mlflow.refused")
            model = self.models[name]
            self.models[name] = replace(model, aliases={**model.aliases, alias: number})

    def remove_alias(self, name: str, alias: str) -> None:
        """Implement `ModelStore.remove_alias`."""
        with self._write():
            model = self.models[name]
            rest = {a: n for a, n in model.aliases.items() if a != alias}
            self.models[name] = replace(model, aliases=rest)

    def locate(self, version: StoredVersion) -> str:
        """Implement `ModelStore.locate`."""
        place = version.source.removeprefix("models:/")
        if place not in self.places:
            raise Permanent("The files lie elsewhere.", code="mlflow.unreachable_files")
        return place

    def locate_run_model(self, run_id: str, path: str) -> str:
        """Implement `ModelStore.locate_run_model`."""
        place = self.run_models.get((run_id, path))
        if place is None:
            raise Permanent(f"The run {run_id} logged no {path}.", code="mlflow.no_such_run")
        return place

    def files(self, location: str) -> list[StoredFile]:
        """Implement `ModelStore.files`."""
        kept = self.places.get(location, {})
        return [StoredFile(path, len(kept[path])) for path in sorted(kept)]

    def fetch(self, location: str, path: str, *, offset: int = 0) -> Iterator[bytes]:
        """Implement `ModelStore.fetch`."""
        content = self.places[location][path][offset:]
        for start in range(0, len(content), 4):
            yield content[start : start + 4]

    def run(self, run_id: str) -> StoredRun | None:
        """Implement `ModelStore.run`."""
        return self.runs.get(run_id)

    def versions_changed_since(self, at_ms: int) -> Iterator[StoredVersion]:
        """Implement `ModelStore.versions_changed_since`."""
        rows = sorted(self.versions.values(), key=lambda v: -v.changed_at_ms)
        return (row for row in rows if row.changed_at_ms > at_ms)

    def models_changed_since(self, at_ms: int) -> Iterator[StoredModel]:
        """Implement `ModelStore.models_changed_since`."""
        rows = sorted(self.models.values(), key=lambda m: -m.changed_at_ms)
        return (row for row in rows if row.changed_at_ms > at_ms)

    def _tick(self) -> int:
        self.ticks += 1
        return self.ticks

    def _write(self) -> "_Write":
        return _Write(self)


class _Write:
    """One write, which the store may be told to fail before or after it is done."""

    def __init__(self, store: MemoryModelStore) -> None:
        self.store = store

    def __enter__(self) -> None:
        self.store.writes += 1
        if self.store.die_before is not None and self.store.writes >= self.store.die_before:
            raise Transient("MLflow does not answer (told to).", code="mlflow.down")

    def __exit__(self, kind: type[BaseException] | None, *rest: object) -> None:
        if kind is None and self.store.writes == self.store.die_after:
            raise Transient("MLflow does not answer (told to).", code="mlflow.down")
