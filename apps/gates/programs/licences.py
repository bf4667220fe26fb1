"""The gate about licences: of exactly the packages that the bundle's lock file names."""

import re
from collections.abc import Mapping
from importlib import metadata
from typing import Any

from apps.gates.domain import licences
from apps.gates.domain.finding import Finding, failed, passed, unknown
from apps.gates.programs.artifact import LARGEST_LOCK, lock_lines, some
from apps.gates.programs.subject import Asking, Subject, World

NAME = re.compile(r"[A-Za-z0-9._-]+")


def allowed(subject: Subject, world: World) -> Finding:
    """Judge each package by what a pipeline said, or by its own metadata where it is installed.

    A package that is not installed here in just that version, and of which no pipeline spoke, is
    unknown.
    """
    name = world.bundles.config(subject.bundle).get("requirements")
    if not name:
        return passed("The bundle needs no packages of its own.")
    text = world.bundles.read(subject.bundle, str(name), limit=LARGEST_LOCK) or b""
    pins = dict(_pin(line) for line in lock_lines(text.decode("utf-8", "replace")))
    said = _said(subject)
    found = {p: said.get(p) or installed(p, version) for p, version in sorted(pins.items())}
    listed = subject.words("allowed", licences.ALLOWED)
    bad = {p: lic for p, lic in found.items() if lic and not licences.is_allowed(lic, listed)}
    silent = [p for p, lic in found.items() if not lic]
    facts: dict[str, Any] = {"licences": found}
    if bad:
        shown = ", ".join(f"{p} ({lic})" for p, lic in list(bad.items())[:5])
        return failed(
            f"{len(bad)} of {some(len(found), 'package')} with a licence that is not allowed: "
            f"{shown}.",
            "Replace them, or have an admin allow the licence in the policy.", **facts,
        )  # fmt: skip
    if silent:
        return unknown(
            f"The licence of {', '.join(silent[:5])} is not known.",
            'Have CI send {"licences": {"' + silent[0] + '": "MIT"}} as evidence.', **facts,
        )  # fmt: skip
    return passed(f"{some(len(found), 'package')}, every licence of which is allowed.", **facts)


def installed(package: str, version: str) -> str:
    """Return the licence of a package as installed here; "" for another version, or none."""
    try:
        told = metadata.metadata(package)
    except metadata.PackageNotFoundError:
        return ""
    if told["Version"] != version:
        return ""
    fields = told.json
    classifiers = fields.get("classifier", [])
    return licences.spdx(
        str(fields.get("license_expression") or ""),
        str(fields.get("license") or ""),
        [c.split("::")[-1].strip() for c in classifiers if c.startswith("License ::")],
    )


def _said(subject: Subject) -> dict[str, str]:
    sent = subject.sent()
    told = sent.facts.get("licences") if sent else None
    return {str(p): str(lic) for p, lic in told.items()} if isinstance(told, Mapping) else {}


def _conditions(subject: Subject) -> Mapping[str, Any]:
    sent = subject.sent()
    return {"sent": sent.digest if sent else ""}


def _pin(line: str) -> tuple[str, str]:
    """Return a requirement's package and the one version it is pinned to; "" for none."""
    name = NAME.match(line)
    pinned = line.partition("==")[2]
    return name[0] if name else line, pinned.split(" ")[0].split(";")[0].strip()


PROGRAMS = (Asking("artifact.licences", allowed, _conditions),)
