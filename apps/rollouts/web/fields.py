"""A strategy's document as the fields of a form, and back. Pure.

The fields cover what people change. Whatever else a document says (metrics, limits, how sure the
judge must be) stays as it is while fields change, and is written as JSON.
"""

import re
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from apps.rollouts.domain import document as documents
from apps.rollouts.domain.strategy import StrategyKind

K = StrategyKind
Document = dict[str, Any]
Told = Mapping[str, Any]

UNITS = {"s": 1, "min": 60, "h": 3600, "d": 86_400}
LENGTH = re.compile(
    r"([0-9]{1,9}(?:\.[0-9]{1,3})?)\s*(s|sec|seconds?|m|min|minutes?|h|hours?|d|days?)?"
)
ALL, NONE, LAST, AS_IT_IS = "all", "none", "last", "as_it_is"
WHOLE_RUNG = {"judge": True, "ask": False}
# What a kind begins with when somebody chooses it: the names are theirs to replace.
EXAMPLES: dict[StrategyKind, Document] = {
    K.AB: {
        "metric": {"name": "converted"},
        "sticky": {"by": "header", "name": "x-user-id"},
        "hypothesis": "More callers convert.",
    },
    K.BANDIT: {"metric": {"name": "clicked"}},
}


class Wrong(ValueError):
    """A field holds what cannot be read.

    Attributes:
        field: Its name.
        sentence: What is wrong, and what to write.
    """

    def __init__(self, field: str, sentence: str) -> None:
        """Say which field, and what is wrong."""
        self.field, self.sentence = field, sentence
        super().__init__(sentence)


def usual(kind: StrategyKind) -> Document:
    """Return the document that a kind begins with."""
    return documents.as_document(documents.parse({"kind": str(kind), **EXAMPLES.get(kind, {})}))


def fields_of(document: Told) -> Document:
    """Return what the fields of a whole document hold."""
    kind = StrategyKind(document["kind"])
    shared = {"keep_warm": length_text(document["keep_warm_seconds"])}
    if "on_deadline" in document:
        shared["on_deadline"] = document["on_deadline"]
    return shared | READ[kind](document)


def document_of(kind: StrategyKind, told: Told, base: Told) -> Document:
    """Return the document that fields say.

    Args:
        kind: The kind whose fields they are.
        told: What they hold.
        base: The whole document that they were filled from; what no field is about stays.

    Raises:
        Wrong: Fields do not fit together.
    """
    shared: Document = {"kind": str(kind), "keep_warm_seconds": told["keep_warm"]}
    if "on_deadline" in told:
        shared["on_deadline"] = told["on_deadline"]
    return {**base, **shared, **WRITE[kind](told, base)}


def length_text(seconds: float) -> str:
    """Return a length of time as a field shows it: "45 s", "10 min", "90 min", "7 d"."""
    unit = next((u for u in ("d", "h", "min") if seconds and seconds % UNITS[u] == 0), "s")
    return f"{seconds / UNITS[unit]:g} {unit}"


def seconds_of(text: str) -> float:
    """Return the seconds of a length of time; a bare number is minutes.

    Raises:
        ValueError: It is none.
    """
    found = LENGTH.fullmatch(text.strip().lower())
    if found is None:
        raise ValueError(f"“{text.strip()[:40]}” is no length of time; write 30 s, 10 min or 2 h.")
    unit = found[2] or "min"
    name = {"m": "min", "s": "s", "h": "h", "d": "d"}[unit[0]]
    return float(found[1]) * UNITS[name]


def many_seconds_of(text: str) -> list[float]:
    """Return the seconds of lengths of time between commas.

    Raises:
        ValueError: One of them is none.
    """
    return [seconds_of(part) for part in text.split(",") if part.strip()]


def weights_of(text: str) -> list[int]:
    """Return percents between commas or blanks.

    Raises:
        ValueError: One of them is none.
    """
    found = []
    for part in re.split(r"[,;\s]+", text.replace("%", " ").strip()):
        if not part:
            continue
        if not (part.isascii() and part.isdigit() and 1 <= int(part[:9]) <= 100):
            raise ValueError(f"“{part[:20]}” is no whole percent from 1 to 100.")
        found.append(int(part))
    return found


def _ladder_fields(steps: Sequence[Told]) -> Document:
    return {
        "weights": ", ".join(str(step["weight"]) for step in steps),
        "holds": _once([length_text(step["hold_seconds"]) for step in steps]),
        "deadlines": _once([length_text(step["deadline_seconds"]) for step in steps]),
        "judge": _which([step["judge"] for step in steps]),
        "ask": _which([step["ask"] for step in steps]),
    }


def _once(texts: Sequence[str]) -> str:
    return texts[0] if len(set(texts)) == 1 else ", ".join(texts)


def _which(flags: Sequence[bool]) -> str:
    if all(flags):
        return ALL if flags else NONE
    if not any(flags):
        return NONE
    return LAST if flags[-1] and not any(flags[:-1]) else AS_IT_IS


def _ladder(told: Told, before: Sequence[Told]) -> list[Document]:
    weights = told["weights"]
    holds = _each("holds", told["holds"], len(weights), usual=120.0)
    deadlines = _each("deadlines", told["deadlines"], len(weights), usual=3600.0)
    known = {step["weight"]: step for step in before}
    return [
        {
            "weight": weight,
            "hold_seconds": holds[at],
            "judge": _flag(told["judge"], at, len(weights), known.get(weight), "judge"),
            "ask": _flag(told["ask"], at, len(weights), known.get(weight), "ask"),
            "deadline_seconds": deadlines[at],
        }
        for at, weight in enumerate(weights)
    ]


