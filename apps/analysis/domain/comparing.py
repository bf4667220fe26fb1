"""Two servers' answers to the same request, joined and compared. Pure."""

import math
from collections import defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from apps.analysis.domain.answers import Element, Kept, Output
from controlplane.kernel.figures import rounded
from controlplane.kernel.quantities import Tally, of_share

ALL = "all"  # the slice of answers that name no label
SEVERAL = "several"  # of answers that name more than one
NO_ANSWER = "no answer"  # of requests that stable did not answer

_SHOWN = 240  # characters of an answer that is shown as an example
_LABEL = 60  # characters of a label
_PROBABLE = 1e-3  # how far from 1 probabilities may add up to


@dataclass(frozen=True)
class Pair:
    """Both answers to one request."""

    stable: Kept
    canary: Kept


@dataclass(frozen=True)
class Joined:
    """Answers of two sides, brought together.

    Attributes:
        pairs: In the order of stable's answers.
        unmatched_stable: What the canary has not answered.
        unmatched_canary: What stable has not answered.
    """

    pairs: tuple[Pair, ...]
    unmatched_stable: tuple[Kept, ...]
    unmatched_canary: tuple[Kept, ...]


@dataclass(frozen=True)
class Compared:
    """What the comparison of a pair says.

    Attributes:
        request_id: The request's.
        at: When stable answered, in seconds since 1970.
        agrees: Whether both said the same, within the tolerance.
        label_flip: Whether a label differs; None where stable gave no label.
        max_difference: The largest |difference| of two numbers, for numbers beyond 1 relative
            to stable's; None where no numbers were compared.
        slice: The label that stable gave.
        stable_status: HTTP.
        canary_status: HTTP.
        stable_ms: How long stable took.
        canary_ms: How long the canary took.
        problem: In what they differ, as a sentence; "" when they agree.
        stable: What stable said, shortened; "" when they agree.
        canary: What the canary said, shortened; "" when they agree.
    """

    request_id: str
    at: float
    agrees: bool
    label_flip: bool | None
    max_difference: float | None
    slice: str
    stable_status: int
    canary_status: int
    stable_ms: float
    canary_ms: float
    problem: str = ""
    stable: str = ""
    canary: str = ""


def join(stable: Iterable[Kept], canary: Iterable[Kept]) -> Joined:
    """Bring together the answers to the same request: of the same id and the same body.

    A caller may use an id twice, and send the same body twice: such answers are paired in the
    order in which they came. An answer whose body was refused unread is paired by the id alone,
    after all others have found theirs.
    """
    left, right = sorted(stable, key=_when), sorted(canary, key=_when)
    pairs, left, right = _paired(left, right, by_body=True)
    late, left, right = _paired(left, right, by_body=False)
    return Joined(
        tuple(sorted(pairs + late, key=lambda pair: _when(pair.stable))),
        tuple(left),
        tuple(right),
    )


def compare(pair: Pair, *, tolerance: float) -> Compared:
    """Return whether the canary answered what stable did.

    Whole numbers, yes-or-no and texts are labels, and must be equal. Other numbers may differ by
    `tolerance`, which for numbers beyond 1 is taken relative to stable's. Outputs that only the
    canary has are not looked at.
    """
    stable, canary = pair.stable, pair.canary
    if stable.status != canary.status:
        problem = f"Stable answered {stable.status}, and the canary {canary.status}."
        found = _Difference(problem)
    else:
        found = _of_outputs(stable.outputs, canary.outputs, tolerance)
    return Compared(
        request_id=stable.request_id,
        at=stable.at,
        agrees=not found.problem,
        label_flip=found.flip,
        max_difference=found.distance,
        slice=_slice(stable),
        stable_status=stable.status,
        canary_status=canary.status,
        stable_ms=stable.milliseconds,
        canary_ms=canary.milliseconds,
        problem=found.problem,
        stable=shortened(stable) if found.problem else "",
        canary=shortened(canary) if found.problem else "",
    )


def tally(compared: Iterable[Compared]) -> Tally:
    """Return disagreements as a share of what was compared: what the judge takes."""
    agreements = [one.agrees for one in compared]
    return of_share(len(agreements), agreements.count(False))


def shortened(answer: Kept) -> str:
    """Return what an answer says in one short line."""
    if not answer.outputs:
        return f"status {answer.status}"
    parts = [f"{one.name}: {_listed(one.data)}" for one in answer.outputs]
    return _short("; ".join(parts), _SHOWN)


def _when(answer: Kept) -> tuple[float, int, int]:
    return answer.at, answer.port, answer.sequence


def _paired(
    left: Sequence[Kept], right: Sequence[Kept], *, by_body: bool
) -> tuple[list[Pair], list[Kept], list[Kept]]:
    waiting: defaultdict[tuple[str, str], list[Kept]] = defaultdict(list)
    for answer in reversed(right):
        waiting[_key(answer, by_body)].append(answer)
    pairs, alone = [], []
    for answer in left:
        # Without a body, one of the two must be without: bodies that differ are no pair.
        partners = waiting[_key(answer, by_body)]
        if partners and (by_body or "" in (answer.body, partners[-1].body)):
            pairs.append(Pair(answer, partners.pop()))
        else:
            alone.append(answer)
    rest = [answer for partners in waiting.values() for answer in partners]
    return pairs, alone, sorted(rest, key=_when)


