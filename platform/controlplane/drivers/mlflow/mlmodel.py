"""Makes a folder that the unmodified `mlflow.pyfunc.load_model` loads, without importing MLflow.

Where MLflow has a flavor that reads the version's file as it is, the folder names that flavor.
Where it has none (a joblib file, TorchScript, an exported program), a small loader travels in
the folder's `code/`. The same input gives the same bytes: no time, no random id.

The folder carries no MLflow signature: MLflow would refuse float64 numbers for a float32 input,
and arrays where the input has a name, both of which its own flavors accept. What is known of
inputs and outputs stands in `metadata` instead, and the runtimes check against that.
"""

import json
import mmap
import platform
import shutil
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import yaml

from apps.registry.domain.kinds import Format
from controlplane.drivers.mlflow.loader import modelyard_loader_v1
from controlplane.kernel.errors import Invalid

MLFLOW_VERSION = "3.17.2"
LOADER = Path(modelyard_loader_v1.__file__)
GIVEN = "given"  # where files go whose names the folder needs itself
RESERVED = frozenset(
    {
        "MLmodel",
        "conda.yaml",
        "python_env.yaml",
        "requirements.txt",
        "modelyard.json",
        "code",
        GIVEN,
    }
)
SUFFIXES: dict[str, tuple[str, ...]] = {
    Format.ONNX: (".onnx",),
    Format.SKLEARN: (".joblib", ".pkl", ".pickle", ".sav"),
    Format.PICKLE: (".pkl", ".pickle", ".joblib", ".sav", ".bin"),
    Format.XGBOOST: (".ubj", ".json", ".xgb", ".model", ".bin"),
    Format.LIGHTGBM: (".txt", ".lgb", ".model"),
    Format.TORCH_EXPORT: (".pt2",),
    Format.TORCHSCRIPT: (".pt", ".pth", ".ts", ".jit"),
}
NEEDS: dict[str, tuple[str, ...]] = {
    Format.ONNX: ("onnx", "onnxruntime", "numpy"),
    Format.SKLEARN: ("scikit-learn", "joblib"),
    Format.PICKLE: ("joblib",),
    Format.XGBOOST: ("xgboost",),
    Format.LIGHTGBM: ("lightgbm",),
    Format.TORCH_EXPORT: ("torch", "numpy"),
    Format.TORCHSCRIPT: ("torch", "numpy"),
}
PROVIDES = {"xgboost-cpu": "xgboost", "mlflow-skinny": "mlflow", "onnxruntime-gpu": "onnxruntime"}


@dataclass(frozen=True)
class Recipe:
    """How MLflow is told to read one entry file.

    Attributes:
        pyfunc: The `python_function` flavor's own keys.
        flavors: Further flavors, for `mlflow.sklearn.load_model` and the like.
        loader: Our loader's name for it; "" when MLflow reads it by itself.
    """

    pyfunc: Mapping[str, str]
    flavors: Mapping[str, Mapping[str, Any]] = field(default_factory=dict)
    loader: str = ""


def as_mlflow_folder(
    *,
    files: Path,
    format: str,
    inputs: Sequence[Mapping[str, Any]],
    outputs: Sequence[Mapping[str, Any]],
    requirements: Sequence[str],
    target: Path,
) -> None:
    """Make `target` a folder that `mlflow.pyfunc.load_model` loads.

    Args:
        files: The folder with the version's files.
        format: How they are written, a value of `Format`. A folder that is MLflow's already is
            copied as it is.
        inputs: What the model takes, as the registry keeps it.
        outputs: What it gives.
        requirements: Pip requirement lines; what the format needs is added where it is missing.
        target: The folder to make; it must not exist, or be empty.

    Raises:
        Invalid: The files hold nothing of that format (code `mlflow.no_entry`).
    """
    target.mkdir(parents=True, exist_ok=True)
    if format == Format.MLFLOW:
        shutil.copytree(mlmodel_file(files).parent, target, dirs_exist_ok=True)
        return
    entry = entry_file(files, format)
    _copy(files, entry.parent, target)
    recipe = _recipe(entry, format)
    if recipe.loader:
        _write_loader(target, recipe.loader, format, inputs)
    lines = complete(requirements, format)
    _write_environment(target, lines)
    (target / "MLmodel").write_text(
        yaml.safe_dump(_mlmodel(recipe, inputs, outputs, format), sort_keys=True)
    )


def mlmodel_file(files: Path) -> Path:
    """Return the MLmodel file nearest to the top of `files`.

    Raises:
        Invalid: There is none.
    """
    found = sorted(files.rglob("MLmodel"), key=lambda p: (len(p.parts), str(p)))
    if not found:
        raise Invalid(
            "The version has no MLmodel file.",
            remedy="Register the whole folder that mlflow.*.save_model wrote.",
            code="mlflow.no_entry",
        )
    return found[0]


def entry_file(files: Path, format: str) -> Path:
    """Return the file that holds the model: the one with the format's suffix, nearest the top.

    Raises:
        Invalid: No file has a suffix of the format.
    """
    suffixes = SUFFIXES.get(format)
    everything = sorted(
        (p for p in files.rglob("*") if p.is_file()), key=lambda p: (len(p.parts), str(p))
    )
    if suffixes:
        by_rank = [p for s in suffixes for p in everything if p.suffix.lower() == s]
        everything = by_rank or (everything if len(everything) == 1 else [])
    if not everything:
        raise Invalid(
            f"The version has no file of the format {format}.",
            remedy=f"Register a file named *{suffixes[0] if suffixes else ''}.",
            code="mlflow.no_entry",
        )
    return everything[0]