def _each(field: str, given: Sequence[float], count: int, *, usual: float) -> list[float]:
    """Return one value a step: one given counts for all."""
    if len(given) <= 1:
        return [given[0] if given else usual] * count
    if len(given) != count:
        raise Wrong(field, f"There are {count} steps and {len(given)} of these; write one or all.")
    return list(given)


def _flag(which: str, at: int, count: int, known: Told | None, name: str) -> bool:
    if which == AS_IT_IS:
        return bool((known or WHOLE_RUNG)[name])
    return which == ALL or (which == LAST and at == count - 1)


def _read_nothing(document: Told) -> Document:
    return {}


def _write_nothing(told: Told, base: Told) -> Document:
    return {}


def _read_canary(document: Told) -> Document:
    return _ladder_fields(document["steps"])


def _write_canary(told: Told, base: Told) -> Document:
    if not told["weights"]:
        raise Wrong("weights", "Write at least one step, such as 5, 10, 25, 50.")
    return {"steps": _ladder(told, base.get("steps", []))}


def _read_linear(document: Told) -> Document:
    return {
        "by": document["by"],
        "hold": length_text(document["hold_seconds"]),
        "deadline": length_text(document["deadline_seconds"]),
        "judged": document["judge"],
    }


def _write_linear(told: Told, base: Told) -> Document:
    return {
        "by": told["by"],
        "hold_seconds": told["hold"],
        "deadline_seconds": told["deadline"],
        "judge": told["judged"],
    }


def _read_blue_green(document: Told) -> Document:
    return {"preview": length_text(document["preview_seconds"]), "asks": document["ask"]}


def _write_blue_green(told: Told, base: Told) -> Document:
    return {"preview_seconds": told["preview"], "ask": told["asks"]}


def _read_shadow(document: Told) -> Document:
    return {
        "mirror": document["mirror"],
        "hold": length_text(document["hold_seconds"]),
        "deadline": length_text(document["deadline_seconds"]),
        "asks": document["ask"],
        **_ladder_fields(document["then"]),
    }


def _write_shadow(told: Told, base: Told) -> Document:
    return {
        "mirror": told["mirror"],
        "hold_seconds": told["hold"],
        "deadline_seconds": told["deadline"],
        "ask": told["asks"],
        "then": _ladder(told, base.get("then", [])),
    }


def _read_trying(document: Told) -> Document:
    metric, sticky = document["metric"], document.get("sticky") or {}
    return {
        "metric": metric["name"],
        "metric_title": metric["title"],
        "metric_kind": metric["kind"],
        "better": metric["better"],
        "weight": document["weight"],
        "horizon": length_text(document["horizon_seconds"]),
        "sticky_by": sticky.get("by", "header"),
        "sticky_name": sticky.get("name", ""),
    }


def _write_trying(told: Told, base: Told) -> Document:
    kept = {k: v for k, v in base.get("metric", {}).items() if k != "title"}
    title = {"title": told["metric_title"]} if told["metric_title"] else {}
    metric = {
        **kept, "name": told["metric"], "kind": told["metric_kind"], "better": told["better"],
        **title,
    }  # fmt: skip
    sticky = {"by": told["sticky_by"], "name": told["sticky_name"]}
    return {
        "metric": metric,
        "weight": told["weight"],
        "horizon_seconds": told["horizon"],
        "sticky": sticky if told["sticky_name"] else None,
    }


def _read_ab(document: Told) -> Document:
    own = {"hypothesis": document["hypothesis"], "least_effect": document["least_effect"] or None}
    return _read_trying(document) | own


def _write_ab(told: Told, base: Told) -> Document:
    own = {"hypothesis": told["hypothesis"], "least_effect": told["least_effect"] or 0.0}
    return _write_trying(told, base) | own


def _read_bandit(document: Told) -> Document:
    segments = document.get("segments") or {}
    return _read_trying(document) | {
        "every": length_text(document["every_seconds"]),
        "floor": document["floor"],
        "ceiling": document["ceiling"],
        "segment_header": segments.get("header", ""),
        "segment_values": ", ".join(segments.get("values", [])),
    }


def _write_bandit(told: Told, base: Told) -> Document:
    values = [part.strip() for part in told["segment_values"].split(",") if part.strip()]
    header = told["segment_header"]
    if bool(values) is not bool(header):
        missing = "segment_values" if header else "segment_header"
        raise Wrong(missing, "Segments need both a header and its values, or neither.")
    return _write_trying(told, base) | {
        "every_seconds": told["every"],
        "floor": told["floor"],
        "ceiling": told["ceiling"],
        "segments": {"header": header, "values": values} if header else None,
    }


READ: dict[StrategyKind, Callable[[Told], Document]] = {
    K.ALL_AT_ONCE: _read_nothing,
    K.CANARY: _read_canary,
    K.LINEAR: _read_linear,
    K.BLUE_GREEN: _read_blue_green,
    K.SHADOW: _read_shadow,
    K.AB: _read_ab,
    K.BANDIT: _read_bandit,
    K.RECREATE: _read_nothing,
}
WRITE: dict[StrategyKind, Callable[[Told, Told], Document]] = {
    K.ALL_AT_ONCE: _write_nothing,
    K.CANARY: _write_canary,
    K.LINEAR: _write_linear,
    K.BLUE_GREEN: _write_blue_green,
    K.SHADOW: _write_shadow,
    K.AB: _write_ab,
    K.BANDIT: _write_bandit,
    K.RECREATE: _write_nothing,
}
