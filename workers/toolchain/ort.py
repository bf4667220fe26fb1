"""ONNX Runtime, with one thread and on the CPU, as every measurement here uses it."""

from pathlib import Path
from typing import Any

import numpy as np
import onnxruntime
from numpy.typing import NDArray

from workers.toolchain.model import Native
from workers.toolchain.tensors import Arrays, Signature, rows_of, tensor, typed

DATATYPES = {
    "tensor(float)": "FP32", "tensor(double)": "FP64", "tensor(float16)": "FP16",
    "tensor(int64)": "INT64", "tensor(int32)": "INT32", "tensor(int16)": "INT16",
    "tensor(int8)": "INT8", "tensor(uint8)": "UINT8", "tensor(uint16)": "UINT16",
    "tensor(uint32)": "UINT32", "tensor(uint64)": "UINT64", "tensor(bool)": "BOOL",
    "tensor(string)": "BYTES",
}  # fmt: skip

onnxruntime.set_default_logger_severity(4)


def session(path: Path, *, optimise: bool = True) -> Any:
    """Return a session over the model at `path`."""
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = options.inter_op_num_threads = 1
    options.log_severity_level = 4
    if not optimise:
        options.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_DISABLE_ALL
    return onnxruntime.InferenceSession(str(path), options, providers=["CPUExecutionProvider"])


def inputs_of(opened: Any) -> Signature:
    """Return what a session takes."""
    return [_entry(node) for node in opened.get_inputs()]


def outputs_of(opened: Any) -> Signature:
    """Return what a session gives."""
    return [_entry(node) for node in opened.get_outputs()]


def of_onnx(path: Path) -> Native:
    """Return the adapter for an ONNX file, without any optimisation, as the reference."""
    loaded = session(path, optimise=False)
    return Native(
        raw=loaded,
        flavor="onnx",
        inputs=inputs_of(loaded),
        answer=lambda arrays: run(loaded, arrays),
        served=tuple(o.name for o in loaded.get_outputs()),
        libraries=("onnxruntime", "numpy"),
        path=path,
    )


def _entry(node: Any) -> dict[str, Any]:
    shape = [size if isinstance(size, int) and size > 0 else -1 for size in node.shape]
    return tensor(node.name, DATATYPES.get(node.type, node.type), shape)


def run(opened: Any, arrays: Arrays) -> dict[str, NDArray[Any]]:
    """Run all rows, in pieces where the model's batch is fixed."""
    taken = inputs_of(opened)
    fixed = next((i["shape"][0] for i in taken if i["shape"] and i["shape"][0] > 0), 0)
    if not fixed or fixed == rows_of(arrays):
        return _run(opened, arrays, taken)
    whole = rows_of(arrays) // fixed * fixed
    pieces = [
        _run(opened, {n: a[at : at + fixed] for n, a in arrays.items()}, taken)
        for at in range(0, whole, fixed)
    ]
    return {name: np.concatenate([piece[name] for piece in pieces]) for name in pieces[0]}


def _run(opened: Any, arrays: Arrays, taken: Signature) -> dict[str, NDArray[Any]]:
    feed = {i["name"]: _shaped(typed(arrays[i["name"]], i["datatype"]), i["shape"]) for i in taken}
    names = [node.name for node in opened.get_outputs()]
    return {
        name: np.asarray(value) for name, value in zip(names, opened.run(names, feed), strict=True)
    }


def _shaped(array: NDArray[Any], shape: list[int]) -> NDArray[Any]:
    """Return a column as (rows, 1) where the model takes it so."""
    return array.reshape(len(array), 1) if len(shape) == 2 and array.ndim == 1 else array
