"""A pyfunc model behind our server. Runs inside the bundle's own environment."""

import sys
from collections.abc import Mapping, Sequence
from typing import Any

import mlflow.pyfunc
import numpy as np
import pandas as pd
from mlflow.exceptions import MlflowException

from workers.runtimes.oip import serve, warmup
from workers.runtimes.oip.batching import Arrays
from workers.runtimes.oip.options import Options
from workers.runtimes.oip.protocol import Array, Refused, TensorSpec, datatype_of

UNKNOWN_INPUT = TensorSpec("input", "FP64", (-1, -1))
UNKNOWN_OUTPUT = TensorSpec("prediction", "FP64", (-1,))
# MLflow's error codes for data that does not fit the model's signature.
BAD_INPUT = {"INVALID_PARAMETER_VALUE", "BAD_REQUEST"}


class PyfuncModel:
    """A model as `mlflow.pyfunc` loads it.

    The protocol speaks of tensors and MLflow mostly of tables: one tensor of two axes is a table
    whose columns are the model's, and several tensors are its columns.
    """

    platform = "mlflow-pyfunc"

    def __init__(self, folder: str, config: Mapping[str, Any]) -> None:
        """Load the MLmodel folder at `folder`; `config` is the bundle's."""
        self._model = mlflow.pyfunc.load_model(folder)
        self._schema = self._model.metadata.get_input_schema()
        self.inputs = _specs(config.get("inputs")) or (UNKNOWN_INPUT,)
        self.outputs = _specs(config.get("outputs")) or (UNKNOWN_OUTPUT,)
        self._columns = self._column_names()
        if not config.get("outputs"):
            self.outputs = _outputs_seen(self) or self.outputs

    def run(self, inputs: Arrays) -> Arrays:
        """Return the model's prediction for `inputs`, by name."""
        try:
            answer = self._model.predict(self._data(inputs))
        except MlflowException as error:
            if error.error_code in BAD_INPUT:
                raise Refused(f"The model does not take these inputs: {error.message}") from error
            raise
        return named(answer, self.outputs)

    def _column_names(self) -> list[str]:
        """Return the names of the columns that the model was trained on, where it knows them."""
        if self._schema is not None and not self._schema.is_tensor_spec():
            return [str(name) for name in self._schema.input_names()]
        try:
            raw = self._model.get_raw_model()
        except (AttributeError, NotImplementedError, MlflowException):
            return []
        for attribute in ("feature_names_in_", "feature_names"):
            names = getattr(raw, attribute, None)
            if names is not None and not callable(names):
                return [str(name) for name in names]
        return []

    def _data(self, inputs: Arrays) -> Any:
        if self._schema is not None and self._schema.is_tensor_spec():
            return self._tensors(inputs)
        only = next(iter(inputs.values())) if len(inputs) == 1 else None
        if only is None or only.ndim == 1:
            table = pd.DataFrame({name: _column(name, array) for name, array in inputs.items()})
        elif only.ndim == 2 and only.shape[1] == len(self._columns):
            table = pd.DataFrame(_wide(only), columns=self._columns)
        else:
            return _wide(only)
        return self._as_announced(table)

    def _tensors(self, inputs: Arrays) -> Any:
        kinds = self._schema.numpy_types()
        arrays = {
            name: array.astype(kind, copy=False)
            for (name, array), kind in zip(inputs.items(), kinds, strict=False)
        }
        if self._schema.has_input_names():
            return dict(zip(self._schema.input_names(), arrays.values(), strict=True))
        return next(iter(arrays.values()))

    def _as_announced(self, table: pd.DataFrame) -> pd.DataFrame:
        """Give every column the type that MLflow insists on, where the values allow it."""
        if self._schema is None:
            return table
        announced = dict(zip(self._schema.input_names(), self._schema.pandas_types(), strict=True))
        kinds = {name: announced[name] for name in table.columns if name in announced}
        try:
            return table.astype(kinds)
        except (TypeError, ValueError) as error:
            raise Refused(f"The model does not take these inputs: {error}") from error


def named(answer: Any, outputs: Sequence[TensorSpec]) -> Arrays:
    """Return whatever a model answered as one array for each output.

    Raises:
        ValueError: An output is missing in the answer.
    """
    found = _parts(answer, [spec.name for spec in outputs])
    missing = [spec.name for spec in outputs if spec.name not in found]
    if missing:
        raise ValueError(f"its answer has no “{missing[0]}”, only {', '.join(found) or 'nothing'}")
    return {spec.name: _shaped(found[spec.name], spec) for spec in outputs}


def _parts(answer: Any, names: list[str]) -> dict[str, Array]:
    if isinstance(answer, pd.DataFrame):
        if len(names) == 1 and list(answer.columns) != names:
            return {names[0]: answer.to_numpy()}
        return {str(name): answer[name].to_numpy() for name in answer.columns}
    if isinstance(answer, Mapping):
        return {str(name): np.asarray(value) for name, value in answer.items()}
    if len(names) > 1 and isinstance(answer, list | tuple):
        return {name: np.asarray(part) for name, part in zip(names, answer, strict=False)}
    return {names[0]: np.asarray(answer)}


def _shaped(array: Array, spec: TensorSpec) -> Array:
    """Return `array` with as many axes as was announced, where that only adds or drops ones."""
    inner = spec.shape[1:]
    if array.ndim == len(spec.shape) or not spec.shape or any(size < 0 for size in inner):
        return array
    rows = array.shape[0] if array.ndim else 1
    return array.reshape((rows, *inner)) if array.size == rows * int(np.prod(inner)) else array


def _column(name: str, array: Array) -> Array:
    if array.size != len(array):
        raise Refused(f"The input “{name}” is a column; its shape may be [rows] or [rows, 1].")
    return _wide(array.reshape(len(array)))


def _wide(array: Array) -> Array:
    # Models are mostly trained on float64, and a float32 is exactly one float64.
    return array.astype(np.float64) if array.dtype.kind == "f" else array


def _specs(listed: Sequence[Mapping[str, Any]] | None) -> tuple[TensorSpec, ...]:
    return tuple(TensorSpec(s["name"], s["datatype"], tuple(s["shape"])) for s in listed or ())


def _outputs_seen(model: PyfuncModel) -> tuple[TensorSpec, ...]:
    """Return the outputs of a model that did not announce any, as its first answer shows them."""
    try:
        answer = model._model.predict(model._data(warmup.zeros(model, 1)))
    except Exception:  # zeros may mean nothing to it
        return ()
    parts = _parts(answer, [UNKNOWN_OUTPUT.name])
    return tuple(
        TensorSpec(name, datatype_of(array), (-1, *array.shape[1:]))
        for name, array in parts.items()
    )


def load(told: Options, config: dict[str, Any]) -> PyfuncModel:
    """Load the bundle's model."""
    return PyfuncModel(str(told.bundle / config["entry"]), config)


if __name__ == "__main__":
    serve.main(sys.argv[1:], load)
