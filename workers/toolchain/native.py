"""Loads a version as the library that made it does, and asks it for reference answers.

This runs the model's own code. It happens only inside the sandbox, and only after the scan.
"""

from collections.abc import Callable, Mapping, Sequence
from importlib.metadata import packages_distributions, version
from pathlib import Path
from typing import Any

import numpy as np
import yaml
from numpy.typing import NDArray

from apps.registry.domain.kinds import Format
from controlplane.drivers.mlflow.mlmodel import entry_file, mlmodel_file
from controlplane.kernel.errors import Invalid
from workers.toolchain.model import LABEL, MATRIX, PREDICTION, PROBABILITIES, Native
from workers.toolchain.problems import BuildFailed
from workers.toolchain.tensors import Arrays, Signature, signature_of, tensor
from workers.toolchain.vouched import Trust, trust
from workers.toolchain.walk import Malformed, follow, looks_like_pickle


def load(files: Path, format: str, inputs: Signature) -> Native:
    """Load the model in `files`.

    Args:
        files: The folder with the version's files.
        format: How they are written.
        inputs: The registered signature; empty when it is not known.

    Raises:
        BuildFailed: It does not load (`build.does_not_load`), its library is not installed
            (`build.library_missing`), or nothing here reads the format (`build.format`).
    """
    loader = LOADERS.get(format)
    if loader is None:
        raise BuildFailed(
            "build.format",
            f"Modelyard keeps {format} files and cannot run them yet.",
            "Export the model to ONNX, and register that.",
        )
    try:
        return loader(files, inputs)
    except (BuildFailed, MemoryError):
        raise
    except Invalid as error:
        raise BuildFailed("build.does_not_load", error.sentence, error.remedy) from error
    except ModuleNotFoundError as error:
        raise BuildFailed(
            "build.library_missing",
            f"The model needs the Python module {error.name}, which is not installed here.",
            f"Install {error.name} where the builds run (for torch: the extra modelyard[torch]), "
            "or register the model as ONNX.",
        ) from error
    except Exception as error:
        raise BuildFailed(
            "build.does_not_load",
            f"The model does not load: {type(error).__name__}: {_short(error)}.",
            "Load it yourself with the library versions named in the log, save it again with "
            "these, and register that file.",
        ) from error


def library_versions(modules: Sequence[str]) -> dict[str, str]:
    """Return the installed version of the distribution behind each module."""
    providers = packages_distributions()
    return {
        distribution: version(distribution)
        for module in modules
        for distribution in providers.get(module, [])[:1]
    }


def _short(error: Exception) -> str:
    return " ".join(str(error).split())[:300]


def _sklearn(files: Path, inputs: Signature) -> Native:
    return of_estimator(_unpickle(entry_file(files, Format.SKLEARN)), inputs)


def _unpickle(path: Path) -> Any:
    """Load a pickle or joblib file, unless it would import what is unsafe.

    The scan has judged every file that looks like a pickle. A file that does not and is loaded as
    one all the same, because an MLmodel says so, is judged here, and strictly.
    """
    import joblib

    try:
        names = follow(path).names
    except Malformed as error:
        raise BuildFailed(
            "build.broken_pickle",
            f"{path.name} cannot be read: {error}.",
            "Save the model again with joblib.dump or pickle.dump, and register that file.",
        ) from error
    refused = {Trust.UNSAFE} if looks_like_pickle(path) else {Trust.UNSAFE, Trust.UNKNOWN}
    for module, name in names:
        if trust(module, name) in refused:
            raise BuildFailed(
                "build.unsafe_pickle",
                f"Loading {path.name} would import {module}.{name}, which no model needs.",
                "Do not load this file anywhere. Find out where it came from.",
            )
    return joblib.load(path)


