"""Step 3: write the model as ONNX. A model that cannot be converted still ships as it is."""

from pathlib import Path
from typing import Any

from workers.toolchain import graphs
from workers.toolchain.model import LABEL, PREDICTION, PROBABILITIES, Native
from workers.toolchain.problems import Skip
from workers.toolchain.spec import Spec

OPSET = 18
ML_OPSET = 3
# onnxmltools' boosted trees know no later operator set.
BOOSTED_OPSET = 15


def run(spec: Spec, native: Native, target: Path) -> str:
    """Write `native` as ONNX to `target`, and return one line on how.

    Raises:
        Skip: The model has no form in ONNX, and why.
        Exception: The converter's own, when it fails.
    """
    converter = CONVERTERS.get(native.flavor)
    if converter is None:
        raise Skip(
            "An MLflow Python function is code, which has no form in ONNX; the native variant "
            "serves it."
        )
    model, by = converter(native)
    graphs.rename(model, _plain_names(model, native))
    graphs.save(model, target)
    _check(target)
    return f"Converted by {by}, operator set {graphs.opset(model)}."


def _check(path: Path) -> None:
    import onnx

    onnx.checker.check_model(str(path))


def _plain_names(model: Any, native: Native) -> dict[str, str]:
    """Return names for the outputs that mean the same for every library."""
    outputs = [output.name for output in model.graph.output]
    if native.flavor in {"onnx", "torch"}:
        return {}
    if len(outputs) == 1:
        return {outputs[0]: LABEL if native.served == (LABEL,) else PREDICTION}
    return dict(zip(outputs, [LABEL, PROBABILITIES], strict=False))


def _from_sklearn(native: Native) -> tuple[Any, str]:
    import skl2onnx

    _register_boosted_trees()
    options: dict[int, dict[str, Any]] = {}
    if native.classes:
        options[id(native.raw)] = {"zipmap": False}
    boosted = bool(set(native.libraries) & {"xgboost", "lightgbm"})
    model = skl2onnx.to_onnx(
        native.raw,
        name=graphs.GRAPH_NAME,
        initial_types=[(entry["name"], _skl_type(entry)) for entry in native.inputs],
        options=options or None,
        target_opset={"": BOOSTED_OPSET if boosted else OPSET, "ai.onnx.ml": ML_OPSET},
    )
    return model, f"skl2onnx {skl2onnx.__version__}"


def _skl_type(entry: dict[str, Any]) -> Any:
    from skl2onnx.common.data_types import FloatTensorType, Int64TensorType, StringTensorType

    kinds = {"BYTES": StringTensorType, "INT64": Int64TensorType}
    shape = [None if size < 0 else size for size in entry["shape"]]
    return kinds.get(entry["datatype"], FloatTensorType)(shape if len(shape) > 1 else [None, 1])


def _register_boosted_trees() -> None:
    """Teach skl2onnx the boosted trees' scikit-learn wrappers, where these are installed."""
    from skl2onnx import update_registered_converter
    from skl2onnx.common.shape_calculator import (
        calculate_linear_classifier_output_shapes as classified,
    )
    from skl2onnx.common.shape_calculator import (
        calculate_linear_regressor_output_shapes as regressed,
    )

    for model, alias, shapes, convert, options in _boosted_wrappers(classified, regressed):
        update_registered_converter(model, alias, shapes, convert, options=options)


def _boosted_wrappers(classified: Any, regressed: Any) -> list[tuple[Any, ...]]:
    import lightgbm
    import xgboost
    from onnxmltools.convert.lightgbm.operator_converters.LightGbm import convert_lightgbm
    from onnxmltools.convert.xgboost.operator_converters.XGBoost import convert_xgboost

    zipmap = {"zipmap": [True, False, "columns"], "nocl": [True, False]}
    return [
        (xgboost.XGBClassifier, "XGBoostXGBClassifier", classified, convert_xgboost, zipmap),
        (xgboost.XGBRegressor, "XGBoostXGBRegressor", regressed, convert_xgboost, None),
        (lightgbm.LGBMClassifier, "LightGbmLGBMClassifier", classified, convert_lightgbm, zipmap),
        (
            lightgbm.LGBMRegressor,
            "LightGbmLGBMRegressor",
            regressed,
            convert_lightgbm,
            {"split": None},
        ),
    ]


def _from_xgboost(native: Native) -> tuple[Any, str]:
    import onnxmltools
    from onnxmltools.convert.common.data_types import FloatTensorType

    booster = native.raw.copy()
    booster.feature_names = None  # the converter knows features by number alone
    entry = native.inputs[0]
    model = onnxmltools.convert_xgboost(
        booster,
        name=graphs.GRAPH_NAME,
        initial_types=[(entry["name"], FloatTensorType([None, entry["shape"][1]]))],
        target_opset=BOOSTED_OPSET,
    )
    return model, f"onnxmltools {onnxmltools.__version__}"


def _from_lightgbm(native: Native) -> tuple[Any, str]:
    import onnxmltools
    from onnxmltools.convert.common.data_types import FloatTensorType

    entry = native.inputs[0]
    model = onnxmltools.convert_lightgbm(
        native.raw,
        name=graphs.GRAPH_NAME,
        initial_types=[(entry["name"], FloatTensorType([None, entry["shape"][1]]))],
        target_opset=BOOSTED_OPSET,
        zipmap=False,
    )
    return model, f"onnxmltools {onnxmltools.__version__}"


def _from_torch(native: Native) -> tuple[Any, str]:
    from workers.toolchain import torched

    return torched.convert(native, OPSET)


def _from_onnx(native: Native) -> tuple[Any, str]:
    raise Skip("The version is ONNX already: its native variant is the ONNX model.")


CONVERTERS = {
    "sklearn": _from_sklearn,
    "xgboost": _from_xgboost,
    "lightgbm": _from_lightgbm,
    "onnx": _from_onnx,
    "torch": _from_torch,
}