def complete(requirements: Iterable[str], format: str) -> list[str]:
    """Return `requirements` with MLflow and what `format` needs, each once, in a stable order."""
    lines = [line.strip() for line in requirements if line.strip()]
    have = {_distribution(line) for line in lines}
    missing = [name for name in NEEDS.get(format, ()) if name not in have]
    mlflow = [] if "mlflow" in have else [f"mlflow=={MLFLOW_VERSION}"]
    return mlflow + lines + missing


def _distribution(line: str) -> str:
    name = line.split(";")[0]
    for mark in "=<>!~[ @":
        name = name.split(mark)[0]
    name = name.strip().lower().replace("_", "-")
    return PROVIDES.get(name, name)


def _recipe(entry: Path, format: str) -> Recipe:
    name = entry.name
    match format:
        case Format.ONNX:
            onnx = {"data": name, "providers": ["CPUExecutionProvider"]}
            return Recipe({"loader_module": "mlflow.onnx", "data": name}, {"onnx": onnx})
        case Format.XGBOOST:
            facts = {"data": name, "model_class": "xgboost.core.Booster"}
            return Recipe({"loader_module": "mlflow.xgboost"}, {"xgboost": facts})
        case Format.LIGHTGBM:
            facts = {"data": name, "model_class": "lightgbm.basic.Booster"}
            return Recipe({"loader_module": "mlflow.lightgbm"}, {"lightgbm": facts})
        case Format.SKLEARN if _is_plain_pickle(entry):
            facts = {"pickled_model": name, "serialization_format": "pickle"}
            pyfunc = {"loader_module": "mlflow.sklearn", "model_path": name}
            return Recipe(pyfunc, {"sklearn": facts})
        case Format.SKLEARN | Format.PICKLE:
            return _by_our_loader(name, "joblib")
        case Format.TORCHSCRIPT | Format.TORCH_EXPORT:
            return _by_our_loader(name, str(format))
        case _:
            return _by_our_loader(name, "files")


def _by_our_loader(name: str, loader: str) -> Recipe:
    return Recipe({"loader_module": LOADER.stem, "data": name, "code": "code"}, loader=loader)


def _is_plain_pickle(path: Path) -> bool:
    """Return whether `pickle.load` reads the file: joblib's arrays and compression it cannot."""
    with path.open("rb") as stream:
        if stream.read(1) != b"\x80":
            return False
        with mmap.mmap(stream.fileno(), 0, access=mmap.ACCESS_READ) as content:
            return content.find(b"joblib.numpy_pickle") < 0


def _copy(files: Path, root: Path, target: Path) -> None:
    """Copy `files`: what lies beside the entry to the top, the rest below `given/`.

    MLflow's ONNX flavor looks for MLmodel in the folder of the file, and a model's external
    data must stay beside it: so the entry's own folder becomes the top.
    """
    for source in sorted(p for p in files.rglob("*") if p.is_file()):
        inside = source.is_relative_to(root)
        relative = source.relative_to(root if inside else files)
        if not inside or relative.parts[0] in RESERVED:
            relative = Path(GIVEN) / relative
        destination = target / relative
        destination.parent.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(source, destination)


def _write_loader(
    target: Path,
    loader: str,
    format: str,
    inputs: Sequence[Mapping[str, Any]],
) -> None:
    (target / "code").mkdir()
    shutil.copyfile(LOADER, target / "code" / LOADER.name)
    facts = {"loader": loader, "format": str(format), "inputs": [dict(i) for i in inputs]}
    (target / "modelyard.json").write_text(json.dumps(facts, sort_keys=True, indent=1) + "\n")


def _write_environment(target: Path, lines: Sequence[str]) -> None:
    python = platform.python_version()
    (target / "requirements.txt").write_text("".join(f"{line}\n" for line in lines))
    conda = {
        "name": "mlflow-env",
        "channels": ["conda-forge"],
        "dependencies": [f"python={python}", "pip", {"pip": list(lines)}],
    }
    (target / "conda.yaml").write_text(yaml.safe_dump(conda, sort_keys=False))
    environment = {
        "python": python,
        "build_dependencies": [],
        "dependencies": ["-r requirements.txt"],
    }
    (target / "python_env.yaml").write_text(yaml.safe_dump(environment, sort_keys=False))


def _mlmodel(
    recipe: Recipe,
    inputs: Sequence[Mapping[str, Any]],
    outputs: Sequence[Mapping[str, Any]],
    format: str,
) -> dict[str, Any]:
    pyfunc = {
        **recipe.pyfunc,
        "env": {"conda": "conda.yaml", "virtualenv": "python_env.yaml"},
        "python_version": platform.python_version(),
    }
    signature = {"inputs": [dict(i) for i in inputs], "outputs": [dict(o) for o in outputs]}
    return {
        "flavors": {**{k: dict(v) for k, v in recipe.flavors.items()}, "python_function": pyfunc},
        "metadata": {"modelyard": {"format": str(format), **signature}},
        "mlflow_version": MLFLOW_VERSION,
    }
