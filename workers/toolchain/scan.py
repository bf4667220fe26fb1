"""Step 1: look for what would run when the model is loaded, before anything is loaded.

Our own walk follows every pickle to its end and judges each name it would import. picklescan,
fickling and modelscan are asked as well, where they can read the file: each finds things of its
own, none of them reads joblib's arrays or compression. An unsafe name always fails the build. What
nobody has vouched for is allowed, warned of, or blocked, as the model's risk tier says.
"""

import contextlib
import io
import logging
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

import yaml

from apps.registry.domain.kinds import Format
from controlplane.drivers.mlflow.mlmodel import mlmodel_file
from workers.toolchain import vouched
from workers.toolchain.flavors import FLAVORS
from workers.toolchain.problems import BuildFailed
from workers.toolchain.report import say, why
from workers.toolchain.spec import Spec
from workers.toolchain.vouched import Trust
from workers.toolchain.walk import Malformed, Walk, looks_like_pickle, pickles_in

SCANNERS_READ = 512 * 1024**2  # bytes; the other scanners hold a whole file in memory
TORCH = frozenset({Format.TORCHSCRIPT, Format.TORCH_EXPORT})


@dataclass
class Findings:
    """What the scan found.

    Attributes:
        files: How many files were looked at.
        pickles: How many pickles they held.
        unsafe: "file: module.name", each once.
        unknown: Likewise, for what nobody has vouched for.
        library: The scikit-learn version the pickles were written with; "" when they do not say.
    """

    files: int = 0
    pickles: int = 0
    unsafe: list[str] = field(default_factory=list)
    unknown: list[str] = field(default_factory=list)
    library: str = ""

    def add(self, found: list[str], entry: str) -> None:
        """Remember `entry` once."""
        if entry not in found:
            found.append(entry)


def run(spec: Spec) -> Findings:
    """Scan every file of the version.

    Raises:
        BuildFailed: Something unsafe was found (`build.unsafe_pickle`), something unvouched that
            the policy blocks (`build.unvouched_pickle`), or a pickle that cannot be read
            (`build.broken_pickle`).
    """
    findings = Findings()
    for path in sorted(p for p in spec.files.rglob("*") if p.is_file()):
        findings.files += 1
        _walk_file(spec, path, findings)
        if path.suffix == ".skops":
            _weigh(spec, path.name, _skops(path), findings)
        if looks_like_pickle(path) and path.stat().st_size <= SCANNERS_READ:
            _ask_others(spec, path, findings)
    if spec.format == Format.MLFLOW and (code := _own_code(spec)):
        findings.add(findings.unknown, code)
    _judge(spec, findings)
    return findings


def _skops(path: Path) -> list[tuple[str, str]]:
    """Return the names that skops itself does not trust; it reads them without loading any."""
    from skops.io import get_untrusted_types

    names = [name.rpartition(".") for name in get_untrusted_types(file=str(path))]
    return [(module, name) for module, _, name in names]


def _own_code(spec: Spec) -> str:
    """Return how an MLflow folder brings code of its own, if loading it would run that."""
    told = yaml.safe_load(mlmodel_file(spec.files).read_text())
    flavors = told.get("flavors") if isinstance(told, dict) else None
    if not isinstance(flavors, dict) or set(flavors) & set(FLAVORS):
        return ""
    function = flavors.get("python_function", {})
    return f"MLmodel: {function.get('loader_module', 'a loader')} with the model's own code"


def summary(findings: Findings) -> str:
    """Return the step in one line."""
    files = f"{findings.files} file{'s' * (findings.files != 1)} scanned"
    if not findings.pickles:
        return f"{files}, no pickle among them."
    if findings.unknown:
        return f"{files}; nothing unsafe, {len(findings.unknown)} import(s) nobody vouches for."
    return f"{files}, nothing unsafe."


def _walk_file(spec: Spec, path: Path, findings: Findings) -> None:
    name = str(path.relative_to(spec.files))
    try:
        for label, walk in pickles_in(path):
            findings.pickles += 1
            findings.library = findings.library or walk.library
            say(f"   {label}: {len(walk.names)} names{_joblib(walk)}")
            _weigh(spec, label, walk.names, findings)
    except Malformed as error:
        raise BuildFailed(
            "build.broken_pickle",
            f"{name} cannot be read: {error}.",
            "Save the model again with joblib.dump or pickle.dump, and register that file.",
        ) from error