def of_estimator(estimator: Any, inputs: Signature) -> Native:
    """Return the adapter for a fitted scikit-learn estimator, or one that behaves like it."""
    if not hasattr(estimator, "predict"):
        raise BuildFailed(
            "build.no_predict",
            f"The file holds a {type(estimator).__name__}, which has no predict method.",
            "Save the fitted estimator or pipeline itself, not what surrounds it.",
        )
    for part in parts_of(estimator):
        if getattr(part, "n_jobs", None):
            part.n_jobs = 1  # every measurement here is of one thread
    names = tuple(str(n) for n in getattr(estimator, "feature_names_in_", ()))
    taken = _estimator_inputs(estimator, names, inputs)
    classes = tuple(getattr(estimator, "classes_", ()))
    native = Native(
        raw=estimator,
        flavor="sklearn",
        inputs=taken,
        answer=lambda arrays: _estimate(estimator, arrays, names, taken),
        libraries=_libraries_of(estimator),
        names=names,
        classes=tuple(c.item() if isinstance(c, np.generic) else c for c in classes),
        facts={"estimator": type(estimator).__name__},
    )
    native.served = (LABEL,) if native.classes or _labels(estimator) else (PREDICTION,)
    return native


def _labels(estimator: Any) -> bool:
    """Return whether `predict` gives labels: of classes, of clusters, or of outliers."""
    kind = getattr(estimator, "_estimator_type", "") or ""
    return kind in {"classifier", "clusterer", "outlier_detector"}


def _estimate(estimator: Any, arrays: Arrays, names: Sequence[str], taken: Signature) -> Arrays:
    table = _table(arrays, names, taken)
    predicted = np.asarray(estimator.predict(table))
    if not (hasattr(estimator, "classes_") or _labels(estimator)):
        return {PREDICTION: predicted.reshape(len(predicted), -1)}
    answer = {LABEL: predicted}
    if hasattr(estimator, "predict_proba"):
        answer[PROBABILITIES] = np.asarray(estimator.predict_proba(table))
    return answer


def _table(arrays: Arrays, names: Sequence[str], taken: Signature) -> Any:
    """Return what the estimator was fitted on: a table with its columns' names, or an array.

    Numbers go in as float64, so that the reference is as exact as it can be.
    """
    if len(taken) == 1:
        matrix = next(iter(arrays.values())).astype(np.float64)
        if not names:
            return matrix
        import pandas

        return pandas.DataFrame(matrix, columns=list(names))
    import pandas

    return pandas.DataFrame({name: _column(arrays[name]) for name in arrays})


def _column(array: NDArray[Any]) -> NDArray[Any]:
    flat = array.reshape(len(array))
    return flat.astype(np.float64) if flat.dtype.kind == "f" else flat


def _estimator_inputs(estimator: Any, names: tuple[str, ...], given: Signature) -> Signature:
    """Return one table of float32 where that will do, and one input a column where it will not."""
    count = int(getattr(estimator, "n_features_in_", 0)) or _given_width(given)
    texts = text_columns(estimator)
    if names and (texts or _has_column_transformer(estimator)):
        return [tensor(n, "BYTES" if n in texts else "FP32", [-1, 1]) for n in names]
    if not count:
        raise BuildFailed(
            "build.no_signature",
            "The model does not say how many features it takes.",
            "Register the version with its input signature.",
        )
    name = given[0]["name"] if len(given) == 1 else MATRIX
    return [tensor(name, "FP32", [-1, count])]


def _given_width(given: Signature) -> int:
    if len(given) > 1:
        return len(given)
    shape = given[0]["shape"] if given else []
    return int(shape[1]) if len(shape) == 2 and shape[1] > 0 else 0


def parts_of(estimator: Any) -> list[Any]:
    """Return an estimator and everything nested in it."""
    found, queue = [], [estimator]
    while queue:
        part = queue.pop()
        found.append(part)
        queue += [step for _, step in getattr(part, "steps", [])]
        queue += [t[1] for t in getattr(part, "transformers_", [])]
        queue += list(np.ravel(getattr(part, "estimators_", [])))
        queue += [getattr(part, n) for n in ("estimator_", "best_estimator_") if hasattr(part, n)]
    return [part for part in found if not isinstance(part, str)]


def _has_column_transformer(estimator: Any) -> bool:
    return any(hasattr(part, "transformers_") for part in parts_of(estimator))


