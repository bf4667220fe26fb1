"""The five steps, in order, on one screen.

1. scan: look for what would run when the model is loaded. Nothing has been loaded yet.
2. package: load the model, learn its signature, lock its libraries, make the folder of the
   native variant, and ask it for reference answers.
3. convert: write it as ONNX. What fails here is a variant that failed, never the build.
4. optimise: fold, fuse, quantise; each only where it applies.
5. prove: compare every variant with the native model, measure it, and write its bundle.
"""

import os
import platform
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from apps.builds.domain.variants import ProofVerdict, VariantKind
from apps.registry.domain.kinds import Format
from workers.toolchain import bundle, convert, graphs, measure, native, optimise, ort, package
from workers.toolchain import prove as proving
from workers.toolchain import samples as held_out
from workers.toolchain import scan as scanning
from workers.toolchain.model import Native
from workers.toolchain.problems import BuildFailed, Problem, Skip, crashed, out_of_memory
from workers.toolchain.report import Report, VariantResult, say, why
from workers.toolchain.samples import Samples
from workers.toolchain.spec import Spec
from workers.toolchain.tensors import Arrays, Signature, signature_of

NO_GPU = "Not built: no GPU worker is connected."
NOT_WANTED = "It was not asked for."


@dataclass
class Work:
    """What the steps hand on.

    Attributes:
        model: The loaded native model.
        samples: What to prove on.
        reference: The native model's answers.
        findings: What the scan found.
        folder: The native variant's MLflow folder; None when the version is ONNX.
        onnx: The files made so far, by variant.
        notes: One line on how each was made.
    """

    model: Native
    samples: Samples
    reference: Arrays
    findings: scanning.Findings
    folder: Path | None = None
    onnx: dict[VariantKind, Path] = field(default_factory=dict)
    notes: dict[VariantKind, str] = field(default_factory=dict)


def run(spec: Spec) -> int:
    """Run the steps; return 0 when the build succeeded."""
    report = Report(spec.out / "report.json")
    problem: Problem | None = None
    try:
        spec.work.mkdir(exist_ok=True)
        _run(spec, report)
    except BuildFailed as failed:
        problem = failed.problem
    except MemoryError:
        problem = out_of_memory(spec.limits.memory_bytes)
    except Exception as error:
        problem = crashed(why(error))
        _trace(error)
    report.end(problem)
    return 1 if problem else 0


def _trace(error: Exception) -> None:
    import traceback

    say("".join(traceback.format_exception(error)))


def _run(spec: Spec, report: Report) -> None:
    with report.step("scan") as step:
        findings = scanning.run(spec)
        step.summary = scanning.summary(findings)
    with report.step("package") as step:
        work = _package(spec, report, findings)
        step.summary = f"{_called(work.model)} loaded; {work.samples.told}"
    with report.step("convert") as step:
        step.summary = _convert(spec, report, work)
    with report.step("optimise") as step:
        step.summary = _optimise(spec, report, work)
    with report.step("prove") as step:
        _prove(spec, report, work)
        step.summary = _proved(report)


def _called(model: Native) -> str:
    return str(model.facts.get("estimator") or f"The {model.flavor} model")


def _package(spec: Spec, report: Report, findings: scanning.Findings) -> Work:
    model = native.load(spec.files, spec.format, spec.inputs)
    for library, version in native.library_versions(model.libraries).items():
        say(f"   {library} {version}")
    given = spec.job / spec.samples if spec.samples else None
    samples = held_out.obtain(model, given)
    say(f"   {samples.told}")
    work = Work(model, samples, _answer(model, samples), findings)
    report.learned = _learned(model, work.reference)
    if spec.format == Format.ONNX:
        work.onnx[VariantKind.NATIVE] = model.path or spec.files
    else:
        served = signature_of(_served(work))
        work.folder = package.run(spec, model, served)
    return work


def _answer(model: Native, samples: Samples) -> Arrays:
    try:
        answer = model.answer(samples.arrays)
    except (MemoryError, BuildFailed):
        raise
    except Exception as error:
        raise BuildFailed(
            "build.does_not_predict",
            f"The model loads but does not answer: {why(error)}.",
            "Register the version with its input signature, or give held-out inputs that fit it.",
        ) from error
    for name, array in answer.items():
        if array.dtype.kind == "f" and not np.isfinite(array).all():
            say(f"   {int((~np.isfinite(array)).sum())} numbers of {name} are NaN or infinite")
    return answer


