"""Loads what scikit-learn, or what behaves like it, saved as a pickle.

This runs the model's own code. It happens only inside the sandbox, and only after the scan.
"""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from workers.toolchain.model import LABEL, MATRIX, PREDICTION, PROBABILITIES, Native
from workers.toolchain.problems import BuildFailed
from workers.toolchain.tensors import Arrays, Signature, tensor
from workers.toolchain.vouched import Trust, trust
from workers.toolchain.walk import Malformed, follow, looks_like_pickle


def unpickle(path: Path) -> Any:
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