def text_columns(estimator: Any) -> dict[str, list[Any]]:
    """Return the columns that hold words, with the words seen in training."""
    found: dict[str, list[Any]] = {}
    for part in parts_of(estimator):
        for _, transformer, columns in getattr(part, "transformers_", []):
            for inner in parts_of(transformer):
                for column, words in zip(
                    np.atleast_1d(columns), getattr(inner, "categories_", []), strict=False
                ):
                    if np.asarray(words).dtype.kind in "OUS":
                        found[str(column)] = list(words)
    return found


def _libraries_of(estimator: Any) -> tuple[str, ...]:
    modules = {type(part).__module__.split(".")[0] for part in parts_of(estimator)}
    return tuple(sorted(modules | {"sklearn", "numpy", "scipy", "joblib"} - {"builtins"}))


def _pickle(files: Path, inputs: Signature) -> Native:
    return of_estimator(_unpickle(entry_file(files, Format.PICKLE)), inputs)


def _xgboost(files: Path, inputs: Signature) -> Native:
    return of_xgboost(entry_file(files, Format.XGBOOST), inputs)


def of_xgboost(path: Path, inputs: Signature) -> Native:
    """Return the adapter for a saved XGBoost booster."""
    import json

    import xgboost

    booster = xgboost.Booster(model_file=str(path))
    learner = json.loads(booster.save_config())["learner"]
    objective = learner["objective"]["name"]
    classes = max(int(learner["learner_model_param"]["num_class"]), 0)
    names = tuple(booster.feature_names or ())

    def predict(arrays: Arrays) -> NDArray[Any]:
        matrix = next(iter(arrays.values())).astype(np.float32)
        data = xgboost.DMatrix(matrix, feature_names=list(names) or None)
        return np.asarray(booster.predict(data))

    return _boosted(
        booster,
        "xgboost",
        predict,
        objective=objective,
        classes=classes,
        width=booster.num_features(),
        names=names,
        path=path,
        given=inputs,
    )


def _lightgbm(files: Path, inputs: Signature) -> Native:
    return of_lightgbm(entry_file(files, Format.LIGHTGBM), inputs)


def of_lightgbm(path: Path, inputs: Signature) -> Native:
    """Return the adapter for a saved LightGBM booster."""
    import lightgbm

    booster = lightgbm.Booster(model_file=str(path))
    objective = str(booster.dump_model(num_iteration=1).get("objective", "")).split(" ")[0]

    def predict(arrays: Arrays) -> NDArray[Any]:
        matrix = next(iter(arrays.values())).astype(np.float64)
        return np.asarray(booster.predict(matrix, num_threads=1))

    return _boosted(
        booster,
        "lightgbm",
        predict,
        objective=objective,
        classes=booster.num_model_per_iteration(),
        width=booster.num_feature(),
        names=tuple(booster.feature_name()),
        path=path,
        given=inputs,
    )


def _boosted(
    booster: Any,
    flavor: str,
    predict: Callable[[Arrays], NDArray[Any]],
    *,
    objective: str,
    classes: int,
    width: int,
    names: tuple[str, ...],
    path: Path,
    given: Signature,
) -> Native:
    """Return the adapter for boosted trees, whose raw answer depends on the objective."""
    name = given[0]["name"] if len(given) == 1 else MATRIX
    kind = _objective(objective)

    def answer(arrays: Arrays) -> Arrays:
        raw = predict(arrays)
        return {PREDICTION: raw, **_classified(raw, kind)}

    generated = {f"Column_{n}" for n in range(width)}
    return Native(
        raw=booster,
        flavor=flavor,
        inputs=[tensor(name, "FP32", [-1, width])],
        answer=answer,
        served=(PREDICTION,),
        libraries=(flavor, "numpy", "scipy"),
        names=() if set(names) <= generated else names,
        classes=tuple(range(max(classes, 2))) if kind else (),
        path=path,
        facts={"estimator": "Booster", "objective": objective},
    )


def _objective(name: str) -> str:
    if name in {"binary:logistic", "binary", "cross_entropy"}:
        return "binary"
    if name in {"multi:softprob", "multi:softmax", "multiclass", "multiclassova"}:
        return "multi"
    return ""


