"""What an estimator's inert description says: classes, features, signature, version."""

import struct
from typing import Any, BinaryIO

from apps.registry.domain.inspect import pickles
from apps.registry.domain.inspect.pickles import Call, Global, Pickled
from apps.registry.domain.inspected import Inspected, Tensor
from apps.registry.domain.kinds import Format

LIBRARIES = {
    "sklearn": "scikit-learn",
    "xgboost": "XGBoost",
    "lightgbm": "LightGBM",
    "catboost": "CatBoost",
    "torch": "PyTorch",
}
WITHOUT_PROBABILITIES = {"LinearSVC", "RidgeClassifier", "RidgeClassifierCV", "Perceptron",
                         "PassiveAggressiveClassifier", "NearestCentroid"}  # fmt: skip
INNER = ("best_estimator_",)
MOST_NAMES = 2000
DEEPEST = 12


def inspect(stream: BinaryIO) -> Inspected:
    """Return what a joblib or pickle file says, loading nothing.

    Raises:
        Unreadable: It is not a whole pickle.
    """
    pickled = pickles.read(stream)
    libraries = _libraries(pickled)
    facts: dict[str, Any] = {
        "pickle_protocol": pickled.protocol,
        "modules": sorted({name.module.partition(".")[0] for name in pickled.names})[:50],
    }
    if not pickled.whole:
        facts["partly_read"] = True
    estimator = pickled.value if isinstance(pickled.value, Call) else None
    if "sklearn" not in libraries and not _sklearn_like(estimator):
        facts["globals"] = [str(name) for name in pickled.names[:100]]
        library = LIBRARIES.get(libraries[0], libraries[0]) if libraries else ""
        return Inspected(Format.PICKLE, framework=library, facts=facts)
    facts["estimators"] = _estimators(pickled)
    return _estimator(estimator, facts)


def _libraries(pickled: Pickled) -> list[str]:
    found = [name.module.partition(".")[0] for name in pickled.names]
    return [library for library in LIBRARIES if library in found]


def _sklearn_like(estimator: Call | None) -> bool:
    return estimator is not None and "_sklearn_version" in _state(estimator)


def _estimators(pickled: Pickled) -> list[str]:
    found = [
        str(name)
        for name in pickled.names
        if name.module.startswith("sklearn.") and name.name[:1].isupper()
    ]
    return found[:50]


def _estimator(root: Call | None, facts: dict[str, Any]) -> Inspected:
    chain = _chain(root)
    states = [_state(part) for part in chain]
    version = next((v for s in states if isinstance(v := s.get("_sklearn_version"), str)), "")
    if chain:
        facts["estimator"] = _name(chain[0])
        facts["steps"] = [_name(part) for part in chain]
    features = _features(states)
    names = _texts(
        next((s["feature_names_in_"] for s in states if "feature_names_in_" in s), None)
    )
    if names:
        facts["feature_names"] = names[:MOST_NAMES]
    if features:
        facts["features"] = features
    mixed = any(_name(part).endswith("ColumnTransformer") for part in chain)
    inputs: list[Tensor] = []
    if features and not mixed:
        inputs = [{"name": "input", "datatype": "FP32", "shape": [-1, features]}]
    return Inspected(
        Format.SKLEARN,
        framework=f"scikit-learn {version}".strip()[:80],
        inputs=inputs,
        outputs=_outputs(chain, states, facts),
        facts=facts,
    )


def _chain(root: Call | None) -> list[Call]:
    """Return the estimators that data passes through, outermost first."""
    found: list[Call] = []
    waiting = [root] if root is not None else []
    while waiting and len(found) < DEEPEST:
        part = waiting.pop(0)
        if part in found:
            continue
        found.append(part)
        state = _state(part)
        steps = state.get("steps")
        if isinstance(steps, list):
            waiting += [s[1] for s in steps if _is_step(s)]
        waiting += [state[name] for name in INNER if isinstance(state.get(name), Call)]
    return found


