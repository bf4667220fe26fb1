"""Asking a served model, by the Open Inference Protocol (version 2).

https://github.com/kserve/open-inference-protocol
"""

from typing import Any

import httpx
import numpy as np

Array = np.ndarray[Any, Any]
DTYPES = {"FP32": np.float32, "FP64": np.float64, "INT64": np.int64, "INT32": np.int32}


def request_for(inputs: list[dict[str, Any]], rows: Array) -> dict[str, Any]:
    """Return the body that asks for predictions for `rows`.

    Args:
        inputs: The version's signature: one input of shape (-1, features), or one per feature.
        rows: Shape (rows, features).
    """
    if len(inputs) == 1:
        return {"inputs": [_tensor(inputs[0], rows)]}
    columns = zip(inputs, rows.T, strict=True)
    return {"inputs": [_tensor(named, column.reshape(-1, 1)) for named, column in columns]}


def _tensor(named: dict[str, Any], values: Array) -> dict[str, Any]:
    datatype = named["datatype"] if named["datatype"] in DTYPES else "FP32"
    return {
        "name": named["name"],
        "datatype": datatype,
        "shape": list(values.shape),
        "data": values.astype(DTYPES[datatype]).ravel().tolist(),
    }


def probabilities(answer: dict[str, Any], classes: int) -> Array:
    """Return the output that holds one probability per class.

    Returns:
        Float64 of shape (rows, classes).

    Raises:
        ValueError: No output has that shape.
    """
    for output in answer["outputs"]:
        shape = output["shape"]
        if len(shape) == 2 and shape[1] == classes and output["datatype"].startswith("FP"):
            return np.asarray(output["data"], dtype=np.float64).reshape(shape)
    shapes = {o["name"]: o["shape"] for o in answer["outputs"]}
    raise ValueError(f"No output has {classes} probabilities a row; there are {shapes}.")


def predict(
    http: httpx.Client, address: str, inputs: list[dict[str, Any]], rows: Array
) -> dict[str, Any]:
    """Ask the endpoint at `address` for predictions for `rows`.

    Raises:
        httpx.HTTPStatusError: The endpoint refused.
    """
    answer = http.post(address, json=request_for(inputs, rows))
    answer.raise_for_status()
    return dict(answer.json())
