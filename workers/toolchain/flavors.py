"""Loads an MLflow folder by the most telling of its flavors, or else through MLflow itself."""

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import yaml

from controlplane.drivers.mlflow.mlmodel import mlmodel_file
from workers.toolchain.boosters import of_lightgbm, of_xgboost
from workers.toolchain.estimators import of_estimator, unpickle
from workers.toolchain.model import LABEL, PREDICTION, Native
from workers.toolchain.problems import BuildFailed
from workers.toolchain.tensors import Arrays, Signature


def of_folder(files: Path, inputs: Signature) -> Native:
    """Return the adapter for an MLflow folder."""
    root = mlmodel_file(files).parent
    flavors: Mapping[str, Any] = yaml.safe_load((root / "MLmodel").read_text())["flavors"]
    return _by_flavor(root, flavors, inputs) or _pyfunc(root, inputs)


def _by_flavor(root: Path, flavors: Mapping[str, Any], inputs: Signature) -> Native | None:
    for flavor, make in FLAVORS.items():
        if flavor in flavors:
            return make(root, flavors[flavor], inputs)
    return None


def _inside(root: Path, name: Any) -> Path:
    """Return the file `name` of the folder, and no file outside it."""
    path = (root / str(name)).resolve()
    if not path.is_relative_to(root.resolve()) or not path.exists():
        raise BuildFailed(
            "build.does_not_load",
            f"MLmodel names the file {name}, which is not in the model's folder.",
            "Register the whole folder that mlflow.*.save_model wrote.",
        )
    return path


def _onnx(root: Path, flavor: Mapping[str, Any], inputs: Signature) -> Native:
    from workers.toolchain import ort

    return ort.of_onnx(_inside(root, flavor.get("data", "model.onnx")))


def _sklearn(root: Path, flavor: Mapping[str, Any], inputs: Signature) -> Native:
    path = _inside(root, flavor.get("pickled_model", "model.pkl"))
    if flavor.get("serialization_format") == "skops":
        import mlflow.sklearn

        return of_estimator(mlflow.sklearn.load_model(str(root)), inputs)
    return of_estimator(unpickle(path), inputs)


def _booster(root: Path, flavor: Mapping[str, Any], inputs: Signature, name: str) -> Native:
    """Load a booster, or the scikit-learn wrapper that MLflow saved it from."""
    path = _inside(root, flavor.get("data", "model"))
    model_class = str(flavor.get("model_class", ""))
    if model_class.endswith("Booster") or (name == "xgboost" and path.suffix != ".pkl"):
        make = of_xgboost if name == "xgboost" else of_lightgbm
        booster = make(path, inputs)
        if not model_class.endswith("Booster") and booster.classes:
            booster.served = (LABEL,)  # the wrapper's predict gives labels
        return booster
    return of_estimator(unpickle(path), inputs)


def _torch(root: Path, flavor: Mapping[str, Any], inputs: Signature) -> Native:
    from workers.toolchain import torched

    return torched.of_mlflow(_inside(root, flavor.get("model_data", "data")), inputs)


FLAVORS: dict[str, Callable[[Path, Mapping[str, Any], Signature], Native]] = {
    "onnx": _onnx,
    "sklearn": _sklearn,
    "xgboost": lambda root, flavor, given: _booster(root, flavor, given, "xgboost"),
    "lightgbm": lambda root, flavor, given: _booster(root, flavor, given, "lightgbm"),
    "pytorch": _torch,
}


def _pyfunc(root: Path, inputs: Signature) -> Native:
    """Load any other MLflow model through MLflow itself."""
    import mlflow.pyfunc

    model = mlflow.pyfunc.load_model(str(root))
    if not inputs:
        raise BuildFailed(
            "build.no_signature",
            "The MLflow model has no signature, so nothing is known of its inputs.",
            "Log it with signature=mlflow.models.infer_signature(...), or with an input example.",
        )

    def answer(arrays: Arrays) -> Arrays:
        return _as_arrays(model.predict(_pyfunc_data(arrays, inputs)))

    return Native(
        raw=model,
        flavor="pyfunc",
        inputs=inputs,
        answer=answer,
        libraries=("mlflow", "numpy"),
        facts={"estimator": "MLflow pyfunc"},
    )


def _pyfunc_data(arrays: Arrays, inputs: Signature) -> Any:
    if len(inputs) == 1 and len(inputs[0]["shape"]) > 1:
        return next(iter(arrays.values()))
    import pandas

    return pandas.DataFrame({name: array.reshape(len(array)) for name, array in arrays.items()})


def _as_arrays(answer: Any) -> Arrays:
    if hasattr(answer, "columns"):
        return {str(name): answer[name].to_numpy() for name in answer.columns}
    if isinstance(answer, Mapping):
        return {str(name): np.asarray(value) for name, value in answer.items()}
    return {PREDICTION: np.asarray(answer)}
