"""The first requests of a model, made by us, and what they teach about it."""

import json
import sys
from pathlib import Path
from typing import Any

import numpy as np

from workers.runtimes.oip import protocol
from workers.runtimes.oip.batching import Arrays
from workers.runtimes.oip.model import Model


def run(model: Model, golden: list[Arrays]) -> bool:
    """Run the model on one row and on two, and return whether rows may be joined with others'.

    A model that does not answer these inputs is still served: they may mean nothing to it.
    """
    try:
        return all(_answers_by_row(model, golden, rows) for rows in (1, 2))
    except Exception as error:
        print(f"The warm-up was not answered: {type(error).__name__}: {error}", file=sys.stderr)
        return False


def golden_inputs(folder: Path, config: dict[str, Any], model: Model) -> list[Arrays]:
    """Return the inputs of the bundle's golden cases, where they can be read."""
    if not config.get("golden"):
        return []
    try:
        cases = json.loads((folder / config["golden"]).read_bytes())["cases"]
        bodies = [json.dumps({"inputs": case["inputs"]}).encode() for case in cases]
        return [
            protocol.read_request(body, inputs=model.inputs, outputs=model.outputs).inputs
            for body in bodies
        ]
    except (OSError, KeyError, TypeError, ValueError, protocol.Refused) as error:
        print(f"The golden cases are not usable for a warm-up: {error}", file=sys.stderr)
        return []


def zeros(model: Model, rows: int) -> Arrays:
    """Return inputs of `rows` rows that mean nothing and have the right types."""
    made = {}
    for spec in model.inputs:
        shape = [1 if size < 0 else size for size in spec.shape]
        if _has_rows(spec):
            shape[0] = rows
        filling = "" if spec.datatype == "BYTES" else 0
        made[spec.name] = np.full(shape, filling, dtype=protocol.DATATYPES[spec.datatype])
    return made


def _answers_by_row(model: Model, golden: list[Arrays], rows: int) -> bool:
    by_row = all(_has_rows(spec) for spec in model.inputs)
    inputs = zeros(model, rows)
    if golden and by_row:
        inputs = {name: np.repeat(array[:1], rows, axis=0) for name, array in golden[0].items()}
    outputs = model.run(inputs)
    return by_row and all(array.shape[:1] == (rows,) for array in outputs.values())


def _has_rows(spec: protocol.TensorSpec) -> bool:
    return bool(spec.shape) and spec.shape[0] < 0