def _key(answer: Kept, by_body: bool) -> tuple[str, str]:
    return answer.request_id, answer.body if by_body else ""


@dataclass(frozen=True)
class _Difference:
    problem: str = ""
    flip: bool | None = None
    distance: float | None = None


def _of_outputs(
    stable: Sequence[Output], canary: Sequence[Output], tolerance: float
) -> _Difference:
    by_name = {output.name: output for output in canary}
    found = [_of_output(output, by_name.get(output.name), tolerance) for output in stable]
    flips = [one.flip for one in found if one.flip is not None]
    distances = [one.distance for one in found if one.distance is not None]
    return _Difference(
        problem=next((one.problem for one in found if one.problem), ""),
        flip=any(flips) if flips else None,
        distance=max(distances, default=None),
    )


def _of_output(stable: Output, canary: Output | None, tolerance: float) -> _Difference:
    if canary is None:
        return _Difference(f"The canary's answer has no output “{stable.name}”.")
    if stable.shape != canary.shape:
        return _Difference(
            f"“{stable.name}” has the shape {list(canary.shape)} with the canary, "
            f"and {list(stable.shape)} with stable."
        )
    both = _side_by_side(stable, canary)
    if _is_numeric(stable):
        return _of_numbers(stable.name, both, tolerance)
    return _of_labels(stable, canary, both)


def _side_by_side(stable: Output, canary: Output) -> list[tuple[Element, Element]]:
    """Return the elements that are known of both; samples may have been taken unlike."""
    if not stable.step or not canary.step:
        return []
    step = math.lcm(stable.step, canary.step)
    return list(
        zip(stable.data[:: step // stable.step], canary.data[:: step // canary.step], strict=False)
    )


def _is_numeric(output: Output) -> bool:
    return output.datatype.startswith("FP")


def _of_numbers(
    name: str, both: Sequence[tuple[Element, Element]], tolerance: float
) -> _Difference:
    if not both:
        return _Difference()
    furthest, (wanted, got) = max(
        ((distance(wanted, got), (wanted, got)) for wanted, got in both), key=lambda one: one[0]
    )
    if furthest <= tolerance:
        return _Difference(distance=furthest)
    said = f"“{name}” is {_spelt(got)} with the canary, and {_spelt(wanted)} with stable"
    apart = f"; {rounded(furthest)} apart, and {rounded(tolerance)} is tolerated"
    return _Difference(f"{said}{apart if math.isfinite(furthest) else ''}.", distance=furthest)


def distance(wanted: Element, got: Element) -> float:
    """Return how far two numbers are apart, beyond 1 relative to the one that is wanted."""
    if isinstance(wanted, str) or isinstance(got, str):
        return 0.0 if wanted == got else math.inf
    if wanted == got or (math.isnan(wanted) and math.isnan(got)):
        return 0.0
    if not (math.isfinite(wanted) and math.isfinite(got)):
        return math.inf
    return abs(wanted - got) / max(1.0, abs(wanted))


def _of_labels(
    stable: Output, canary: Output, both: Sequence[tuple[Element, Element]]
) -> _Difference:
    others = [(wanted, got) for wanted, got in both if wanted != got]
    if others:
        wanted, got = others[0]
        more = f" {len(others) - 1:,} more differ." if len(others) > 1 else ""
        said = f"“{stable.name}” is {_label(got)} with the canary, and {_label(wanted)} with"
        return _Difference(f"{said} stable.{more}", flip=True)
    alike = stable.datatype == canary.datatype
    if alike and stable.digest and canary.digest and stable.digest != canary.digest:
        return _Difference(f"“{stable.name}” differs in elements that were not kept.", flip=True)
    return _Difference(flip=False)


def _slice(stable: Kept) -> str:
    if not 200 <= stable.status < 300:
        return NO_ANSWER
    for output in stable.outputs:
        if not _is_numeric(output):
            return _one_of({_label(element) for element in output.data})
    for output in stable.outputs:
        likeliest = _likeliest(output)
        if likeliest:
            return _one_of({str(place) for place in likeliest})
    return ALL


def _one_of(labels: set[str]) -> str:
    if not labels:
        return ALL
    return labels.pop() if len(labels) == 1 else SEVERAL


def _likeliest(output: Output) -> list[int]:
    """Return the likeliest class of every row; nothing when these are no probabilities."""
    classes = output.shape[-1] if output.shape else 0
    numbers = [element for element in output.data if isinstance(element, int | float)]
    if output.step != 1 or classes < 2 or not numbers or len(numbers) % classes:
        return []
    rows = [numbers[start : start + classes] for start in range(0, len(numbers), classes)]
    if not all(min(row) >= 0 and abs(sum(row) - 1) <= _PROBABLE for row in rows):
        return []
    return [row.index(max(row)) for row in rows]


def _label(element: Element) -> str:
    if isinstance(element, bool):
        return "true" if element else "false"
    return _short(str(element), _LABEL)


def _spelt(element: Element) -> str:
    return rounded(element, 6) if isinstance(element, float) else _label(element)


def _listed(data: Sequence[Element]) -> str:
    return ", ".join(_spelt(element) for element in data[:20]) + (", …" if data[20:] else "")


def _short(text: str, most: int) -> str:
    # PostgreSQL keeps no NUL in a text.
    text = text.replace("\0", "␀")
    return text if len(text) <= most else f"{text[: most - 1]}…"
