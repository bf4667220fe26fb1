"""MLflow's `MLmodel` file: flavours, signature, run, requirements.

https://mlflow.org/docs/latest/ml/model/#storage-format
"""

import json
from typing import Any

import yaml

from apps.registry.domain import names
from apps.registry.domain.inspect.reading import broken
from apps.registry.domain.inspected import Inspected, Tensor
from apps.registry.domain.kinds import Format
from controlplane.kernel.errors import Invalid

WHAT = "an MLflow model"
LARGEST = 4 * 1024**2
NUMPY = {
    "float16": "FP16", "float32": "FP32", "float64": "FP64", "int8": "INT8", "int16": "INT16",
    "int32": "INT32", "int64": "INT64", "uint8": "UINT8", "uint16": "UINT16", "uint32": "UINT32",
    "uint64": "UINT64", "bool": "BOOL", "str": "BYTES", "object": "BYTES",
}  # fmt: skip
COLUMNS = {
    "boolean": "BOOL", "integer": "INT32", "long": "INT64", "float": "FP32", "double": "FP64",
}  # fmt: skip
FRAMEWORKS = {
    "sklearn": ("scikit-learn", "sklearn_version"),
    "xgboost": ("XGBoost", "xgb_version"),
    "lightgbm": ("LightGBM", "lgb_version"),
    "catboost": ("CatBoost", "catboost_version"),
    "onnx": ("ONNX", "onnx_version"),
    "pytorch": ("PyTorch", "pytorch_version"),
    "tensorflow": ("TensorFlow", "tensorflow_version"),
    "keras": ("Keras", "keras_version"),
    "transformers": ("Transformers", "transformers_version"),
}
PATHS = ("pickled_model", "data", "model_data", "model_path", "model_binary", "code",
         "extra_files", "saved_model_dir", "python_model")  # fmt: skip
MOST_FIELDS = 5_000


def inspect(text: bytes, *, requirements: bytes = b"") -> Inspected:
    """Return what an `MLmodel` file says.

    Args:
        text: The file.
        requirements: The `requirements.txt` beside it.

    Raises:
        Unreadable: It is not one.
        Invalid: A path in it leads out of the model's folder; `archive.path_traversal`.
    """
    model = _parsed(text)
    flavors = model.get("flavors")
    if not isinstance(flavors, dict) or not flavors:
        raise broken(WHAT, "it names no flavours")
    _refuse_traversal(flavors)
    signature = model.get("signature") or {}
    if not isinstance(signature, dict):
        raise broken(WHAT, "its signature is no mapping")
    facts: dict[str, Any] = {
        "flavors": sorted(str(name)[:80] for name in flavors),
        "mlflow_version": str(model.get("mlflow_version", ""))[:40],
        "requirements": _requirements(requirements),
    }
    for name in ("model_uuid", "model_id", "utc_time_created", "artifact_path"):
        if isinstance(model.get(name), str):
            facts[name] = model[name][:200]
    python = flavors.get("python_function")
    if isinstance(python, dict):
        facts["loader"] = str(python.get("loader_module", ""))[:200]
        facts["python_version"] = str(python.get("python_version", ""))[:40]
    if signature.get("params"):
        facts["signature_params"] = str(signature["params"])[:2000]
    return Inspected(
        Format.MLFLOW,
        framework=_framework(flavors),
        inputs=_tensors(signature.get("inputs"), "input"),
        outputs=_tensors(signature.get("outputs"), "output"),
        facts=facts,
        run_id=_run(model.get("run_id")),
    )


def _parsed(text: bytes) -> dict[str, Any]:
    if len(text) > LARGEST:
        raise broken(WHAT, f"its MLmodel file is larger than {LARGEST // 1024**2} MB")
    try:
        model = yaml.safe_load(text)
    except (yaml.YAMLError, UnicodeDecodeError, RecursionError, ValueError) as error:
        raise broken(WHAT, "its MLmodel file is not YAML") from error
    except (TypeError, AttributeError, KeyError, OverflowError) as error:  # unhashable keys, dates
        raise broken(WHAT, "its MLmodel file holds values that YAML does not allow") from error
    if not isinstance(model, dict):
        raise broken(WHAT, "its MLmodel file is no mapping")
    return model


def _refuse_traversal(flavors: dict[Any, Any]) -> None:
    for flavor in flavors.values():
        if not isinstance(flavor, dict):
            continue
        for name in PATHS:
            value = flavor.get(name)
            if isinstance(value, str) and value:
                try:
                    names.file_path(value)
                except Invalid as error:
                    raise Invalid(
                        f"The MLmodel file names {value[:120]!r}, which leads out of its folder.",
                        remedy="Log the model again with MLflow; its paths are relative.",
                        field="upload",
                        code="archive.path_traversal",
                    ) from error


def _framework(flavors: dict[Any, Any]) -> str:
    for name, (title, key) in FRAMEWORKS.items():
        flavor = flavors.get(name)
        if isinstance(flavor, dict):
            version = flavor.get(key, "")
            return f"{title} {version if isinstance(version, str) else ''}".strip()[:80]
    return "MLflow pyfunc"


def _run(value: Any) -> str:
    return value if isinstance(value, str) and value.isalnum() and len(value) <= 64 else ""


def _requirements(text: bytes) -> list[str]:
    lines = (line.strip() for line in text[: 256 * 1024].decode("utf-8", "replace").splitlines())
    return [line[:200] for line in lines if line and not line.startswith("#")][:500]


def _tensors(text: Any, single: str) -> list[Tensor]:
    """Return one side of the signature, which is JSON inside the YAML."""
    if text is None:
        return []
    try:
        specs = json.loads(text) if isinstance(text, str) else text
    except (ValueError, RecursionError) as error:
        raise broken(WHAT, "its signature is not JSON") from error
    if not isinstance(specs, list) or not all(isinstance(spec, dict) for spec in specs):
        raise broken(WHAT, "its signature is no list of fields")
    if len(specs) > MOST_FIELDS:
        raise broken(WHAT, f"its signature has more than {MOST_FIELDS} fields")
    return [_tensor(spec, i, single, len(specs)) for i, spec in enumerate(specs)]


def _tensor(spec: dict[str, Any], index: int, single: str, count: int) -> Tensor:
    fallback = single if count == 1 else f"{single}_{index}"
    name = spec.get("name")
    name = str(name)[:250] if isinstance(name, str | int) else fallback
    inner = spec.get("tensor-spec")
    if isinstance(inner, dict):
        dtype = str(inner.get("dtype", ""))[:40]
        shape = inner.get("shape")
        sizes = shape if isinstance(shape, list) else [-1]
        clean = [s if isinstance(s, int) and 0 <= s < 1 << 53 else -1 for s in sizes[:32]]
        return {"name": name, "datatype": NUMPY.get(dtype, "BYTES"), "shape": clean}
    datatype = COLUMNS.get(str(spec.get("type", ""))[:40], "BYTES")
    return {"name": name, "datatype": datatype, "shape": [-1]}
