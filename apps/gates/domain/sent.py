"""Evidence that somebody sends: what may be said, and how it is read. Pure."""

import json
import re
from collections.abc import Mapping, Sequence
from datetime import datetime, timedelta
from typing import Any, NoReturn

from apps.gates.domain import mltest, quality
from apps.gates.domain.catalogue import CATALOGUE, Gate, Kind
from apps.gates.domain.finding import Source, Verdict
from controlplane.kernel.errors import Invalid

LARGEST_FACTS = 256 * 1024
MOST_FILES, LONGEST_SENTENCE, LONGEST_LINK = 20, 2000, 500
AHEAD = timedelta(minutes=5)  # clocks of pipelines differ
CODE = "evidence.malformed"
URL = re.compile(r"https?://\S+")


def check_key(key: str, source: Source) -> None:
    """Refuse a key that nobody judges, or whose gate takes nobody's word.

    Raises:
        Invalid: With what may be sent instead.
    """
    told = CATALOGUE.get(key)
    if told is None and key not in mltest.BY_KEY:
        takes = [name for name, gate in CATALOGUE.items() if gate.sent]
        _refuse(
            "key", f"{key[:80]!r} is neither a gate nor a test.",
            f"Gates that take evidence: {', '.join(takes)}. Tests of the ML Test Score: "
            f"{', '.join(mltest.BY_KEY)}.",
        )  # fmt: skip
    if told is None:
        return
    if not told.sent:
        _refuse(
            "key", f"Modelyard measures {key} by itself and takes nobody's word for it.",
            "Run the gate again instead.",
        )  # fmt: skip
    if source is Source.STATEMENT and not told.people:
        _refuse(
            "source", f"{key} is not a matter of somebody's word.",
            "Have a pipeline send it with a token.",
        )  # fmt: skip


def is_judged(key: str) -> bool:
    """Return whether a gate of ours judges the facts, whatever verdict was sent with them."""
    told = CATALOGUE.get(key)
    return told is not None and told.kind is not Kind.LATER and not told.stated


def verdict(key: str, told: str) -> Verdict:
    """Return the verdict of evidence: as it was sent, or unknown where we judge by ourselves."""
    if is_judged(key):
        return Verdict.UNKNOWN
    if told not in (Verdict.PASSED, Verdict.FAILED):
        _refuse("verdict", f"The verdict is {told[:40]!r}.", "Send passed or failed.")
    return Verdict(told)


def facts(key: str, told: object) -> dict[str, Any]:
    """Return the facts, if they are what the gate can read.

    Raises:
        Invalid: They are too large, no JSON object, or not what the gate needs.
    """
    if not isinstance(told, Mapping):
        _refuse("facts", "facts is not a JSON object.", _example(key))
    try:
        text = json.dumps(told, allow_nan=False, ensure_ascii=False)
        text.encode()  # half of a surrogate pair is no text
    except (TypeError, ValueError):
        _refuse("facts", "facts holds NaN, infinity or what is no JSON.", "Send finite numbers.")
    if len(text) > LARGEST_FACTS:
        _refuse(
            "facts", f"facts has {len(text)} bytes; at most {LARGEST_FACTS} are taken.",
            "Send what is long as a file.",
        )  # fmt: skip
    if "\\u0000" in text:
        _refuse("facts", "facts holds a null character.", "Leave it out.")
    clean: dict[str, Any] = json.loads(text)
    _check_shape(key, clean)
    return clean


def link(told: str) -> str:
    """Return an address on the web, or nothing."""
    if told and (not URL.fullmatch(told) or len(told) > LONGEST_LINK):
        _refuse("link", f"{told[:80]!r} is not an address.", "Send the pipeline's https:// link.")
    return told


def sentence(told: str, key: str) -> str:
    """Return what was found, in words."""
    clean = words(told)
    if len(clean) > LONGEST_SENTENCE:
        _refuse(
            "sentence", f"sentence has more than {LONGEST_SENTENCE} characters.", "Shorten it."
        )
    return clean or f"Evidence for {key} was sent."


def words(told: str) -> str:
    """Return a text as a row can hold it: no null character, no half of a surrogate pair."""
    return told.encode("utf-8", "replace").decode().replace("\x00", "").strip()


def times(
    measured_at: datetime | None, expires_at: datetime | None, *, now: datetime
) -> tuple[datetime, datetime | None]:
    """Return when it was measured and when it expires.

    Raises:
        Invalid: It was measured in the future, or expires before it was measured.
    """
    at = measured_at or now
    for name, when in (("measured_at", at), ("expires_at", expires_at)):
        if when is not None and when.tzinfo is None:
            _refuse(name, f"{name} has no time zone.", "Write it like 2026-11-22T20:00:00Z.")
    if at > now + AHEAD:
        _refuse("measured_at", f"measured_at, {at.isoformat()}, is in the future.", "Send when.")
    if expires_at is not None and expires_at <= at:
        _refuse("expires_at", "It expires before it was measured.", "Leave expires_at out.")
    return min(at, now), expires_at


def _check_shape(key: str, told: Mapping[str, Any]) -> None:
    match key:
        case "quality.better":
            quality.parse(told)
        case "artifact.licences":
            _mapping_of_words(told.get("licences"), "facts.licences", key)
        case "signature.compatible":
            if not isinstance(told.get("live_version"), int):
                _refuse("facts.live_version", "facts.live_version is missing.", _example(key))
            _consumers(told.get("consumers"), key)
        case "model.fresh":
            _date(told.get("data_until"), key)


def _mapping_of_words(value: object, place: str, key: str) -> None:
    fits = isinstance(value, Mapping) and value and all(isinstance(v, str) for v in value.values())
    if not fits:
        _refuse(place, f"{place} is not an object of words.", _example(key))


def _consumers(value: object, key: str) -> None:
    entries: Sequence[object] = value if isinstance(value, list) else ()
    named = [e for e in entries if isinstance(e, Mapping) and e.get("name") and e.get("told_at")]
    if not entries or len(named) < len(entries):
        _refuse(
            "facts.consumers", "facts.consumers does not name everybody and when they were told.",
            _example(key),
        )  # fmt: skip


def _date(value: object, key: str) -> None:
    try:
        datetime.fromisoformat(str(value))
    except ValueError:
        _refuse("facts.data_until", f"facts.data_until is {str(value)[:40]!r}.", _example(key))


def _example(key: str) -> str:
    gate: Gate | None = CATALOGUE.get(key)
    return f"Send facts like this: {gate.sent if gate else '{}'}"


def _refuse(field: str, said: str, remedy: str) -> NoReturn:
    raise Invalid(said, remedy=remedy, field=field, code=CODE)
