"""Gates about the bytes: what was scanned, and that they are what they are called."""

import re
from typing import Any

from apps.builds import selectors as builds
from apps.builds.domain.states import BuildState
from apps.builds.domain.variants import VariantKind
from apps.gates.domain.finding import Finding, failed, passed, unknown
from apps.gates.programs.subject import Asking, Reading, Subject, World
from apps.registry import blobs
from apps.registry import selectors as registry
from controlplane.kernel import digests
from controlplane.kernel.errors import Missing

PIN = re.compile(r"[A-Za-z0-9._-]+(\[[^\]]*\])?==[A-Za-z0-9.!+_-]+")
LARGEST_LOCK = 1024**2


def scanned(subject: Subject) -> Finding:
    """Judge by the scan step of the build that made the variant."""
    build = subject.build
    step = next((s for s in builds.steps(build) if s.name == "scan"), None)
    if step is None or step.state == "running":
        return unknown(
            f"Build {build.number} has not been scanned.", "Wait for the build, or retry it."
        )
    facts = {"build": build.number, "summary": step.summary, **_scan(subject)}
    if step.state != "succeeded" or build.state != BuildState.SUCCEEDED:
        return failed(
            f"Build {build.number}: {build.problem or step.summary or 'the scan failed'}",
            build.remedy or "Look at the build's log.", **facts,
        )  # fmt: skip
    return passed(f"Build {build.number}: {step.summary}", **facts)


def no_bad_pickle(subject: Subject) -> Finding:
    """Judge by the names that the files would import."""
    scan = _scan(subject)
    if "unvouched" not in scan:
        return unknown(
            f"Build {subject.build.number} did not keep what its scan saw.",
            "Build the version again.",
        )
    unvouched, pickles = list(scan["unvouched"]), int(scan.get("pickles", 0))
    if not unvouched:
        files = some(int(scan.get("files", 0)), "file")
        return passed(
            f"{files}, {some(pickles, 'pickle')}: every import is vouched for."
            if pickles
            else f"{files}, and no pickle among them.",
            **scan,
        )
    shown = ", ".join(unvouched[:5])
    return failed(
        f"Loading it imports what nobody vouches for: {shown}.",
        "Save the model as ONNX or with skops, or have the gate waived after a review.", **scan,
    )  # fmt: skip


def same_bytes(subject: Subject, world: World) -> Finding:
    """Read the bundle and the version's files from disk, and hash all of it again."""
    bundle = world.bundles.rehash(subject.bundle)
    if bundle.problem:
        return failed(
            f"The bundle is damaged: {bundle.problem}",
            "Build the version again; do not serve this bundle.",
        )
    own, size, problem = _rehash_version(subject)
    if problem:
        return failed(problem, "Register the version's files again.")
    wanted = {entry.sha256 for entry in own}
    kept = wanted & {entry.sha256 for entry in bundle.files}
    if subject.variant.kind == VariantKind.NATIVE and not kept:
        return failed(
            "The native bundle holds none of the version's files.",
            "Build the version again; do not serve this bundle.",
        )
    read = size + bundle.size
    return passed(
        f"{some(len(own), 'file')} of the version and {len(bundle.files)} of the bundle were read "
        f"again ({read:,} bytes), and every digest holds.",
        manifest=subject.version.manifest_digest,
        bundle=subject.bundle,
        bytes_read=read,
        files={entry.path: entry.sha256 for entry in bundle.files[:200]},
        kept_as_they_were=len(kept),
    )


def locked(subject: Subject, world: World) -> Finding:
    """Judge by the bundle's lock file."""
    name = world.bundles.config(subject.bundle).get("requirements")
    if not name:
        return passed(
            "The bundle needs no packages of its own: the runtime alone reads it.",
            compatibility=subject.variant.compatibility,
        )
    text = world.bundles.read(subject.bundle, str(name), limit=LARGEST_LOCK)
    if text is None:
        return failed(f"The bundle has no {name}.", "Build the version again.")
    pins = lock_lines(text.decode("utf-8", "replace"))
    loose = [line for line in pins if not PIN.match(line)]
    if loose:
        return failed(
            f"{len(loose)} of {some(len(pins), 'package')} not pinned: {', '.join(loose[:5])}.",
            "Pin each package to one version, and build again.", pinned=pins,
        )  # fmt: skip
    hashed = sum("--hash=" in line for line in pins)
    return passed(
        f"{some(len(pins), 'package')} pinned to one version each"
        + (f", {hashed} with the hash of their bytes." if hashed else "."),
        pinned=[line.split(" ")[0] for line in pins],
        hashed=hashed,
    )


def lock_lines(text: str) -> list[str]:
    """Return the requirements of a lock file, each with its hashes on one line."""
    joined = re.sub(r"\s*\\\s*\n\s*", " ", text)
    lines = (line.split(" #")[0].strip() for line in joined.splitlines())
    return [line for line in lines if line and not line.startswith(("#", "--"))]


def some(count: int, noun: str) -> str:
    """Return how many there are of something: "1 file", "2 files"."""
    return f"{count} {noun}{'s' * (count != 1)}"


def _scan(subject: Subject) -> dict[str, Any]:
    told = subject.variant.proof.get("scan")
    return dict(told) if isinstance(told, dict) else {}


def _rehash_version(subject: Subject) -> tuple[list[digests.FileEntry], int, str]:
    """Return the version's files, the bytes that were read, and what is wrong."""
    entries, size = registry.manifest(subject.version.pk), 0
    for entry in entries:
        try:
            with blobs.open_blob(entry.sha256) as stream:
                found, read = digests.of_stream(stream)
        except (Missing, OSError):
            return entries, size, f"{entry.path} of the version is missing from the store."
        size += read
        if found != f"sha256:{entry.sha256}":
            return entries, size, f"{entry.path} of the version is not what its digest says."
    if not entries or digests.of_manifest(entries) != subject.version.manifest_digest:
        return entries, size, "The version's files are not those of its manifest."
    return entries, size, ""


PROGRAMS = (
    Reading("artifact.scanned", scanned),
    Asking("artifact.digest", same_bytes),
    Reading("artifact.pickle", no_bad_pickle),
    Asking("artifact.dependencies", locked),
)
