"""What a policy may tell a gate's program, so that a misspelt parameter is not ignored: pure.

The programs read parameters leniently, because a policy on record must keep working; what is
written anew is checked here. docs/gates.md says what each of them means.
"""

from collections.abc import Mapping
from dataclasses import dataclass

from apps.gates.domain.places import Place


@dataclass(frozen=True)
class Number:
    """A number of something, from 0 or above it, to the most that makes sense."""

    of: str
    most: float
    above: float | None = None


@dataclass(frozen=True)
class Words:
    """A list of texts, at least one."""

    of: str


@dataclass(frozen=True)
class Flag:
    """True or false."""


PARAMETERS: Mapping[str, Mapping[str, Number | Words | Flag]] = {
    "artifact.licences": {"allowed": Words("SPDX names")},
    "quality.better": {
        "metrics": Words("metrics"),
        "margin": Number("the metric's own unit", 1e9),
        "slices": Flag(),
    },
    "load.objective": {
        "seconds": Number("seconds", 3600, above=0),
        "headroom": Number("times the peak", 10),
    },
    "rollback.rehearsed": {"seconds": Number("seconds", 3600, above=0)},
    "model.fresh": {
        "model_days": Number("days", 3650, above=0),
        "data_days": Number("days", 3650, above=0),
    },
    "card.complete": {"sections": Words("headings")},
    "score.minimum": {"minimum": Number("points", 7)},
}


def check(gate: str, place: Place) -> None:
    """Refuse what a gate's program would not read.

    Raises:
        Invalid: The gate takes no such parameter, or not such a value.
    """
    known = PARAMETERS.get(gate, {})
    if not known and place.mapping():
        place.refuse(f"{gate} takes no parameters; leave them out.")
    said = place.fields(tuple(known))
    for name, kind in known.items():
        if name in said:
            _check(said[name], kind)


def _check(place: Place, kind: Number | Words | Flag) -> None:
    match kind:
        case Number():
            place.number(kind.of, above=kind.above, most=kind.most)
        case Words():
            words = [entry.text() for entry in place.items(kind.of)]
            if not words:
                place.refuse(f"Write at least one of the {kind.of}, or leave it out.")
        case Flag():
            place.boolean()