def _joblib(walk: Walk) -> str:
    return ", with joblib's arrays" if walk.uses_joblib else ""


def _weigh(spec: Spec, label: str, names: list[tuple[str, str]], findings: Findings) -> None:
    for module, name in names:
        match _trust(spec, module, name):
            case Trust.UNSAFE:
                findings.add(findings.unsafe, f"{label}: {module}.{name}")
            case Trust.UNKNOWN:
                findings.add(findings.unknown, f"{label}: {module}.{name}")


def _trust(spec: Spec, module: str, name: str) -> Trust:
    if spec.format in TORCH and _read_by_torch_alone(module, name):
        return Trust.SAFE
    return vouched.trust(module, name)


def _read_by_torch_alone(module: str, name: str) -> bool:
    """Return whether torch's own reader, which imports nothing, gives the name its meaning."""
    return (
        module.startswith("__torch__")
        or module == "torch.jit._pickle"
        or (module == "torch" and name.endswith("Storage"))
    )


def _ask_others(spec: Spec, path: Path, findings: Findings) -> None:
    for scanner in (_picklescan, _fickling, _modelscan):
        said = scanner.__name__.strip("_")
        try:
            with contextlib.redirect_stdout(io.StringIO()):
                found = list(scanner(path))
        except MemoryError:
            raise
        except Exception as error:  # a scanner that cannot read a file says nothing about it
            say(f"   {said} could not read {path.name}: {why(error)}")
            continue
        for module, name in found:
            known = _trust(spec, module, name) is Trust.SAFE or vouched.carries_code(module, name)
            if not known:
                findings.add(findings.unsafe, f"{path.name}: {module}.{name} (says {said})")
        say(f"   {said}: {path.name}, {len(found) or 'no'} finding(s)")


def _picklescan(path: Path) -> Iterator[tuple[str, str]]:
    from picklescan.scanner import SafetyLevel, scan_file_path

    logging.getLogger("picklescan").setLevel(logging.CRITICAL)
    for found in scan_file_path(str(path)).globals:
        if found.safety is SafetyLevel.Dangerous:
            yield str(found.module), str(found.name)


def _fickling(path: Path) -> Iterator[tuple[str, str]]:
    """Yield what fickling calls overtly malicious, for files that are nothing but a pickle."""
    from fickling.analysis import Severity, check_safety
    from fickling.fickle import Pickled

    with path.open("rb") as stream:
        if b"joblib.numpy_pickle" in stream.read(1 << 20) or _compressed(path):
            raise ValueError("it does not read joblib's format")
        stream.seek(0)
        pickled = Pickled.load(stream)
    for result in check_safety(pickled).results:
        if result.severity >= Severity.OVERTLY_MALICIOUS:
            yield "fickling", str(result.trigger or result)[:120]


def _compressed(path: Path) -> bool:
    with path.open("rb") as stream:
        return stream.read(1) != b"\x80"


def _modelscan(path: Path) -> Iterator[tuple[str, str]]:
    from modelscan.modelscan import ModelScan

    logging.getLogger("modelscan").setLevel(logging.CRITICAL)
    for issue in ModelScan().scan(str(path))["issues"]:
        yield str(issue.get("module", "")), str(issue.get("operator", ""))


def _judge(spec: Spec, findings: Findings) -> None:
    if findings.unsafe:
        raise BuildFailed(
            "build.unsafe_pickle",
            f"Loading this model would run code that a model has no use for: "
            f"{_listed(findings.unsafe)}.",
            "Do not load this file anywhere. Find out where it came from, and train and save the "
            "model again.",
        )
    for entry in findings.unknown:
        say(f"   nobody vouches for {entry} (policy: {spec.policy})")
    if findings.unknown and spec.policy == "block":
        raise BuildFailed(
            "build.unvouched_pickle",
            f"Loading this model would import what nobody has vouched for: "
            f"{_listed(findings.unknown)}.",
            "Save the model with estimators of scikit-learn, XGBoost or LightGBM alone, or as "
            "ONNX; or lower the model's risk tier if that is right.",
        )


def _listed(entries: list[str]) -> str:
    more = f" and {len(entries) - 5} more" if len(entries) > 5 else ""
    return ", ".join(entries[:5]) + more
