"""Whether a model card says what it should. Pure."""

import re
from collections.abc import Sequence

SECTIONS = ("Intended use", "Training data", "Evaluation", "Limitations")
LEAST_WORDS = 3  # "Not known yet." is an answer; an empty heading is none

_HEADING = re.compile(r"^ {0,3}#{1,6}\s+(.*?)\s*#*\s*$")
_FENCE = re.compile(r"^ {0,3}(```|~~~)")


def missing(card: str, wanted: Sequence[str] = SECTIONS) -> list[str]:
    """Return the sections that a card has not, or has without a text under the heading.

    A heading counts when it begins with the section's name, whatever its level and capitals; the
    text below deeper headings counts as its own.
    """
    written = _words_under(card)
    return [
        name
        for name in wanted
        if not any(
            heading.casefold().startswith(name.casefold()) and words >= LEAST_WORDS
            for heading, words in written
        )
    ]


def _words_under(card: str) -> list[tuple[str, int]]:
    """Return each heading with how many words stand under it and its deeper headings."""
    found: list[tuple[str, int, int]] = []  # heading, level, words
    fenced = False
    for line in card.splitlines():
        if _FENCE.match(line):
            fenced = not fenced
        heading = None if fenced else _HEADING.match(line)
        if heading:
            level = len(line.lstrip()) - len(line.lstrip().lstrip("#"))
            found.append((heading[1], level, 0))
        elif found:
            found = _counted(found, len(line.split()))
    return [(name, words) for name, _, words in found]


def _counted(found: list[tuple[str, int, int]], words: int) -> list[tuple[str, int, int]]:
    """Add words to the last heading and to those above it."""
    changed, level = list(found), 7
    for index in range(len(changed) - 1, -1, -1):
        name, own, counted = changed[index]
        if own < level:
            changed[index], level = (name, own, counted + words), own
    return changed
