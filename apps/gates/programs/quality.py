"""Gates about answers: as good as the original's, better than what is live, and numbers at all."""

import json
import math
from collections.abc import Iterator, Mapping
from dataclasses import replace
from typing import Any

from apps.builds.domain.variants import ProofVerdict, VariantKind
from apps.gates.domain import quality
from apps.gates.domain.finding import Finding, failed, passed, unknown
from apps.gates.programs.subject import Asking, Reading, Subject, World
from controlplane.kernel.errors import Invalid

LARGEST_GOLDEN = 16 * 1024**2


def parity(subject: Subject) -> Finding:
    """Judge by the proof sheet."""
    variant = subject.variant
    facts: dict[str, Any] = {
        "kind": variant.kind,
        "max_difference": variant.max_difference,
        "mean_difference": variant.mean_difference,
        "agreement": variant.agreement,
        "tolerance": variant.proof.get("tolerance", subject.model.tolerance),
        "min_agreement": variant.proof.get("min_agreement", subject.model.min_agreement),
        "samples": variant.proof.get("samples", {}),
    }
    if variant.verdict == ProofVerdict.TOO_LOSSY:
        return failed(
            variant.reason or "The variant loses more than the model's tolerance.",
            "Propose the native variant, or one that passed its proof.", **facts,
        )  # fmt: skip
    if variant.verdict != ProofVerdict.PASSED:
        return unknown(
            variant.reason or "The variant has not been compared with the original.",
            "Build the version with held-out inputs.", **facts,
        )  # fmt: skip
    if variant.kind == VariantKind.NATIVE:
        return passed("This is the original itself.", **facts)
    return passed(_difference(facts), **facts)


def _difference(facts: Mapping[str, Any]) -> str:
    said = []
    if facts["max_difference"] is not None:
        said.append(
            f"the largest difference is {facts['max_difference']:.2g} (tolerance "
            f"{facts['tolerance']:g})"
        )
    if facts["agreement"] is not None:
        said.append(f"{facts['agreement']:.2%} of the labels agree")
    return f"Against the original {' and '.join(said) or 'nothing differs'}."


def better(subject: Subject) -> Finding:
    """Judge the metrics that a pipeline sent."""
    sent = subject.sent()
    if sent is None:
        return unknown(
            "No pipeline has sent metrics with intervals.",
            f"Have CI send evidence for quality.better: {quality.EXAMPLE}",
        )
    try:
        reported = quality.parse(sent.facts)
    except Invalid as error:
        return unknown(f"The evidence cannot be read: {error.sentence}", error.remedy)
    found = quality.judge(
        reported,
        quality.Demand(
            metrics=subject.words("metrics"),
            margin=subject.number("margin", 0.0),
            slices=subject.rule.parameters.get("slices") is not False,
            live_version=subject.live.version.number if subject.live else None,
        ),
    )
    facts = {**sent.facts, "evidence": sent.public_id}
    if all(m.baseline for m in reported.metrics):
        facts["baseline"] = True
    if all(m.slices for m in reported.metrics):
        facts["slices"] = True
    return replace(found, facts=facts, expires_at=sent.measured_at + subject.max_age)


def _live_version(subject: Subject) -> Mapping[str, Any]:
    return {"live": subject.live.version.number if subject.live else None}


def finite(subject: Subject, world: World) -> Finding:
    """Judge by the proof's own count, and by the golden answers as they are kept."""
    proof = subject.variant.proof
    answers, weights = proof.get("not_finite"), proof.get("weights_not_finite")
    golden = _golden_values(subject, world)
    bad_golden = sum(not math.isfinite(v) for v in golden)
    rows = (proof.get("samples") or {}).get("rows", 0)
    facts = {"answers": answers, "weights": weights, "golden": bad_golden, "rows": rows}
    if answers or weights or bad_golden or proof.get("not_numbers"):
        said = ", ".join(
            f"{count} {what}"
            for count, what in (
                (answers or proof.get("not_numbers"), "answers on the proof's samples"),
                (weights, "weights"),
                (bad_golden, "golden answers"),
            )
            if count
        )
        return failed(
            f"NaN or infinite: {said}.", "Find the layer that overflows, and build again.", **facts
        )
    if answers is None:
        return unknown(
            "The proof did not count numbers that are none.", "Build the version again.", **facts
        )
    looked = f"{len(golden)} golden answers" if golden else "no golden answers"
    weighed = " and every weight" if weights is not None else ""
    return passed(f"All answers on {rows} samples, {looked}{weighed} are finite.", **facts)


def _golden_values(subject: Subject, world: World) -> list[float]:
    name = world.bundles.config(subject.bundle).get("golden")
    raw = world.bundles.read(subject.bundle, str(name), limit=LARGEST_GOLDEN) if name else None
    cases = json.loads(raw).get("cases", []) if raw else []
    return [v for case in cases for t in case.get("outputs", ()) for v in _numbers(t.get("data"))]


def _numbers(data: Any) -> Iterator[float]:
    if isinstance(data, list):
        for inner in data:
            yield from _numbers(inner)
    elif isinstance(data, int | float) and not isinstance(data, bool):
        yield float(data)


PROGRAMS = (
    Reading("variant.parity", parity),
    Reading("quality.better", better, _live_version),
    Asking("quality.finite", finite),
)