def _served(work: Work) -> Arrays:
    served = work.model.served or tuple(work.reference)
    return {name: work.reference[name] for name in served if name in work.reference}


def _learned(model: Native, reference: Arrays) -> dict[str, Any]:
    facts = dict(model.facts)
    if model.names:
        facts["feature_names"] = list(model.names)
    if model.classes:
        facts["classes"] = [str(c) if not isinstance(c, int | float) else c for c in model.classes]
    libraries = native.library_versions(model.libraries)
    return {
        "inputs": model.inputs,
        "outputs": signature_of(reference),
        "facts": facts,
        "libraries": libraries,
    }


def _convert(spec: Spec, report: Report, work: Work) -> str:
    kind, target = VariantKind.ONNX, spec.work / "onnx" / "model.onnx"
    target.parent.mkdir(exist_ok=True)
    needed = any(spec.wants(k) for k in VariantKind if k is not VariantKind.NATIVE)
    if not needed:
        report.skip(kind, NOT_WANTED)
        return NOT_WANTED
    try:
        work.notes[kind] = convert.run(spec, work.model, target)
    except Skip as skipped:
        report.skip(kind, str(skipped))
        return str(skipped)
    except MemoryError:
        raise
    except Exception as error:
        reason = f"The conversion failed: {why(error)}"
        report.fail(kind, reason)
        return reason
    work.onnx[kind] = target
    return work.notes[kind]


def _optimise(spec: Spec, report: Report, work: Work) -> str:
    source = work.onnx.get(VariantKind.ONNX) or work.onnx.get(VariantKind.NATIVE)
    for kind, make in optimise.MAKERS.items():
        if not spec.wants(kind):
            report.skip(kind, NOT_WANTED)
        elif source is None:
            report.skip(kind, "There is no ONNX form of this model to work on.")
        else:
            _make(spec, report, work, kind, source, make)
    report.skip(VariantKind.TENSORRT, NO_GPU)
    made = [str(kind) for kind in work.onnx if kind in optimise.MAKERS]
    return f"Made {', '.join(made)}." if made else "Nothing to optimise in this model."


def _make(
    spec: Spec, report: Report, work: Work, kind: VariantKind, source: Path, make: Any
) -> None:
    target = spec.work / str(kind) / "model.onnx"
    target.parent.mkdir(exist_ok=True)
    try:
        work.notes[kind] = make(source, target, work.samples)
    except Skip as skipped:
        report.skip(kind, str(skipped))
    except MemoryError:
        raise
    except Exception as error:
        report.fail(kind, f"It could not be made: {why(error)}")
    else:
        work.onnx[kind] = target
        say(f"   {kind}: {work.notes[kind]}")


def _prove(spec: Spec, report: Report, work: Work) -> None:
    stored = spec.work / "samples.npz"
    np.savez(stored, **{name: _storable(array) for name, array in work.samples.arrays.items()})
    if work.folder is not None:
        _settle(spec, report, work, VariantKind.NATIVE, stored)
    for kind in VariantKind:
        if kind in work.onnx:
            _settle(spec, report, work, kind, stored)
    report.variants = {str(k): report.variants[k] for k in VariantKind if k in report.variants}


def _storable(array: Any) -> Any:
    return array.astype(str) if array.dtype.kind == "O" else array


def _settle(spec: Spec, report: Report, work: Work, kind: VariantKind, stored: Path) -> None:
    """Prove one variant; one that cannot be proved has failed, and the others go on."""
    if kind is VariantKind.ONNX and not spec.wants(kind):
        report.skip(kind, NOT_WANTED)
        return
    try:
        result = (
            _prove_onnx(spec, work, kind, stored)
            if kind in work.onnx
            else _prove_folder(spec, work, kind, stored)
        )
    except MemoryError:
        raise
    except Exception as error:
        if kind is VariantKind.NATIVE:
            raise
        report.fail(kind, f"It could not be proved: {why(error)}")
        return
    report.variants[str(kind)] = result
    say(f"   {kind}: {result.reason or result.verdict}; p95 {result.measures['p95_ms']:.3g} ms")
    report.save()