def _classified(raw: NDArray[Any], kind: str) -> Arrays:
    """Return labels and probabilities for a classifier's raw answer; nothing for a regressor."""
    if kind == "binary":
        both = np.stack([1 - raw, raw], axis=1)
        return {LABEL: (raw > 0.5).astype(np.int64), PROBABILITIES: both}
    if kind == "multi" and raw.ndim == 2:
        return {LABEL: raw.argmax(axis=1).astype(np.int64), PROBABILITIES: raw}
    if kind == "multi":
        return {LABEL: raw.astype(np.int64)}
    return {}


def _onnx(files: Path, inputs: Signature) -> Native:
    return of_onnx(entry_file(files, Format.ONNX))


def of_onnx(path: Path) -> Native:
    """Return the adapter for an ONNX file, without any optimisation, as the reference."""
    from workers.toolchain import ort

    session = ort.session(path, optimise=False)
    return Native(
        raw=session,
        flavor="onnx",
        inputs=ort.inputs_of(session),
        answer=lambda arrays: ort.run(session, arrays),
        served=tuple(o.name for o in session.get_outputs()),
        libraries=("onnxruntime", "numpy"),
        path=path,
    )


def _torch_export(files: Path, inputs: Signature) -> Native:
    from workers.toolchain import torched

    return torched.of_exported(entry_file(files, Format.TORCH_EXPORT), inputs)


def _torchscript(files: Path, inputs: Signature) -> Native:
    from workers.toolchain import torched

    return torched.of_script(entry_file(files, Format.TORCHSCRIPT), inputs)


def _mlflow(files: Path, inputs: Signature) -> Native:
    """Load an MLflow folder by the most telling of its flavors."""
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


def _mlflow_sklearn(root: Path, flavor: Mapping[str, Any], inputs: Signature) -> Native:
    path = _inside(root, flavor.get("pickled_model", "model.pkl"))
    if flavor.get("serialization_format") == "skops":
        import mlflow.sklearn

        return of_estimator(mlflow.sklearn.load_model(str(root)), inputs)
    return of_estimator(_unpickle(path), inputs)


def _mlflow_booster(root: Path, flavor: Mapping[str, Any], inputs: Signature, name: str) -> Native:
    """Load a booster, or the scikit-learn wrapper that MLflow saved it from."""
    path = _inside(root, flavor.get("data", "model"))
    model_class = str(flavor.get("model_class", ""))
    if model_class.endswith("Booster") or (name == "xgboost" and path.suffix != ".pkl"):
        make = of_xgboost if name == "xgboost" else of_lightgbm
        booster = make(path, inputs)
        if not model_class.endswith("Booster") and booster.classes:
            booster.served = (LABEL,)  # the wrapper's predict gives labels
        return booster
    return of_estimator(_unpickle(path), inputs)


def _mlflow_torch(root: Path, flavor: Mapping[str, Any], inputs: Signature) -> Native:
    from workers.toolchain import torched

    return torched.of_mlflow(_inside(root, flavor.get("model_data", "data")), inputs)


FLAVORS: dict[str, Callable[[Path, Mapping[str, Any], Signature], Native]] = {
    "onnx": lambda root, flavor, _: of_onnx(_inside(root, flavor.get("data", "model.onnx"))),
    "sklearn": _mlflow_sklearn,
    "xgboost": lambda root, flavor, given: _mlflow_booster(root, flavor, given, "xgboost"),
    "lightgbm": lambda root, flavor, given: _mlflow_booster(root, flavor, given, "lightgbm"),
    "pytorch": _mlflow_torch,
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


def outputs_of(native: Native, arrays: Arrays) -> Signature:
    """Return the signature of what `native` answers."""
    return signature_of(native.answer(arrays))


LOADERS: dict[str, Callable[[Path, Signature], Native]] = {
    Format.SKLEARN: _sklearn,
    Format.PICKLE: _pickle,
    Format.XGBOOST: _xgboost,
    Format.LIGHTGBM: _lightgbm,
    Format.ONNX: _onnx,
    Format.TORCH_EXPORT: _torch_export,
    Format.TORCHSCRIPT: _torchscript,
    Format.MLFLOW: _mlflow,
}
