"""Loads what MLflow's own flavors cannot; it travels inside the model's folder, in `code/`.

The unmodified MLflow client imports it there, so it may use nothing of Modelyard's. Python keeps
one module per name: a change that older folders could not live with needs a new name.
"""

import json
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

NUMPY_NAMES = {
    "FP16": "float16", "FP32": "float32", "FP64": "float64", "BOOL": "bool",
    "INT8": "int8", "INT16": "int16", "INT32": "int32", "INT64": "int64",
    "UINT8": "uint8", "UINT16": "uint16", "UINT32": "uint32", "UINT64": "uint64",
}  # fmt: skip


def _load_pyfunc(path: str) -> Any:
    """Return the model in the file at `path`, as MLflow asks for it.

    `modelyard.json` beside the file says how it is to be read.
    """
    entry = Path(path)
    facts = json.loads((entry.parent / "modelyard.json").read_text())
    return LOADERS[facts["loader"]](entry, facts)


class Estimator:
    """A pickled or joblib-dumped object with `predict`."""

    def __init__(self, path: Path, facts: Mapping[str, Any]) -> None:
        """Load the object; this runs code from the file, as every pickle does."""
        import joblib  # noqa: PLC0415

        if os.environ.get("MLFLOW_ALLOW_PICKLE_DESERIALIZATION", "true").lower() in ("false", "0"):
            raise RuntimeError(
                f"{path.name} is a pickle and MLFLOW_ALLOW_PICKLE_DESERIALIZATION forbids those."
            )
        self.raw = joblib.load(path)
        for name in ("predict_proba", "predict_log_proba", "score"):
            if hasattr(self.raw, name):
                setattr(self, name, getattr(self.raw, name))

    def get_raw_model(self) -> Any:
        """Return the object itself."""
        return self.raw

    def predict(self, data: Any, params: dict[str, Any] | None = None) -> Any:
        """Return the object's own prediction."""
        return self.raw.predict(data)


class Torch:
    """A TorchScript module or an exported program."""

    def __init__(self, path: Path, facts: Mapping[str, Any]) -> None:
        """Load the module onto the CPU."""
        import torch  # noqa: PLC0415

        self.inputs = facts["inputs"]
        if facts["loader"] == "torchscript":
            self.raw = torch.jit.load(str(path), map_location="cpu").eval()
        else:
            self.raw = torch.export.load(str(path)).module()

    def get_raw_model(self) -> Any:
        """Return the module itself."""
        return self.raw

    def predict(self, data: Any, params: dict[str, Any] | None = None) -> Any:
        """Return the module's outputs as NumPy arrays: one array, or a list of them."""
        import torch  # noqa: PLC0415

        with torch.no_grad():
            answer = self.raw(*[torch.from_numpy(array) for array in self._arrays(data)])
        if isinstance(answer, list | tuple):
            return [part.numpy() for part in answer]
        if isinstance(answer, dict):
            return {name: part.numpy() for name, part in answer.items()}
        return answer.numpy()

    def _arrays(self, data: Any) -> list[Any]:
        import numpy as np  # noqa: PLC0415

        if isinstance(data, Mapping):
            names = [i["name"] for i in self.inputs if i["name"] in data] or list(data)
            given = [np.asarray(data[name]) for name in names]
        else:
            given = [np.asarray(data)]
        kinds = [NUMPY_NAMES.get(i["datatype"], "") for i in self.inputs]
        return [
            np.ascontiguousarray(array, dtype=_dtype(array, kind))
            for array, kind in zip(given, [*kinds, *[""] * len(given)], strict=False)
        ]


def _dtype(array: Any, announced: str) -> Any:
    if announced:
        return announced
    return "float32" if str(array.dtype) == "float64" else array.dtype


class Files:
    """Files that MLflow can carry and nothing here can run."""

    def __init__(self, path: Path, facts: Mapping[str, Any]) -> None:
        """Remember where they lie."""
        self.path, self.format = path.parent, facts["format"]

    def get_raw_model(self) -> Path:
        """Return the folder with the files."""
        return self.path

    def predict(self, data: Any, params: dict[str, Any] | None = None) -> Any:
        """Say that this needs another runtime."""
        raise NotImplementedError(
            f"MLflow has no runtime for {self.format}; load the files in {self.path} with a "
            "library of that format."
        )


LOADERS: dict[str, Any] = {
    "joblib": Estimator,
    "torchscript": Torch,
    "torch-export": Torch,
    "files": Files,
}
