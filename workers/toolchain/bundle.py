"""Writes a variant as a bundle in the job's own OCI layout; the worker takes it over later."""

import json
from pathlib import Path
from typing import Any

from controlplane.drivers.oci.layout import OciLayout
from workers.toolchain.spec import Spec
from workers.toolchain.tensors import Signature

ONNX_ENTRY, FOLDER_ENTRY = "model.onnx", "model"


def of_onnx(
    spec: Spec,
    kind: str,
    path: Path,
    *,
    inputs: Signature,
    outputs: Signature,
    golden: dict[str, Any],
) -> tuple[str, int]:
    """Write the ONNX file at `path` as a bundle; return its digest and the model's size."""
    files = {ONNX_ENTRY: path}
    beside = [p for p in path.parent.glob("*.data") if p.is_file()]
    files |= {p.name: p for p in beside}
    config = _config(kind, "onnx", ONNX_ENTRY, inputs, outputs, requirements=None)
    return _write(spec, kind, files, config, golden)


def of_folder(
    spec: Spec,
    kind: str,
    folder: Path,
    *,
    inputs: Signature,
    outputs: Signature,
    golden: dict[str, Any],
) -> tuple[str, int]:
    """Write an MLflow folder with its lock file as a bundle; return its digest and size."""
    files = {
        path.relative_to(folder).as_posix(): path for path in folder.rglob("*") if path.is_file()
    }
    config = _config(
        kind, "mlflow", FOLDER_ENTRY, inputs, outputs, requirements="requirements.lock"
    )
    return _write(spec, kind, files, config, golden)


def _config(
    kind: str,
    format: str,
    entry: str,
    inputs: Signature,
    outputs: Signature,
    *,
    requirements: str | None,
) -> dict[str, Any]:
    return {
        "schema": 1,
        "variant": kind,
        "format": format,
        "entry": entry,
        "inputs": inputs,
        "outputs": outputs,
        "requirements": requirements,
        "golden": "golden.json",
    }


def _write(
    spec: Spec, kind: str, files: dict[str, Path], config: dict[str, Any], golden: dict[str, Any]
) -> tuple[str, int]:
    size = sum(path.stat().st_size for path in files.values())
    cases = spec.work / f"golden-{kind}.json"
    cases.write_text(json.dumps(golden, sort_keys=True))
    return OciLayout(spec.out / "bundles").write({**files, "golden.json": cases}, config), size
