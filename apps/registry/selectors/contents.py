"""The files of a model version, and its manifest."""

from collections.abc import Iterable

from apps.registry.models import ModelVersion, VersionFile
from controlplane.kernel.digests import FileEntry
from controlplane.kernel.errors import Missing


def files(version_row: ModelVersion) -> list[VersionFile]:
    """Return the files of a version, by path."""
    return list(VersionFile.objects.filter(version=version_row).order_by("path"))


def manifest(version_id: int) -> list[FileEntry]:
    """Return the manifest of a version, by path."""
    rows = VersionFile.objects.filter(version_id=version_id).order_by("path")
    return [FileEntry(row.path, row.sha256, row.size) for row in rows]


def manifests(version_ids: Iterable[int]) -> dict[int, list[FileEntry]]:
    """Return the manifests of several versions, by path, by one query."""
    wanted = list(version_ids)
    found: dict[int, list[FileEntry]] = {pk: [] for pk in wanted}
    for row in VersionFile.objects.filter(version__in=wanted).order_by("path"):
        found[row.version_id].append(FileEntry(row.path, row.sha256, row.size))
    return found


def file(version_row: ModelVersion, path: str) -> VersionFile:
    """Return one file of a version.

    Raises:
        Missing: It has none at that path.
    """
    row = VersionFile.objects.filter(version=version_row, path=path).first()
    if row is None:
        raise Missing(
            f"Version {version_row.number} has no file {path[:120]!r}.",
            code="registry.no_such_file",
        )
    return row
