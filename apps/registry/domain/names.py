"""Which names are allowed, and the sentence that says why one is not.

The rules are those of the strictest system a name travels through: an MLflow registered
model, a path in a URL, a file name on disk.
"""

import re

from controlplane.kernel.errors import Invalid

MODEL = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,127}")
ALIAS = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,79}")
LIKE_A_NUMBER = re.compile(r"[vV]?\d+")
SEMVER = re.compile(r"v?\d+(\.\d+){0,2}([-+][0-9A-Za-z.+-]+)?")
KEY = re.compile(r"[^\x00-\x1f\x7f]{1,250}")
LONGEST_PATH = 500
RESERVED_MODELS = frozenset({"new"})  # /models/new is a page


def model_name(value: str) -> str:
    """Return `value` if it may name a registered model.

    Raises:
        Invalid: With the rule that it breaks; the code is `registry.name_not_allowed`.
    """
    if MODEL.fullmatch(value) and value.strip(".") and value.lower() not in RESERVED_MODELS:
        return value
    raise Invalid(
        f"{value[:140]!r} cannot name a registered model.",
        remedy="Use 1 to 128 letters, digits, '.', '_' or '-', beginning with a letter or digit"
        + (" ('new' is taken by a page)." if value.lower() in RESERVED_MODELS else "."),
        field="name",
        code="registry.name_not_allowed",
    )


def alias_name(value: str) -> str:
    """Return `value` if it may name an alias.

    Raises:
        Invalid: The code is `registry.alias_not_allowed`.
    """
    like_a_number = bool(LIKE_A_NUMBER.fullmatch(value)) or value.lower() == "latest"
    if ALIAS.fullmatch(value) and not like_a_number:
        return value
    raise Invalid(
        f"{value[:100]!r} cannot name an alias.",
        remedy="Use 1 to 80 letters, digits, '.', '_' or '-', beginning with a letter or digit; "
        "'latest' and names like v3 mean version numbers to the MLflow client.",
        field="alias",
        code="registry.alias_not_allowed",
    )


def semantic_version(value: str) -> str:
    """Return `value` if it is empty or reads as a semantic version ("1.4.0-rc.1").

    Raises:
        Invalid: The code is `registry.semver_not_allowed`.
    """
    if not value or (len(value) <= 40 and SEMVER.fullmatch(value)):
        return value
    raise Invalid(
        f"{value[:60]!r} is not a semantic version.",
        remedy="Write it like 1.4.0 or 1.4.0-rc.1, or leave it out.",
        field="semver",
        code="registry.semver_not_allowed",
    )


def file_path(value: str) -> str:
    """Return `value` if it is a clean path inside a version ("data/model.pkl").

    Raises:
        Invalid: It is absolute, climbs with "..", or holds what no file name may; the code
            is `archive.path_traversal` or `registry.path_not_allowed`.
    """
    shown = value[:120]
    parts = value.replace("\\", "/").split("/")
    if value.startswith(("/", "\\")) or ".." in parts or re.match(r"[A-Za-z]:", value):
        raise Invalid(
            f"The path {shown!r} leads out of the version's folder.",
            remedy="Use relative paths without '..'.",
            field="path",
            code="archive.path_traversal",
        )
    clean = "/".join(part for part in parts if part not in ("", "."))
    if not clean or len(clean) > LONGEST_PATH or not KEY.fullmatch(clean[:250]):
        raise Invalid(
            f"The path {shown!r} cannot name a file.",
            remedy=f"Use 1 to {LONGEST_PATH} printable characters.",
            field="path",
            code="registry.path_not_allowed",
        )
    if any(ord(c) < 32 or ord(c) == 127 or 0xD800 <= ord(c) <= 0xDFFF for c in clean):
        raise Invalid(
            f"The path {shown!r} holds characters that no file name may.",
            field="path",
            code="registry.path_not_allowed",
        )
    return clean


def file_name(value: str) -> str:
    """Return the last part of `value`, cleaned, as a browser's file name may be anything.

    Raises:
        Invalid: Nothing usable is left.
    """
    last = value.replace("\\", "/").rsplit("/", 1)[-1].strip()
    return file_path(last[-255:])