def _prove_onnx(spec: Spec, work: Work, kind: VariantKind, stored: Path) -> VariantResult:
    path = work.onnx[kind]
    session = ort.session(path)
    answer = ort.run(session, work.samples.arrays)
    inputs, outputs = ort.inputs_of(session), ort.outputs_of(session)
    shown = {name: work.reference[name] for name in answer if name in work.reference} or answer
    golden = proving.golden(inputs, work.samples.arrays, _as_served(shown, outputs, answer), spec)
    digest, size = bundle.of_onnx(
        spec, str(kind), path, inputs=inputs, outputs=outputs, golden=golden
    )
    measures = measure.in_fresh_process(
        {"onnx": str(path), "samples": str(stored)}, spec.work / "measure"
    )
    compatibility = {"runtime": "onnxruntime", "opset": graphs.opset(graphs.load(path))}
    return _result(
        spec, work, kind, answer, measures, digest, size, "onnx", compatibility,
    )  # fmt: skip


def _as_served(shown: Arrays, outputs: Signature, answer: Arrays) -> Arrays:
    """Return the native answers in the shape and type in which the variant gives them."""
    return {
        o["name"]: _like(shown[o["name"]], answer[o["name"]])
        for o in outputs
        if o["name"] in shown
    }


def _like(want: Any, have: Any) -> Any:
    same_kind = want.dtype.kind in "fiub" and have.dtype.kind in "fiub"
    return want.reshape(have.shape).astype(have.dtype) if same_kind else want.reshape(have.shape)


def _prove_folder(spec: Spec, work: Work, kind: VariantKind, stored: Path) -> VariantResult:
    if work.folder is None:
        raise ValueError("there is no folder to prove")
    served = _served(work)
    golden = proving.golden(work.model.inputs, work.samples.arrays, served, spec)
    digest, size = bundle.of_folder(
        spec,
        str(kind),
        work.folder,
        inputs=work.model.inputs,
        outputs=signature_of(served),
        golden=golden,
    )
    request = {
        "files": str(spec.files),
        "format": spec.format,
        "inputs": spec.inputs,
        "samples": str(stored),
    }
    measures = measure.in_fresh_process(request, spec.work / "measure")
    answer = work.model.answer(work.samples.arrays)
    return _result(spec, work, kind, answer, measures, digest, size, "mlflow", {})


def _result(
    spec: Spec,
    work: Work,
    kind: VariantKind,
    answer: Arrays,
    measures: dict[str, float],
    digest: str,
    size: int,
    format: str,
    compatibility: dict[str, Any],
) -> VariantResult:
    parity = proving.compare(work.reference, answer)
    judged, reason = proving.verdict(parity, spec)
    compared = {
        "max_difference": parity.max_difference,
        "mean_difference": parity.mean_difference,
        "agreement": parity.agreement,
    }
    return VariantResult(
        kind=str(kind),
        state="built",
        reason=reason if judged is not ProofVerdict.PASSED else "",
        bundle_digest=digest,
        size=size,
        format=format,
        verdict=str(judged),
        measures={**compared, **measures},
        compatibility=compatibility,
        proof=_sheet(spec, work, kind, parity, reason) | _numbers(work, kind, answer),
    )


def _sheet(
    spec: Spec, work: Work, kind: VariantKind, parity: proving.Parity, reason: str
) -> dict[str, Any]:
    """Return the whole proof sheet, as the page shows it."""
    rows = len(next(iter(work.samples.arrays.values())))
    return {
        "samples": {"source": work.samples.source, "rows": rows, "told": work.samples.told},
        "tolerance": spec.tolerance,
        "min_agreement": spec.min_agreement,
        "compared": list(parity.compared),
        "not_numbers": parity.not_numbers,
        "worst_rows": list(parity.worst),
        "verdict": reason,
        "made": work.notes.get(kind, ""),
        "conditions": {"threads": 1, "batch": 1, "throughput_batch": measure.BATCH},
        "versions": _versions(work),
        "machine": {"processor": platform.machine(), "cores": os.cpu_count()},
    }


def _numbers(work: Work, kind: VariantKind, answer: Arrays) -> dict[str, Any]:
    """Return what the sheet says about numbers that are none, and about the scan."""
    weights = graphs.weights_not_finite(work.onnx[kind]) if kind in work.onnx else None
    return {
        "not_finite": proving.not_finite(answer),
        "weights_not_finite": weights,
        "scan": {
            "files": work.findings.files,
            "pickles": work.findings.pickles,
            "unvouched": work.findings.unknown,
        },
    }


def _versions(work: Work) -> dict[str, str]:
    modules = [*work.model.libraries, "numpy", "onnx", "onnxruntime"]
    return {"python": platform.python_version(), **native.library_versions(modules)}


def _proved(report: Report) -> str:
    built = [v for v in report.variants.values() if v.state == "built"]
    passed = [v for v in built if v.verdict == ProofVerdict.PASSED]
    return f"{len(passed)} of {len(built)} variants within the tolerance."
