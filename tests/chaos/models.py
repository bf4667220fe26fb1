"""The model of the chaos: two versions that say who answered, and fail when asked to.

Version `n` answers the sum of a row and a thousand times `n`. A row that begins with a million
times `n` makes it fail, and no other version: a candidate goes bad as soon as callers ask for it.
"""

from pathlib import Path
from typing import Any

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

from controlplane.cli import journey, samples
from controlplane.cli.client import Client

WIDTH = 4
APART = 1_000.0  # between the answers of two versions
POISON = 1_000_000.0
VERSIONS = (1, 2)
INPUT, OUTPUT = "x", "y"


def content(version: int) -> bytes:
    """Return the ONNX file of one version."""
    constants: dict[str, np.ndarray[Any, Any]] = {
        "axis": np.array([1], dtype=np.int64),
        "first": np.array([0], dtype=np.int64),
        "far": np.array(9, dtype=np.int64),  # past the end of `only`
        "poison": np.array(POISON * version, dtype=np.float32),
        "only": np.array([APART * version], dtype=np.float32),
    }
    node = helper.make_node
    nodes = [
        node("ReduceSum", [INPUT, "axis"], ["sum"], keepdims=1),
        node("Gather", [INPUT, "first"], ["head"], axis=1),
        node("Equal", ["head", "poison"], ["equal"]),
        node("Cast", ["equal"], ["poisoned"], to=TensorProto.INT64),
        node("Mul", ["poisoned", "far"], ["index"]),
        node("Gather", ["only", "index"], ["mine"], axis=0),
        node("Add", ["sum", "mine"], [OUTPUT]),
    ]
    tensor = helper.make_tensor_value_info
    graph = helper.make_graph(
        nodes,
        "chaos",
        [tensor(INPUT, TensorProto.FLOAT, [None, WIDTH])],
        [tensor(OUTPUT, TensorProto.FLOAT, [None, 1])],
        [numpy_helper.from_array(value, name) for name, value in constants.items()],
    )
    made = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)], ir_version=9)
    onnx.checker.check_model(made)
    return bytes(made.SerializeToString())


def register(client: Client, name: str, folder: Path) -> None:
    """Register both versions of a model, and build them."""
    for version in VERSIONS:
        file = folder / f"{name}-{version}.onnx"
        file.write_bytes(content(version))
        about = samples.Trained(file, np.zeros(0), np.zeros(0), {}, {}, "made up")
        made = journey.register(client, name, about, team="platform", risk_tier="low")
        journey.build(client, name, int(made["number"]))


def question(*, poisoned: int = 0) -> dict[str, object]:
    """Return the body of one request; `poisoned` names the version that shall fail."""
    row = [POISON * poisoned if poisoned else 1.0, 2.0, 3.0, 4.0]
    tensor = {"name": INPUT, "datatype": "FP32", "shape": [1, WIDTH], "data": row}
    return {"inputs": [tensor]}


def answered_by(answer: dict[str, object], *, poisoned: int = 0) -> int:
    """Return the version that gave an answer; 0 when the answer is not right for any."""
    outputs = answer["outputs"]
    assert isinstance(outputs, list)
    row = [POISON * poisoned if poisoned else 1.0, 2.0, 3.0, 4.0]
    version = (outputs[0]["data"][0] - sum(row)) / APART
    return round(version) if round(version) in VERSIONS and abs(version % 1) < 0.01 else 0
