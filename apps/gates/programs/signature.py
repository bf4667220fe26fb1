"""Gates about inputs and outputs."""

from collections.abc import Mapping
from typing import Any

from apps.gates.domain.finding import Finding, Source, failed, passed, unknown
from apps.gates.programs.artifact import some
from apps.gates.programs.subject import Reading, Subject
from apps.registry.domain.compare import Callable, Side, compare
from apps.registry.models import ModelVersion


def present(subject: Subject) -> Finding:
    """Judge whether the version says what it takes and gives."""
    inputs, outputs = subject.version.inputs, subject.version.outputs
    if inputs and outputs:
        return passed(
            f"{some(len(inputs), 'input')} and {some(len(outputs), 'output')} are declared.",
            inputs=inputs, outputs=outputs,
        )  # fmt: skip
    missing = " and ".join(
        word for word, told in (("inputs", inputs), ("outputs", outputs)) if not told
    )
    return failed(
        f"The version does not say its {missing}.",
        "Register it with a signature, or build it with samples to learn it from.",
    )


def compatible(subject: Subject) -> Finding:
    """Compare with what is live in the environment."""
    live = subject.live
    if live is None:
        return passed(f"Nothing is live in {subject.environment.slug} yet, so nobody calls it.")
    found = compare(_side(live.version), _side(subject.version))
    facts: dict[str, Any] = {
        "live_version": live.version.number,
        "breaks": found.reasons,
        "added": _named(found.inputs, "added") + _named(found.outputs, "added"),
    }
    what = f"v{live.version.number}, which is live in {subject.environment.slug}"
    if found.callable is Callable.UNKNOWN:
        return unknown(
            f"This version or {what} does not say what it takes and gives.",
            "Register both with a signature.", **facts,
        )  # fmt: skip
    if found.callable is Callable.YES:
        return passed(f"Whoever calls {what}, can call this version as well.", **facts)
    return _broken(subject, what, facts)


def _broken(subject: Subject, what: str, facts: dict[str, Any]) -> Finding:
    """A change that breaks callers passes only when every one of them is named."""
    sent = subject.sent(Source.CI, Source.STATEMENT)
    named = consumers(sent.facts) if sent is not None else []
    about = sent.facts.get("live_version") if sent is not None else None
    reasons = " ".join(facts["breaks"][:3])
    if sent is None or not named or about != facts["live_version"]:
        return failed(
            f"Callers of {what}, would fail: {reasons}",
            f'Keep the signature, or send evidence: {{"live_version": {facts["live_version"]}, '
            '"consumers": [{"name": ..., "told_at": ...}]}, naming everybody who calls it.',
            **facts,
        )
    return passed(
        f"It breaks callers of v{facts['live_version']} ({reasons}), and its consumers are named: "
        f"{', '.join(named[:10])}.",
        consumers=named, evidence=sent.public_id, **facts,
    )  # fmt: skip


def consumers(facts: Mapping[str, Any]) -> list[str]:
    """Return the names of the consumers that evidence lists, each of which was told."""
    told = facts.get("consumers")
    entries = told if isinstance(told, list) else []
    return [
        str(entry["name"])
        for entry in entries
        if isinstance(entry, Mapping) and entry.get("name") and entry.get("told_at")
    ]


def _conditions(subject: Subject) -> Mapping[str, Any]:
    return {"live": subject.live.bundle_digest if subject.live else ""}


def _side(version: ModelVersion) -> Side:
    return Side(number=version.number, inputs=version.inputs, outputs=version.outputs)


def _named(rows: Any, verdict: str) -> list[str]:
    return [row.name for row in rows if row.verdict == verdict]


PROGRAMS = (
    Reading("signature.present", present),
    Reading("signature.compatible", compatible, _conditions),
)
