"""What callers tell of predictions afterwards: rewards, outcomes, late labels. Pure.

An outcome is one number about one prediction: whether the offer was clicked (1 or 0), how much
was sold, whether the label that came a week later was the one that was predicted.
"""

import math
import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta

from controlplane.kernel.errors import Invalid
from controlplane.kernel.quantities import Tally

MOST_ITEMS = 1_000  # a call
MOST_SEGMENTS = 50  # a call; each makes rows of its own
LARGEST = 1e12  # a value whose square can still be summed without losing what it says
AHEAD = timedelta(minutes=5)  # how far a caller's clock may run before ours
LATE = timedelta(seconds=20)  # a window of arrival gets nothing more this long after its end
SLUG = re.compile(r"[a-z0-9][a-z0-9._-]{0,63}")
REQUEST_ID = re.compile(r"[\x21-\x7e]{1,128}")
LONGEST_SEGMENT = 64


@dataclass(frozen=True)
class Outcome:
    """One number about one prediction.

    Attributes:
        request_id: The prediction's `x-request-id`.
        revision: The number that its `x-modelyard-revision` named.
        metric: What the number is, as a slug ("clicked").
        value: The number; 1 or 0 for yes or no.
        segment: A group of callers that is looked at by itself; "" for none.
        at: When the prediction was made, where that is known.
    """

    request_id: str
    revision: int
    metric: str
    value: float
    segment: str = ""
    at: datetime | None = None

    @property
    def key(self) -> tuple[str, str]:
        """Return what counts once: one metric of one prediction."""
        return self.request_id, self.metric


def check(outcomes: Sequence[Outcome], *, now: datetime) -> None:
    """Refuse a call that holds anything without sense, naming the first place.

    Raises:
        Invalid: There are none, too many, or one of them is wrong.
    """
    if not 1 <= len(outcomes) <= MOST_ITEMS:
        raise Invalid(
            f"{len(outcomes)} outcomes were sent at once.",
            remedy=f"Send 1 to {MOST_ITEMS} a call.",
            field="items",
            code="feedback.how_many",
        )
    segments = {outcome.segment for outcome in outcomes}
    if len(segments) > MOST_SEGMENTS:
        raise Invalid(
            f"{len(segments)} segments were sent at once; at most {MOST_SEGMENTS} are taken.",
            remedy="A segment is one of a few large groups, such as a country; not a caller.",
            field="items",
            code="feedback.too_many_segments",
        )
    for index, outcome in enumerate(outcomes):
        _check_one(outcome, f"items.{index}", now)


def first_of_each(outcomes: Iterable[Outcome]) -> dict[tuple[str, str], Outcome]:
    """Return the outcomes by what counts once; of those sent twice, the first.

    They are ordered by key, so that two calls that hold the same ones wait for each other
    instead of each waiting for the other.
    """
    found: dict[tuple[str, str], Outcome] = {}
    for outcome in outcomes:
        found.setdefault(outcome.key, outcome)
    return dict(sorted(found.items()))


def sums(outcomes: Iterable[Outcome]) -> Mapping[tuple[int, str, str], Tally]:
    """Return the outcomes summed by revision number, metric and segment, in that order."""
    found: dict[tuple[int, str, str], Tally] = {}
    for outcome in outcomes:
        key = (outcome.revision, outcome.metric, outcome.segment)
        one = Tally(1, outcome.value, outcome.value * outcome.value)
        found[key] = found.get(key, Tally()) + one
    return dict(sorted(found.items()))


def _check_one(outcome: Outcome, place: str, now: datetime) -> None:
    if not REQUEST_ID.fullmatch(outcome.request_id):
        raise _wrong(
            place, "request_id", outcome.request_id,
            "Send the x-request-id of the prediction: 1 to 128 printable characters, no spaces.",
        )  # fmt: skip
    if not SLUG.fullmatch(outcome.metric):
        raise _wrong(
            place, "metric", outcome.metric,
            "Use 1 to 64 small letters, digits, '.', '_' or '-'; the first a letter or digit.",
        )  # fmt: skip
    if not math.isfinite(outcome.value) or abs(outcome.value) > LARGEST:
        raise _wrong(place, "value", outcome.value, f"Send a number of at most {LARGEST:g}.")
    if len(outcome.segment) > LONGEST_SEGMENT or not (outcome.segment or "x").isprintable():
        raise _wrong(
            place, "segment", outcome.segment, f"Use at most {LONGEST_SEGMENT} characters."
        )
    if outcome.at is not None and outcome.at > now + AHEAD:
        raise _wrong(
            place, "at", outcome.at.isoformat(), "Send when the prediction was made; not later."
        )


def _wrong(place: str, field: str, value: object, remedy: str) -> Invalid:
    return Invalid(
        f"{str(value)[:80]!r} is no {field.replace('_', ' ')} of an outcome.",
        remedy=remedy,
        field=f"{place}.{field}",
        code="feedback.malformed",
    )
