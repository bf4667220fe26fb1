"""Speed, size and cost by the proof sheets, and what callers see of them now."""

from collections.abc import Iterator
from math import floor, log10
from typing import Any

from apps.releases.domain import judging
from apps.releases.domain.difference.values import (
    NOT_MEASURED,
    NOTHING,
    Part,
    Price,
    Proof,
    Row,
    Subject,
    Traffic,
    absent,
)
from apps.releases.domain.judging import Direction, Judged, Tone
from controlplane.kernel.figures import THIN, rounded, sized

HOURS_A_MONTH = 730


def service_part(
    live: Subject | None, proposed: Subject, price: Price | None, tolerance: float | None
) -> Part:
    """Return what the proof sheets say, and what the replicas cost."""
    now, then = live.proof if live else Proof(), proposed.proof
    rows = [
        _latency("Latency p50", live, now.p50_ms, then.p50_ms),
        _latency("Latency p95", live, now.p95_ms, then.p95_ms),
        _latency("Latency p99", live, now.p99_ms, then.p99_ms),
        _ratio("Throughput", live, now.throughput, then.throughput, "/s", Direction.UP),
        _ratio("Memory", live, now.memory_mb, then.memory_mb, "MB", Direction.DOWN),
        _size(live, now.size, then.size),
        _parity(live, now, then, tolerance),
        *_costs(live, proposed, price),
    ]
    note = "From the proof sheets: one replica, one thread; throughput at a batch of 64."
    if price is not None:
        note += f" A replica costs {_money(price.hour, price)} an hour here."
    return Part("service", "Service", note, tuple(rows))


def _latency(name: str, live: Subject | None, now: float | None, then: float | None) -> Row:
    return _ratio(name, live, now, then, "ms", Direction.DOWN, more="slower", less="faster")


def _ratio(
    name: str,
    live: Subject | None,
    now: float | None,
    then: float | None,
    unit: str,
    direction: Direction,
    more: str = "more",
    less: str = "less",
) -> Row:
    judged = judging.judge_ratio(now, then, direction=direction, more=more, less=less)
    return _row(name, live, (now, then), judged, lambda value: f"{rounded(value)}{THIN}{unit}")


def _size(live: Subject | None, now: int | None, then: int | None) -> Row:
    judged = judging.judge_ratio(
        now, then, direction=Direction.NEITHER, more="larger", less="smaller"
    )
    return _row("Size of the files", live, (now, then), judged, sized)


def _row(
    name: str,
    live: Subject | None,
    numbers: tuple[float | None, float | None],
    judged: Judged,
    shown: Any,
) -> Row:
    now, then = numbers
    if live is None:
        known = then is not None
        judged = Judged(Tone.SAME, "") if known else Judged(Tone.UNKNOWN, "Not measured")
    return Row(
        name,
        shown(now) if now is not None else absent(live, NOT_MEASURED),
        shown(then) if then is not None else NOT_MEASURED,
        judged.meaning,
        judged.tone,
        numbers=numbers,
    )


def _parity(live: Subject | None, now: Proof, then: Proof, tolerance: float | None) -> Row:
    """Return how far each variant is from its own original."""
    if then.max_difference is None:
        judged = Judged(Tone.UNKNOWN, "Not measured")
    elif tolerance is not None and then.max_difference > tolerance:
        judged = Judged(Tone.WORSE, f"More than the tolerance of {tolerance:g}")
    elif tolerance is not None:
        judged = Judged(Tone.SAME, f"Within the tolerance of {tolerance:g}")
    else:
        judged = Judged(Tone.SAME, "")
    return Row(
        "Largest difference to the original",
        _difference(now) if live else NOTHING,
        _difference(then),
        judged.meaning,
        judged.tone,
        numbers=(now.max_difference, then.max_difference),
    )


def _difference(proof: Proof) -> str:
    if proof.max_difference is None:
        return NOT_MEASURED
    return "none" if proof.max_difference == 0 else rounded(proof.max_difference, 2)


