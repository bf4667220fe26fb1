"""Loads boosted trees as XGBoost and LightGBM save them themselves."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from workers.toolchain.model import LABEL, MATRIX, PREDICTION, PROBABILITIES, Native
from workers.toolchain.tensors import Arrays, Signature, tensor


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
