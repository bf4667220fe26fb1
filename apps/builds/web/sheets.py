"""Builds and variants as pages show them. Pure over rows that selectors have read."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime

from apps.builds.domain.states import BuildState
from apps.builds.domain.variants import ProofVerdict, VariantKind, VariantState
from apps.builds.models import Build, BuildStep, Variant
from controlplane.http.templatetags.components import spoken

STATIONS = (
    ("scan", "Scan", "scanning"),
    ("package", "Package", "packaging"),
    ("convert", "Convert", "converting"),
    ("optimise", "Optimise", "optimising"),
    ("prove", "Prove", "proving"),
)
WORDS = {"running": "At work", "succeeded": "Done", "failed": "Failed", "cancelled": "Cancelled"}


@dataclass(frozen=True)
class Station:
    """One step of a build on its track.

    Attributes:
        state: Its tone.
        word: Its state in words.
        travelled: Done.
        here: The build is at it, or stopped at it.
        ahead: Not begun.
    """

    title: str
    state: str
    word: str
    summary: str
    started_at: datetime | None
    ended_at: datetime | None
    travelled: bool
    here: bool
    ahead: bool


@dataclass(frozen=True)
class VariantRow:
    """One variant in a table.

    Attributes:
        best: The fastest that passed.
        fastest: It has the smallest p95 of all that were measured.
        lossy: It differs by more than the model's tolerance.
        dim: Nothing can be served from it.
        tone: Its verdict as a state.
        word: Its verdict in words.
    """

    row: Variant
    best: bool
    fastest: bool
    lossy: bool
    dim: bool
    tone: str
    word: str


def stations(build: Build, steps: Sequence[BuildStep]) -> list[Station]:
    """Return the five steps in order, with what came of each."""
    by_name = {step.name: step for step in steps}
    return [_station(build, by_name.get(name), name, title) for name, title, _ in STATIONS]


def lead(build: Build) -> str:
    """Return what is so and what happens next, in a sentence or two."""
    name = f"v{build.version.number}"
    match BuildState(build.state):
        case BuildState.QUEUED:
            return "It begins as soon as a builder is free."
        case BuildState.SUCCEEDED:
            return f"It took {_took(build)}. {name} can be served in any form that passed."
        case BuildState.FAILED:
            return f"It stopped after {_took(build)}. What is served is not affected."
        case BuildState.CANCELLED:
            return f"It was cancelled. {name} is as it was before."
        case working:
            title = next(title for _, title, state in STATIONS if state == working)
            place = [state for *_, state in STATIONS].index(working) + 1
            return f"Step {place} of {len(STATIONS)}, {title.lower()}. It goes on by itself."


def variant_rows(variants: Sequence[Variant], best: Variant | None) -> list[VariantRow]:
    """Return variants for a table, in the order they are given."""
    measured = [v.p95_ms for v in variants if v.p95_ms is not None]
    quickest = min(measured, default=None)
    return [
        VariantRow(
            row=v,
            best=best is not None and v.kind == best.kind,
            fastest=v.p95_ms is not None and v.p95_ms == quickest,
            lossy=v.verdict == ProofVerdict.TOO_LOSSY,
            dim=v.state != VariantState.BUILT or v.verdict == ProofVerdict.TOO_LOSSY,
            tone=_tone(v),
            word=_word(v),
        )
        for v in variants
    ]


def proof_note(variants: Sequence[Variant]) -> str:
    """Return how the numbers came about."""
    proofs = [v.proof for v in variants if v.proof]
    if not proofs:
        return "Nothing was measured."
    told = proofs[0].get("samples", {}).get("told", "")
    proven = f"Proven on {told[:1].lower()}{told[1:]} " if told else ""
    return f"{proven}Latency of one prediction, in milliseconds, on one thread."


def _station(build: Build, step: BuildStep | None, name: str, title: str) -> Station:
    working = next(state for key, _, state in STATIONS if key == name)
    here = build.state == working or (build.failed_step == name and build.state == "failed")
    state = step.state if step else ("failed" if here and build.state == "failed" else "pending")
    if step and step.state == "running" and build.state == BuildState.CANCELLED:
        state, here = "cancelled", True
    return Station(
        title=title,
        state=state,
        word=WORDS.get(state, "Waits"),
        summary=step.summary if step else "",
        started_at=step.started_at if step else None,
        ended_at=(step.ended_at or build.ended_at) if step else None,
        travelled=state == "succeeded",
        here=here and state != "succeeded",
        ahead=step is None and not here,
    )


def _took(build: Build) -> str:
    if build.started_at is None or build.ended_at is None:
        return "no time"
    return spoken((build.ended_at - build.started_at).total_seconds())


def _tone(variant: Variant) -> str:
    if variant.state == VariantState.SKIPPED:
        return "unknown"
    if variant.state == VariantState.FAILED or variant.verdict == ProofVerdict.TOO_LOSSY:
        return "failed"
    return "passed" if variant.verdict == ProofVerdict.PASSED else "unknown"


def _word(variant: Variant) -> str:
    if variant.state == VariantState.SKIPPED:
        return "Not made"
    if variant.state == VariantState.FAILED:
        return "Failed"
    if variant.kind == VariantKind.NATIVE and variant.verdict == ProofVerdict.PASSED:
        return "Original"
    words = {ProofVerdict.PASSED: "Passed", ProofVerdict.TOO_LOSSY: "Too lossy"}
    return words.get(ProofVerdict(variant.verdict), "Not proven")
