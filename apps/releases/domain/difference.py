"""What would change: the variant that is proposed against what is live there. Pure.

Values in, rows out. Each row says what is live, what is proposed, and what the difference means
in words that a person could say. What nobody measured is unknown, never zero and never better.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from math import floor, log10
from typing import Any

from apps.registry.domain import compare as comparing
from apps.registry.domain.compare import Callable, Comparison, FieldRow, FileRow, Side, Verdict
from apps.registry.domain.inspected import Tensor
from apps.releases.domain import judging, requirements
from apps.releases.domain.judging import Direction, Judged, Measured, Span, Tone
from controlplane.kernel.figures import THIN, rounded, sized

FIRST = "Nothing is live here yet: this would be the first."
NOTHING = "nothing"
NOT_GIVEN = "not given"
NOT_MEASURED = "not measured"
HOURS_A_MONTH = 730
DIGEST = 12  # hex digits that a person can compare


@dataclass(frozen=True)
class Proof:
    """A variant's proof sheet; None where nothing was measured.

    Latencies are in milliseconds at a batch of 1 on one thread; throughput is in predictions per
    second at a batch of 64; memory is of one replica.
    """

    p50_ms: float | None = None
    p95_ms: float | None = None
    p99_ms: float | None = None
    throughput: float | None = None
    memory_mb: float | None = None
    size: int | None = None
    max_difference: float | None = None
    agreement: float | None = None
    told: str = ""


@dataclass(frozen=True)
class Subject:
    """One side: a version in one form, as it is or would be served.

    Attributes:
        side: What the registry compares.
        team: Who owns the model.
        risk_tier: Of the policy that it was, or is to be, checked by.
        variant: Its kind.
        bundle: The digest of the bundle.
        runtime: A name in the runtime catalogue; "" for the best one.
        replicas: How many.
        configuration: Settings of the runtime.
        proof: What was measured when it was built.
        metrics: The version's metrics by name, with intervals where somebody gave them.
        requirements: Pip lines.
        revision: The number of the live revision; None when it is only proposed.
        since: Since when it is live.
    """

    side: Side
    team: str
    risk_tier: str
    variant: str
    bundle: str
    runtime: str
    replicas: int
    configuration: Mapping[str, Any] = field(default_factory=dict)
    proof: Proof = field(default_factory=Proof)
    metrics: Mapping[str, Measured] = field(default_factory=dict)
    requirements: Sequence[str] = ()
    revision: int | None = None
    since: datetime | None = None


@dataclass(frozen=True)
class Traffic:
    """What callers saw of the live revision.

    Attributes:
        minutes: How far back.
        requests: How many came; 0 for silence.
        rps: Requests per second; None without a request.
        errors: Share that failed on our side; None without a request.
        p95_ms: Through the proxy; None without a request.
    """

    minutes: int
    requests: int = 0
    rps: float | None = None
    errors: float | None = None
    p95_ms: float | None = None


@dataclass(frozen=True)
class Price:
    """What one replica costs an hour, as the installation says."""

    hour: float
    currency: str


@dataclass(frozen=True)
class Line:
    """One line that came ("+"), went ("-") or explains (" ")."""

    sign: str
    text: str


@dataclass(frozen=True)
class Row:
    """One thing that may differ.

    Attributes:
        name: What it is.
        live: What is live, for a person.
        proposed: What is proposed, for a person.
        meaning: What the difference means, in words.
        tone: What it means for whoever decides.
        span: The difference with its interval, where there is one.
        lines: The difference line by line, where it has lines.
        numbers: What is live and what is proposed, for a program.
    """

    name: str
    live: str
    proposed: str
    meaning: str
    tone: Tone = Tone.SAME
    span: Span | None = None
    lines: tuple[Line, ...] = ()
    numbers: tuple[float | None, float | None] = (None, None)


@dataclass(frozen=True)
class Part:
    """Some rows under one heading.

    Attributes:
        key: For links and programs.
        title: The heading.
        note: How the numbers came about.
        rows: In order.
    """

    key: str
    title: str
    note: str
    rows: tuple[Row, ...]


@dataclass(frozen=True)
class Difference:
    """Everything that would change.

    Attributes:
        first: Whether nothing is live there.
        sentence: The answer before the table.
        callers: What callers must do, in a sentence.
        breaks: Whether callers must change; None when that is not known.
        parts: In the order in which they are read.
    """

    first: bool
    sentence: str
    callers: str
    breaks: bool | None
    parts: tuple[Part, ...]

    def rows(self) -> Iterator[Row]:
        """Yield every row."""
        for part in self.parts:
            yield from part.rows


def compare(
    live: Subject | None,
    proposed: Subject,
    *,
    traffic: Traffic | None = None,
    price: Price | None = None,
    tolerance: float | None = None,
) -> Difference:
    """Return what would change.

    Args:
        live: What answers now; None when nothing does.
        proposed: What is to answer.
        traffic: What callers saw of `live`.
        price: What a replica costs; None leaves costs out.
        tolerance: The largest |difference| to the original that the model's owner allows.
    """
    compared = comparing.compare(live.side, proposed.side) if live else None
    parts = (
        _quality(live, proposed),
        _service(live, proposed, price, tolerance),
        _traffic(live, proposed, traffic),
        _contract(live, proposed, compared),
    )
    kept = tuple(part for part in parts if part.rows)
    return Difference(
        first=live is None,
        sentence=_sentence(live, kept),
        callers=_callers(compared, proposed),
        breaks=_breaks(compared),
        parts=kept,
    )


# --- quality ----------------------------------------------------------------------------------


def _quality(live: Subject | None, proposed: Subject) -> Part:
    known = live.metrics if live else {}
    names = [*proposed.metrics, *(n for n in known if n not in proposed.metrics)]
    rows = tuple(_metric(n, known.get(n), proposed.metrics.get(n), live) for n in names)
    note = proposed.side.lineage.get("dataset", "")
    if not rows:
        meaning = "Nobody recorded a metric, so nobody can say which is better."
        rows = (Row("Metrics", _none(live), NOT_GIVEN, meaning, Tone.UNKNOWN),)
    return Part("quality", "Quality", f"Trained on {note}." if note else "", rows)


def _metric(
    name: str, live: Measured | None, proposed: Measured | None, subject: Subject | None
) -> Row:
    judged = _judge_metric(name, live, proposed, subject)
    return Row(
        name,
        _measured(live) if live else _none(subject),
        _measured(proposed) if proposed else NOT_GIVEN,
        judged.meaning,
        judged.tone,
        judged.span,
        numbers=(live.value if live else None, proposed.value if proposed else None),
    )


def _judge_metric(
    name: str, live: Measured | None, proposed: Measured | None, subject: Subject | None
) -> Judged:
    if subject is None:
        return Judged(Tone.SAME, _alone(proposed))
    if proposed is None:
        return Judged(Tone.UNKNOWN, "The proposed version does not say")
    if live is None:
        return Judged(Tone.UNKNOWN, "What is live does not say")
    return judging.judge_metric(name, live, proposed)


def _alone(measured: Measured | None) -> str:
    if measured is None or measured.low is None or measured.high is None:
        return "Without an interval"
    return f"95{THIN}% interval {rounded(measured.low, 4)} to {rounded(measured.high, 4)}"


def _measured(measured: Measured) -> str:
    return rounded(measured.value, 4)


# --- service ----------------------------------------------------------------------------------


def _service(
    live: Subject | None, proposed: Subject, price: Price | None, tolerance: float | None
) -> Part:
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
        shown(now) if now is not None else _none(live, NOT_MEASURED),
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


def _traffic(live: Subject | None, proposed: Subject, traffic: Traffic | None) -> Part:
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


# --- contract and contents --------------------------------------------------------------------


def _contract(live: Subject | None, proposed: Subject, compared: Comparison | None) -> Part:
    rows = [
        _signature(live, proposed, compared),
        _variant(live, proposed),
        _settings(live, proposed),
        _dependencies(live, proposed),
        _files(live, proposed, compared),
        _said("Risk tier", live.risk_tier if live else None, proposed.risk_tier, live),
        _said("Owner", live.team if live else None, proposed.team, live),
        _origin("Training data", "dataset digest", live, proposed),
        _origin("Git commit", "commit", live, proposed),
    ]
    return Part("contract", "Contract and contents", "", tuple(rows))


def _signature(live: Subject | None, proposed: Subject, compared: Comparison | None) -> Row:
    breaks = _breaks(compared)
    if live is None:
        known = bool(proposed.side.inputs)
        tone = Tone.SAME if known else Tone.UNKNOWN
    else:
        tone = {True: Tone.WORSE, False: Tone.SAME, None: Tone.UNKNOWN}[breaks]
    return Row(
        "Signature",
        _ports(live.side) if live else NOTHING,
        _ports(proposed.side),
        _callers(compared, proposed),
        tone,
        lines=_signature_lines(compared),
    )


def _breaks(compared: Comparison | None) -> bool | None:
    if compared is None or compared.callable is Callable.UNKNOWN:
        return None
    return compared.callable is Callable.NO


def _callers(compared: Comparison | None, proposed: Subject) -> str:
    if compared is None:
        ports = _ports(proposed.side)
        return "Nobody calls it yet." if ports == NOT_GIVEN else f"Nobody calls it yet: {ports}."
    if compared.callable is Callable.NO:
        return "Callers must change: " + " ".join(compared.reasons)
    if compared.callable is Callable.UNKNOWN:
        return "Whether callers must change is not known: one side does not say what it takes."
    more = sum(1 for row in compared.outputs if row.left is None)
    return ("One output more. " if more == 1 else f"{more} outputs more. " if more else "") + (
        "Callers need no change."
    )


def _ports(side: Side) -> str:
    if not side.inputs and not side.outputs:
        return NOT_GIVEN
    return f"{_count(len(side.inputs), 'input')}, {_count(len(side.outputs), 'output')}"


def _signature_lines(compared: Comparison | None) -> tuple[Line, ...]:
    if compared is None:
        return ()
    rows: list[tuple[str, FieldRow]] = [
        *(("input", r) for r in compared.inputs),
        *(("output", r) for r in compared.outputs),
    ]
    return tuple(
        line
        for kind, row in rows
        if row.verdict is not Verdict.SAME
        for line in _came_and_went(
            row.left and f"{kind} {_tensor(row.left)}",
            row.right and f"{kind} {_tensor(row.right)}",
        )
    )


def _tensor(tensor: Tensor) -> str:
    sizes = ", ".join("n" if size < 0 else str(size) for size in tensor["shape"])
    return f"{tensor['name']}: {tensor['datatype']} [{sizes}]"


def _variant(live: Subject | None, proposed: Subject) -> Row:
    if live is None:
        return Row("Variant", NOTHING, proposed.variant, f"Bundle {_short(proposed.bundle)}")
    if live.bundle == proposed.bundle:
        return Row("Variant", live.variant, proposed.variant, "The same bytes")
    words = "Other bytes of the same kind" if live.variant == proposed.variant else "Another kind"
    lines = (Line("-", f"bundle {live.bundle}"), Line("+", f"bundle {proposed.bundle}"))
    return Row("Variant", live.variant, proposed.variant, words, lines=lines)


def _settings(live: Subject | None, proposed: Subject) -> Row:
    now, then = (_configuration(s) for s in (live, proposed))
    lines = tuple(
        line
        for name in sorted({*now, *then})
        if now.get(name) != then.get(name)
        for line in _came_and_went(_pair(name, now), _pair(name, then))
    )
    changed = [n for n in sorted({*now, *then}) if now.get(n) != then.get(n)]
    if live is None:
        return Row("Runtime and configuration", NOTHING, _runtime(proposed), "")
    meaning = (
        "The same"
        if not changed
        else "Changes: " + ", ".join(_moved(n, now, then) for n in changed)
    )
    return Row(
        "Runtime and configuration", _runtime(live), _runtime(proposed), meaning, lines=lines
    )


def _configuration(subject: Subject | None) -> dict[str, str]:
    if subject is None:
        return {}
    return {
        "runtime": subject.runtime or "the best one",
        "replicas": str(subject.replicas),
        **{str(k): str(v) for k, v in subject.configuration.items()},
    }


def _pair(name: str, values: Mapping[str, str]) -> str | None:
    return f"{name} = {values[name]}" if name in values else None


def _moved(name: str, now: Mapping[str, str], then: Mapping[str, str]) -> str:
    if name not in now:
        return f"{name} {then[name]} is new"
    if name not in then:
        return f"{name} is gone"
    return f"{name} {now[name]} to {then[name]}"


def _runtime(subject: Subject) -> str:
    return f"{subject.runtime or 'the best one'}, {_count(subject.replicas, 'replica')}"


def _dependencies(live: Subject | None, proposed: Subject) -> Row:
    then = proposed.requirements
    if live is None:
        tone = Tone.SAME if then else Tone.UNKNOWN
        return Row("Dependencies", NOTHING, _lines_or(then), "", tone)
    now = live.requirements
    if not now or not then:
        meaning = "One side does not name its dependencies."
        return Row("Dependencies", _lines_or(now), _lines_or(then), meaning, Tone.UNKNOWN)
    changes = requirements.changes(now, then)
    lines = tuple(line for c in changes for line in _came_and_went(c.before, c.after))
    meaning = "; ".join(c.words for c in changes) or "The same"
    return Row("Dependencies", _lines_or(now), _lines_or(then), meaning, lines=lines)


def _lines_or(lines: Sequence[str]) -> str:
    return str(len(lines)) if lines else NOT_GIVEN


def _files(live: Subject | None, proposed: Subject, compared: Comparison | None) -> Row:
    shown = _counted_files(proposed.side)
    if live is None or compared is None:
        return Row("Files", NOTHING, shown, "")
    changed = [row for row in compared.files if row.verdict is not Verdict.SAME]
    counts = {v: sum(1 for row in changed if row.verdict is v) for v in Verdict}
    words = [
        f"{counts[v]} {v}" for v in (Verdict.ADDED, Verdict.REMOVED, Verdict.CHANGED) if counts[v]
    ]
    lines = tuple(line for row in changed for line in _file_lines(row))
    meaning = ", ".join(words).capitalize() if words else "The same bytes"
    return Row("Files", _counted_files(live.side), shown, meaning, lines=lines)


def _counted_files(side: Side) -> str:
    return f"{_count(len(side.files), 'file')}, {sized(side.size)}" if side.files else NOT_GIVEN


def _file_lines(row: FileRow) -> Iterator[Line]:
    told = [
        f"{f.path} {f.sha256[:DIGEST]} {sized(f.size)}" if f else None
        for f in (row.left, row.right)
    ]
    yield from _came_and_went(told[0], told[1])


def _said(name: str, now: str | None, then: str, live: Subject | None) -> Row:
    if live is None:
        return Row(name, NOTHING, then or NOT_GIVEN, "")
    meaning = (
        "The same" if now == then else f"Changes from {now or NOT_GIVEN} to {then or NOT_GIVEN}"
    )
    return Row(name, now or NOT_GIVEN, then or NOT_GIVEN, meaning)


def _origin(name: str, key: str, live: Subject | None, proposed: Subject) -> Row:
    then = proposed.side.lineage.get(key, "")
    now = live.side.lineage.get(key, "") if live else ""
    shown = [_short(value) if value else NOT_GIVEN for value in (now, then)]
    if live is None:
        return Row(name, NOTHING, shown[1], "", Tone.SAME if then else Tone.UNKNOWN)
    if not now or not then:
        return Row(name, shown[0], shown[1], "One side does not say.", Tone.UNKNOWN)
    return Row(name, shown[0], shown[1], "The same" if now == then else "Another")


# --- words ------------------------------------------------------------------------------------


def _sentence(live: Subject | None, parts: Sequence[Part]) -> str:
    """Return the answer: what is better and what is worse, by name."""
    if live is None:
        return FIRST
    rows = [row for part in parts for row in part.rows]
    better = [row.name for row in rows if row.tone is Tone.BETTER]
    worse = [row.name for row in rows if row.tone is Tone.WORSE]
    told = [
        f"{title}: {_listed(names)}."
        for title, names in (("Better", better), ("Worse", worse))
        if names
    ]
    return " ".join(told) or "Nothing that was measured is clearly better or worse."


def _listed(names: Sequence[str]) -> str:
    shown = [name if name.isupper() else name[:1].lower() + name[1:] for name in names[:3]]
    more = len(names) - len(shown)
    return ", ".join(shown) + (f" and {more} more" if more else "")


def _came_and_went(before: str | None, after: str | None) -> Iterator[Line]:
    if before is not None:
        yield Line("-", before)
    if after is not None:
        yield Line("+", after)


def _none(live: Subject | None, otherwise: str = NOT_GIVEN) -> str:
    return NOTHING if live is None else otherwise


def _short(text: str) -> str:
    return text.removeprefix("sha256:")[:DIGEST]


def _count(number: int, noun: str) -> str:
    return f"{number} {noun}" if number == 1 else f"{number} {noun}s"
