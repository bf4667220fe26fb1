"""From completed uploads to the files of a version."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from apps.registry import blobs, inspection
from apps.registry.domain import names
from apps.registry.domain.inspected import Inspected
from apps.registry.models import Upload, UploadState
from controlplane.kernel.digests import FileEntry
from controlplane.kernel.errors import Conflict, Invalid


@dataclass(frozen=True)
class Staged:
    """Files that are ready to be registered: their blobs exist and they are a model."""

    files: list[FileEntry]
    inspected: Inspected


def stage(uploads: Sequence[tuple[Upload, str]]) -> Staged:
    """Return the files of a version made from `uploads`.

    Args:
        uploads: Each with the path it takes in the version; "" for its own name. An archive's
            files keep their paths, below that path when there is one.

    Raises:
        Conflict: An upload is not complete, or was cleaned up.
        Invalid: The files are not one model, or two have the same path.
    """
    files = [entry for upload, path in uploads for entry in _entries(upload, path)]
    _refuse_doubled(files)
    if len(uploads) == 1 and not uploads[0][1] and "inspected" in uploads[0][0].facts:
        return Staged(files, Inspected.from_dict(uploads[0][0].facts["inspected"]))
    return Staged(files, inspection.inspect_entries(files))


def settle(uploads: Sequence[Upload]) -> None:
    """Note that the uploads became part of a version."""
    Upload.objects.filter(pk__in=[u.pk for u in uploads], state=UploadState.COMPLETE).update(
        state=UploadState.REGISTERED
    )


def facts_of(contents: inspection.Contents) -> dict[str, Any]:
    """Return what an upload remembers of its contents, and what was read from them.

    A file that is nothing by itself may still belong to a model (its external weights), so
    that alone is noted, not raised.
    """
    facts: dict[str, Any] = {
        "files": [vars(entry) for entry in contents.files],
        "unpacked": contents.unpacked,
    }
    try:
        facts["inspected"] = inspection.inspect_entries(contents.files).as_dict()
    except Invalid as error:
        facts["problem"] = problem_of(error)
    return facts


def problem_of(error: Invalid) -> dict[str, str]:
    """Return `error` as an upload remembers it."""
    return {"code": error.code, "sentence": error.sentence, "remedy": error.remedy}


def _entries(upload: Upload, path: str) -> list[FileEntry]:
    if upload.state not in (UploadState.COMPLETE, UploadState.REGISTERED):
        raise Conflict(
            f"The upload of {upload.filename} is not complete: "
            f"{upload.received} of {upload.size} bytes are here.",
            remedy="Send the rest first.",
            field="upload",
            code="upload.not_complete",
        )
    if "files" not in upload.facts:
        raise _remembered(upload)
    entries = [FileEntry(**entry) for entry in upload.facts["files"]]
    if not all(blobs.exists(entry.sha256) for entry in entries):
        raise Conflict(
            f"The upload of {upload.filename} has expired, and its bytes were dropped.",
            remedy="Upload it again.",
            field="upload",
            code="upload.expired",
        )
    return [FileEntry(_placed(e.path, upload, path), e.sha256, e.size) for e in entries]


def _placed(own: str, upload: Upload, path: str) -> str:
    if not path:
        return own
    clean = names.file_path(path)
    return f"{clean}/{own}" if upload.facts["unpacked"] else clean


def _remembered(upload: Upload) -> Invalid:
    problem = upload.facts.get("problem", {})
    return Invalid(
        problem.get("sentence", f"The upload of {upload.filename} cannot be used."),
        remedy=problem.get("remedy", "Upload it again."),
        field="upload",
        code=problem.get("code", "upload.unusable"),
    )


def _refuse_doubled(files: Sequence[FileEntry]) -> None:
    seen: set[str] = set()
    for file in files:
        if file.path in seen:
            raise Invalid(
                f"Two of the files would be {file.path!r}.",
                remedy="Give each its own path.",
                field="uploads",
                code="registry.path_used_twice",
            )
        seen.add(file.path)
