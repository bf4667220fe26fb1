"""What another source of numbers is asked, with the side it is asked of filled in. Pure.

A placeholder is a name in braces: "{revision}". PromQL's own braces never hold a bare name, so a
query may have both: `errors{cluster="{endpoint}-{revision}"}`.
"""

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum

from controlplane.kernel.errors import Invalid

PLACEHOLDER = re.compile(r"\{([A-Za-z_][A-Za-z0-9_]*)\}")


class Side(StrEnum):
    """Of which revision a number is."""

    STABLE = "stable"
    CANARY = "canary"


@dataclass(frozen=True)
class Target:
    """The revision that a number is wanted of.

    Attributes:
        side: Which of the two it is.
        revision: Its number, as callers see it in `x-modelyard-revision`.
        endpoint: The endpoint's public id; with "-" and the revision, the proxy's cluster.
        version: The number of the model's version that it serves.
        model: The registered model's name.
        environment: The environment's slug.
    """

    side: Side
    revision: int
    endpoint: str
    version: int
    model: str
    environment: str

    def values(self) -> dict[str, str]:
        """Return what fills the placeholders, by name."""
        return {
            "side": str(self.side),
            "revision": str(self.revision),
            "endpoint": self.endpoint,
            "version": str(self.version),
            "model": self.model,
            "environment": self.environment,
        }


@dataclass(frozen=True)
class Query:
    """One question to another source.

    Attributes:
        text: As the metric has it: a query, an address, or a job's name, with placeholders.
        target: What it is asked of.
        at: As of when; the same for both sides.
    """

    text: str
    target: Target
    at: datetime


@dataclass(frozen=True)
class Measured:
    """What another source answers.

    Attributes:
        value: The number; None when it has none, which is no evidence and no error.
        count: Of how many observations it is the mean; None when it does not say.
    """

    value: float | None
    count: float | None = None


def check(text: str, *, field: str = "query") -> None:
    """Refuse a text with a placeholder that nothing fills.

    Raises:
        Invalid: It has one; the code is `analysis.unknown_placeholder`.
    """
    unknown = [name for name in PLACEHOLDER.findall(text) if name not in NAMES]
    if unknown:
        raise Invalid(
            f"Nothing fills {{{unknown[0]}}} in {text[:200]!r}.",
            remedy=f"Use these: {', '.join(f'{{{name}}}' for name in NAMES)}.",
            field=field,
            code="analysis.unknown_placeholder",
        )


def fill(text: str, values: Mapping[str, str], *, quoted: Callable[[str], str]) -> str:
    """Return `text` with its placeholders filled in, once: a value's own braces stay.

    Args:
        text: With placeholders.
        values: By name, of `Target.values`.
        quoted: Makes a value safe where it will stand.

    Raises:
        Invalid: There is a placeholder that nothing fills.
    """
    check(text)
    return PLACEHOLDER.sub(lambda found: quoted(values[found[1]]), text)


def in_promql(value: str) -> str:
    """Return `value` as it may stand between double or single quotes of PromQL."""
    return "".join(_ESCAPES.get(letter, letter) for letter in value)


NAMES = tuple(Target(Side.CANARY, 0, "", 0, "", "").values())
# As numbers, quotes are understood in every kind of quotes: a \' within "" would be an error.
_ESCAPES = {
    "\\": "\\\\", '"': "\\x22", "'": "\\x27", "`": "\\x60", "\n": "\\n", "\r": "\\r", "\t": "\\t",
}  # fmt: skip
