"""What callers rely on and what is in the bundle: signature, settings, files, origin."""

from collections.abc import Iterator, Mapping, Sequence

from apps.registry.domain.compare import Callable, Comparison, FieldRow, FileRow, Side, Verdict
from apps.registry.domain.inspected import Tensor
from apps.releases.domain import requirements
from apps.releases.domain.difference.values import NOT_GIVEN, NOTHING, Line, Part, Row, Subject
from apps.releases.domain.judging import Tone
from controlplane.kernel.figures import sized

DIGEST = 12  # hex digits that a person can compare


def contract_part(live: Subject | None, proposed: Subject, compared: Comparison | None) -> Part:
    """Return what callers rely on, and what is in the bundle."""
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
    breaks = breaks_callers(compared)
    if live is None:
        known = bool(proposed.side.inputs)
        tone = Tone.SAME if known else Tone.UNKNOWN
    else:
        tone = {True: Tone.WORSE, False: Tone.SAME, None: Tone.UNKNOWN}[breaks]
    return Row(
        "Signature",
        _ports(live.side) if live else NOTHING,
        _ports(proposed.side),
        callers(compared, proposed),
        tone,
        lines=_signature_lines(compared),
    )


def breaks_callers(compared: Comparison | None) -> bool | None:
    """Return whether callers must change; None when that is not known."""
    if compared is None or compared.callable is Callable.UNKNOWN:
        return None
    return compared.callable is Callable.NO


def callers(compared: Comparison | None, proposed: Subject) -> str:
    """Return what callers must do, in a sentence."""
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


def _came_and_went(before: str | None, after: str | None) -> Iterator[Line]:
    if before is not None:
        yield Line("-", before)
    if after is not None:
        yield Line("+", after)


def _short(text: str) -> str:
    return text.removeprefix("sha256:")[:DIGEST]


def _count(number: int, noun: str) -> str:
    return f"{number} {noun}" if number == 1 else f"{number} {noun}s"