def _costs(live: Subject | None, proposed: Subject, price: Price | None) -> Iterator[Row]:
    """Yield what a thousand predictions cost under full load, and what the replicas cost a month.

    The first is the price of a replica over what its proof sheet says it can do; it is what a
    prediction costs at best.
    """
    if price is None:
        return
    of = (live, proposed)
    thousand = tuple(_per_thousand(s, price) for s in of)
    judged = judging.judge_ratio(*thousand, direction=Direction.DOWN)
    name = "Cost of 1,000 predictions, fully used"
    yield _row(name, live, (thousand[0], thousand[1]), judged, lambda v: _money(v, price))
    month = tuple(s.replicas * price.hour * HOURS_A_MONTH if s else None for s in of)
    by = (month[1] or 0.0) - (month[0] or 0.0)
    judged = judging.judge_ratio(*month, direction=Direction.DOWN)
    if live and judged.tone in (Tone.BETTER, Tone.WORSE):
        less = "less" if by < 0 else "more"
        judged = Judged(judged.tone, f"{_money(abs(by), price)} a month {less}")
    yield _row(
        "Cost of the replicas a month",
        live,
        (month[0], month[1]),
        judged,
        lambda v: _money(v, price),
    )


def _per_thousand(subject: Subject | None, price: Price) -> float | None:
    if subject is None or not subject.proof.throughput:
        return None
    return price.hour / (subject.proof.throughput * 3.6)


def _money(amount: float, price: Price) -> str:
    # Never "3.3e-5": a price is read by people who do not write numbers so.
    shown = f"{amount:,.2f}" if amount >= 1 else f"{amount:.9f}"[: _digits(amount)].rstrip("0")
    return f"{shown}{THIN}{price.currency}"


def _digits(amount: float) -> int:
    """Return how many characters of a small number hold two figures ("0.000033")."""
    places = 0 if amount <= 0 else max(0, -floor(log10(amount)))
    return len("0.") + places + 1


# --- live traffic -----------------------------------------------------------------------------


def traffic_part(live: Subject | None, proposed: Subject, traffic: Traffic | None) -> Part:
    """Return what callers see now, against what the proof sheet promises."""
    if live is None or traffic is None:
        return Part("traffic", "", "", ())
    if not traffic.requests:
        meaning = "Silence says nothing about either."
        rows: tuple[Row, ...] = (
            Row("Requests", "no request came", "not live yet", meaning, Tone.UNKNOWN),
        )
    else:
        rows = (_seen_latency(live, proposed, traffic), _errors(traffic), _load(proposed, traffic))
    return Part(
        "traffic", "What callers see", f"The last {_minutes(traffic.minutes)}, all replicas.", rows
    )


def _seen_latency(live: Subject, proposed: Subject, traffic: Traffic) -> Row:
    now, then = live.proof.p95_ms, proposed.proof.p95_ms
    seen = traffic.p95_ms
    shown = f"{rounded(seen)}{THIN}ms" if seen is not None else NOT_MEASURED
    if seen is None or not now or then is None:
        meaning = "Without both proof sheets nobody can say what to expect."
        return Row("Latency p95 as callers see it", shown, "not live yet", meaning, Tone.UNKNOWN)
    # What the network, the proxy and the load add stays; only the model's own part changes.
    expected = max(seen - now, 0.0) + then
    judged = judging.judge_ratio(
        seen, expected, direction=Direction.DOWN, more="slower", less="faster"
    )
    meaning = f"{judged.meaning}, when all but the model's own time stays as it is."
    return Row(
        "Latency p95 as callers see it",
        shown,
        f"about {rounded(expected)}{THIN}ms",
        meaning,
        judged.tone,
        numbers=(seen, expected),
    )


def _errors(traffic: Traffic) -> Row:
    share = traffic.errors or 0.0
    shown = f"{rounded(share * 100, 2)}{THIN}% of {traffic.requests:,}"
    meaning = "Known only once it takes requests."
    return Row("Errors", shown, "not live yet", meaning, Tone.UNKNOWN, numbers=(share, None))


def _load(proposed: Subject, traffic: Traffic) -> Row:
    rps, able = traffic.rps or 0.0, proposed.proof.throughput
    shown = f"{rounded(rps)}{THIN}/s"
    if not able:
        return Row(
            "Requests",
            shown,
            NOT_MEASURED,
            "Whether it can carry that is not known.",
            Tone.UNKNOWN,
        )
    whole = able * proposed.replicas
    tone = Tone.SAME if whole >= rps else Tone.WORSE
    meaning = (
        f"The proof sheet says {rounded(whole / rps, 2)} times as much."
        if whole >= rps and rps
        else "The proof sheet says that it cannot carry what comes now."
    )
    return Row(
        "Requests", shown, f"up to {rounded(whole)}{THIN}/s", meaning, tone, numbers=(rps, whole)
    )


def _minutes(minutes: int) -> str:
    return f"{minutes // 60} hours" if minutes >= 120 else f"{minutes} minutes"
