"""Licences as SPDX names: what a package says of itself, held against a list. Pure."""

import re
from collections.abc import Collection, Sequence

ALLOWED = (
    "0BSD", "Apache-2.0", "Apache-2.0 WITH LLVM-exception", "BSD-2-Clause", "BSD-3-Clause",
    "CC0-1.0", "HPND", "ISC", "MIT", "MIT-0", "MIT-CMU", "MPL-2.0", "PSF-2.0", "Python-2.0",
    "Unlicense", "Zlib",
)  # fmt: skip
# What packages wrote before there was one way to say it.
CLASSIFIERS = {
    "Apache Software License": "Apache-2.0",
    "BSD License": "BSD-3-Clause",
    "ISC License (ISCL)": "ISC",
    "MIT License": "MIT",
    "Mozilla Public License 2.0 (MPL 2.0)": "MPL-2.0",
    "Python Software Foundation License": "PSF-2.0",
    "The Unlicense (Unlicense)": "Unlicense",
    "zlib/libpng License": "Zlib",
}
WORDS = {
    "3-clause bsd license": "BSD-3-Clause",
    "apache 2.0": "Apache-2.0",
    "apache license 2.0": "Apache-2.0",
    "bsd 3-clause": "BSD-3-Clause",
    "mit license": "MIT",
    "new bsd": "BSD-3-Clause",
    **{name.casefold(): name for name in ALLOWED},
}


def spdx(expression: str, words: str, classifiers: Sequence[str]) -> str:
    """Return a package's licence as an SPDX expression; "" where it does not say clearly.

    Args:
        expression: Its `License-Expression`.
        words: Its `License`, which may be a name or a whole text.
        classifiers: The last parts of its licence classifiers; several are a choice.
    """
    if expression.strip():
        return expression.strip()
    if known := WORDS.get(words.strip().casefold()):
        return known
    named = [CLASSIFIERS[c] for c in classifiers if c in CLASSIFIERS]
    return " OR ".join(named) if named and len(named) == len(classifiers) else ""


def is_allowed(expression: str, allowed: Collection[str] = ALLOWED) -> bool:
    """Return whether an SPDX expression can be met by licences of a list.

    Every part joined by AND must be met, and one of those joined by OR; parentheses group.
    """
    known = {name.casefold() for name in allowed}
    tokens = re.findall(r"\(|\)|[^\s()]+", expression)
    try:
        met, rest = _either(tokens, known)
    except IndexError:
        return False
    return met and not rest


def _either(tokens: list[str], known: Collection[str]) -> tuple[bool, list[str]]:
    met, rest = _all(tokens, known)
    while rest and rest[0].upper() == "OR":
        other, rest = _all(rest[1:], known)
        met = met or other
    return met, rest


def _all(tokens: list[str], known: Collection[str]) -> tuple[bool, list[str]]:
    met, rest = _one(tokens, known)
    while rest and rest[0].upper() == "AND":
        other, rest = _one(rest[1:], known)
        met = met and other
    return met, rest


def _one(tokens: list[str], known: Collection[str]) -> tuple[bool, list[str]]:
    if tokens[0] == "(":
        met, rest = _either(tokens[1:], known)
        if rest[0] != ")":
            raise IndexError
        return met, rest[1:]
    name, rest = tokens[0], tokens[1:]
    if rest and rest[0].upper() == "WITH":
        name, rest = f"{name} WITH {rest[1]}", rest[2:]
    return name.casefold() in known, rest
