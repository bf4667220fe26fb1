"""Step 2: the version as it is, in a form that a server can load, with its libraries locked."""

from importlib import metadata
from pathlib import Path
from typing import Any

from packaging.requirements import InvalidRequirement, Requirement
from packaging.utils import canonicalize_name

from apps.registry.domain.kinds import Format
from controlplane.drivers.mlflow.mlmodel import as_mlflow_folder, mlmodel_file
from workers.toolchain.model import Native
from workers.toolchain.native import library_versions
from workers.toolchain.spec import Spec

LOCK = "requirements.lock"


def run(spec: Spec, native: Native, outputs: list[dict[str, Any]]) -> Path:
    """Write the MLflow folder and the lock file, and return the folder they are in."""
    folder = spec.work / "native"
    pinned = [f"{name}=={version}" for name, version in sorted(needs(spec, native).items())]
    as_mlflow_folder(
        files=spec.files,
        format=spec.format,
        inputs=native.inputs,
        outputs=outputs,
        requirements=pinned,
        target=folder / "model",
    )
    (folder / LOCK).write_text("".join(f"{line}\n" for line in pinned))
    return folder


def needs(spec: Spec, native: Native) -> dict[str, str]:
    """Return the exact version of every distribution that loading the model needs.

    What the model's own folder demands is kept; the rest is what it was proved with here.
    """
    found = library_versions([*native.libraries, *(["pandas"] if _tabular(native) else [])])
    demanded = _demanded(spec)
    for name in demanded:
        if version := _installed(name):
            found.setdefault(name, version)
    found |= {name: version for name, version in demanded.items() if version}
    return _closed(found)


def _tabular(native: Native) -> bool:
    return native.columns or bool(native.names)


def _demanded(spec: Spec) -> dict[str, str]:
    """Return what the folder's requirements.txt names, with its version where it pins one."""
    if spec.format != Format.MLFLOW:
        return {}
    listed = mlmodel_file(spec.files).parent / "requirements.txt"
    lines = listed.read_text().splitlines() if listed.is_file() else []
    return dict(pin for line in lines if (pin := _pin(line)))


def _pin(line: str) -> tuple[str, str] | None:
    try:
        wanted = Requirement(line.split("#")[0].strip())
    except InvalidRequirement:
        return None
    if wanted.marker and not wanted.marker.evaluate():
        return None
    exact = [s.version for s in wanted.specifier if s.operator == "==" and "*" not in s.version]
    return canonicalize_name(wanted.name), exact[0] if exact else ""


def _closed(found: dict[str, str]) -> dict[str, str]:
    """Return `found` with everything that it needs in turn, as installed here."""
    closed: dict[str, str] = {canonicalize_name(name): version for name, version in found.items()}
    queue: list[str] = list(closed)
    while queue:
        name = queue.pop()
        if _installed(name) != closed[name]:
            continue  # another version than ours: its needs are its own to say
        for line in metadata.requires(name) or []:
            wanted = Requirement(line)
            if wanted.marker and not wanted.marker.evaluate({"extra": ""}):
                continue
            needed = canonicalize_name(wanted.name)
            version = _installed(needed)
            if version and needed not in closed:
                closed[needed] = version
                queue.append(needed)
    return closed


def _installed(name: str) -> str:
    try:
        return metadata.version(name)
    except metadata.PackageNotFoundError:
        return ""
