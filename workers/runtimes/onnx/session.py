"""A model in ONNX Runtime."""

import re
from typing import Any

import numpy as np
import onnxruntime as ort
from onnxruntime.capi.onnxruntime_pybind11_state import InvalidArgument

from workers.runtimes.oip.batching import Arrays
from workers.runtimes.oip.options import Options
from workers.runtimes.oip.protocol import Array, Refused, TensorSpec

DATATYPES = {
    "bool": "BOOL", "uint8": "UINT8", "uint16": "UINT16", "uint32": "UINT32", "uint64": "UINT64",
    "int8": "INT8", "int16": "INT16", "int32": "INT32", "int64": "INT64",
    "float16": "FP16", "float": "FP32", "double": "FP64", "string": "BYTES",
}  # fmt: skip
TENSOR = re.compile(r"^tensor\((\w+)\)$")
SCORES = re.compile(r"^seq\(map\(\w+,tensor\((\w+)\)\)\)$")


INSIDE = "while running"  # ONNX Runtime's words for a node of the graph that failed


class OnnxModel:
    """An ONNX file, run on the CPU. What it says of itself is its signature."""

    platform = "onnxruntime"

    def __init__(self, path: str, *, threads: int) -> None:
        """Load the file at `path`.

        Raises:
            ValueError: An input or output is of a type that the protocol cannot carry.
            Exception: Whatever ONNX Runtime says about a file that it cannot load.
        """
        self._session = ort.InferenceSession(
            path, _session_options(threads), providers=["CPUExecutionProvider"]
        )
        self.inputs = tuple(_spec(node) for node in self._session.get_inputs())
        self.outputs = tuple(_spec(node) for node in self._session.get_outputs())
        self._names = [spec.name for spec in self.outputs]

    def run(self, inputs: Arrays) -> Arrays:
        """Return the model's outputs for `inputs`."""
        try:
            values = self._session.run(self._names, inputs)
        except InvalidArgument as error:
            if INSIDE in str(error):
                raise  # the inputs were taken, and a node failed on them: the model's failure
            raise Refused(f"The model does not take these inputs: {error}") from error
        return dict(zip(self._names, map(_tensor, values), strict=True))


def load(told: Options, config: dict[str, Any]) -> OnnxModel:
    """Load the bundle's model."""
    return OnnxModel(str(told.bundle / config["entry"]), threads=told.settings.get("threads", 1))


def _session_options(threads: int) -> ort.SessionOptions:
    wanted = ort.SessionOptions()
    wanted.intra_op_num_threads = threads
    wanted.inter_op_num_threads = 1
    # Idle threads would otherwise spin, and take the processor from their neighbours.
    wanted.add_session_config_entry("session.intra_op.allow_spinning", "0")
    return wanted


def _spec(node: Any) -> TensorSpec:
    if SCORES.match(node.type):
        return TensorSpec(node.name, _datatype(SCORES, node), (-1, -1))
    shape = tuple(size if isinstance(size, int) and size >= 0 else -1 for size in node.shape)
    return TensorSpec(node.name, _datatype(TENSOR, node), shape)


def _datatype(pattern: re.Pattern[str], node: Any) -> str:
    found = pattern.match(node.type)
    datatype = DATATYPES.get(found.group(1)) if found else None
    if datatype is None:
        raise ValueError(f"“{node.name}” is of type {node.type}, which the protocol cannot carry.")
    return datatype


def _tensor(value: Any) -> Array:
    """Return `value` as an array; scores by label (ZipMap) become columns, by sorted label."""
    if isinstance(value, np.ndarray):
        return value
    labels = sorted(value[0]) if value else []
    scores = [[row[label] for label in labels] for row in value]
    return np.array(scores, dtype=np.float32).reshape(len(value), len(labels))