def _is_step(step: Any) -> bool:
    return isinstance(step, tuple | list) and len(step) == 2 and isinstance(step[1], Call)


def _state(part: Call) -> dict[Any, Any]:
    state = part.state
    if isinstance(state, tuple) and len(state) == 2 and isinstance(state[0], dict):
        state = state[0]
    return state if isinstance(state, dict) else {}


def _name(part: Call) -> str:
    target = part.target
    if isinstance(target, Global) and "reconstructor" in target.name and part.args:
        target = part.args[0]
    return target.name if isinstance(target, Global) else "?"


def _features(states: list[dict[Any, Any]]) -> int:
    for state in states:
        value = _number(state.get("n_features_in_"))
        if value is not None and 0 < value < 1 << 31:
            return value
    return 0


def _number(value: Any) -> int | None:
    if isinstance(value, bool):
        return None
    if isinstance(value, int):
        return value
    if isinstance(value, Call) and isinstance(value.target, Global):
        args = value.args if isinstance(value.args, tuple) else ()
        if value.target.name == "scalar" and len(args) == 2 and isinstance(args[1], bytes):
            return int.from_bytes(args[1], "little", signed=True)
    return None


def _outputs(
    chain: list[Call], states: list[dict[Any, Any]], facts: dict[str, Any]
) -> list[Tensor]:
    final = [s for s in states if "classes_" in s]
    if final:
        return _of_classifier(chain, final[-1], facts)
    last = _name(chain[-1]) if chain else ""
    if last.endswith(("Regressor", "Regression", "Ridge", "Lasso", "SVR", "ElasticNet")):
        targets = next((_number(s.get("n_outputs_")) for s in states if "n_outputs_" in s), 1)
        shape = [-1] if (targets or 1) == 1 else [-1, targets or 1]
        return [{"name": "prediction", "datatype": "FP32", "shape": shape}]
    return []


def _of_classifier(
    chain: list[Call], state: dict[Any, Any], facts: dict[str, Any]
) -> list[Tensor]:
    classes = pickles.array_of(state["classes_"])
    if classes is None or len(classes.shape) != 1:
        return []
    count, whole = classes.shape[0], classes.dtype[:1] in ("i", "u", "b", "?")
    facts["classes"] = count
    labels = _labels(classes)
    if labels and len(labels) <= 100:
        facts["labels"] = labels
    outputs: list[Tensor] = [
        {"name": "label", "datatype": "INT64" if whole else "BYTES", "shape": [-1]}
    ]
    if classes.dtype[:1] == "f":
        outputs[0]["datatype"] = "FP64"
    sure = not any(_name(part) in WITHOUT_PROBABILITIES for part in chain)
    if sure and state.get("probability", True) is not False:
        outputs.append({"name": "probabilities", "datatype": "FP32", "shape": [-1, count]})
    return outputs


def _labels(classes: pickles.Array) -> list[Any]:
    if classes.objects is not None:
        return _texts(classes)
    formats = {"i8": "<q", "i4": "<i", "u1": "<B", "i1": "<b", "i2": "<h", "f8": "<d"}
    kind = formats.get(classes.dtype)
    if kind is None or classes.data is None:
        return _texts(classes)
    return [value for (value,) in struct.iter_unpack(kind, classes.data)]


def _texts(value: Any) -> list[str]:
    """Return an inert array of texts as a list; [] when it is none."""
    array = pickles.array_of(value)
    if array is None:
        return []
    if array.dtype.startswith("U") and array.data is not None:
        width = pickles.itemsize_of(array.dtype)
        pieces = [array.data[i : i + width] for i in range(0, len(array.data), width or 1)]
        return [p.decode("utf-32-le", "replace").rstrip("\x00")[:250] for p in pieces]
    inner = array.objects
    if isinstance(inner, pickles.Call) and pickles.array_of(inner) is not None:
        nested = pickles.array_of(inner)
        inner = nested.objects if nested is not None else None
    if isinstance(inner, list):
        return [str(item)[:250] for item in inner if isinstance(item, str)]
    return []
