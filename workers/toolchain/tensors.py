"""Arrays as the Open Inference Protocol writes them, and signatures as the registry keeps them."""

from collections.abc import Mapping
from typing import Any, TypeAlias

import numpy as np
from numpy.typing import NDArray

Arrays: TypeAlias = Mapping[str, NDArray[Any]]  # by name; the first axis is the batch
Signature: TypeAlias = list[dict[str, Any]]  # [{"name", "datatype" (OIP), "shape" (-1 free)}]

NUMPY_OF = {
    "BOOL": np.bool_, "INT8": np.int8, "INT16": np.int16, "INT32": np.int32, "INT64": np.int64,
    "UINT8": np.uint8, "UINT16": np.uint16, "UINT32": np.uint32, "UINT64": np.uint64,
    "FP16": np.float16, "FP32": np.float32, "FP64": np.float64,
}  # fmt: skip
OIP_OF = {np.dtype(kind): name for name, kind in NUMPY_OF.items()}


def tensor(name: str, datatype: str, shape: list[int]) -> dict[str, Any]:
    """Return one entry of a signature."""
    return {"name": name, "datatype": datatype, "shape": shape}


def signature_of(arrays: Arrays) -> Signature:
    """Return the signature of arrays whose first axis is the batch."""
    return [
        tensor(name, datatype_of(array), [-1, *array.shape[1:]]) for name, array in arrays.items()
    ]


def datatype_of(array: NDArray[Any]) -> str:
    """Return the OIP name of an array's type; words and objects are BYTES."""
    return OIP_OF.get(array.dtype, "BYTES")


def as_oip(name: str, array: NDArray[Any]) -> dict[str, Any]:
    """Return `array` as an OIP tensor object with flat, JSON-ready data."""
    datatype = datatype_of(array)
    flat = array.reshape(-1)
    data = [_word(item) for item in flat] if datatype == "BYTES" else flat.tolist()
    return {"name": name, "datatype": datatype, "shape": list(array.shape), "data": data}


def _word(item: Any) -> str:
    return item.decode() if isinstance(item, bytes) else str(item)


def typed(array: NDArray[Any], datatype: str) -> NDArray[Any]:
    """Return `array` as `datatype`; BYTES become Python strings."""
    if datatype == "BYTES":
        return array.astype(str).astype(object)
    return array.astype(NUMPY_OF[datatype])


def rows_of(arrays: Arrays) -> int:
    """Return how many rows the arrays hold."""
    return len(next(iter(arrays.values())))


def cut(arrays: Arrays, start: int, stop: int) -> dict[str, NDArray[Any]]:
    """Return the rows from `start` up to `stop`, wrapping around so that none is missing."""
    index = np.arange(start, stop) % rows_of(arrays)
    return {name: array[index] for name, array in arrays.items()}
