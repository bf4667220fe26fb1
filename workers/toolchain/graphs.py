"""ONNX graphs as values: the same model written by the same libraries gives the same bytes."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import onnx.numpy_helper

GRAPH_NAME = "model"
LARGEST_IN_ONE_FILE = 2 * 1024**3 - 1  # protobuf's limit


def save(model: Any, path: Path) -> None:
    """Write `model` without what differs from run to run.

    Converters put random names, stack traces and paths of the machine into graphs; none of
    these means anything to a runtime.
    """
    settle(model)
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(model.SerializeToString(deterministic=True))


def settle(model: Any) -> None:
    """Remove what differs from run to run, in place."""
    model.doc_string = ""
    model.graph.name = GRAPH_NAME
    for graph in graphs(model.graph):
        graph.doc_string = ""
        for holder in (graph.node, graph.initializer, graph.input, graph.output, graph.value_info):
            for item in holder:
                item.doc_string = ""
                item.ClearField("metadata_props")
    for function in model.functions:
        function.doc_string = ""
        for node in function.node:
            node.doc_string = ""
            node.ClearField("metadata_props")
    model.ClearField("metadata_props")


def graphs(graph: Any) -> Iterator[Any]:
    """Yield a graph and every graph inside it."""
    yield graph
    for node in graph.node:
        for attribute in node.attribute:
            if attribute.HasField("g"):
                yield from graphs(attribute.g)
            for inner in attribute.graphs:
                yield from graphs(inner)


def weights_not_finite(path: Path) -> int:
    """Return how many numbers among an ONNX file's weights are NaN or infinite."""
    count = 0
    for graph in graphs(load(path).graph):
        for weight in graph.initializer:
            values = onnx.numpy_helper.to_array(weight, base_dir=str(path.parent))
            if values.dtype.kind == "f":
                count += int((~np.isfinite(values)).sum())
    return count


def operators(model: Any) -> set[str]:
    """Return the operators that a model uses."""
    return {node.op_type for graph in graphs(model.graph) for node in graph.node}


def opset(model: Any) -> int:
    """Return the version of ONNX's own operator set that a model needs."""
    return max((e.version for e in model.opset_import if e.domain in ("", "ai.onnx")), default=0)


def rename(model: Any, names: dict[str, str]) -> None:
    """Rename inputs and outputs, in place, wherever they are mentioned."""
    taken = {value for node in model.graph.node for value in [*node.input, *node.output]}
    names = {old: new for old, new in names.items() if old != new and new not in taken}
    for graph in graphs(model.graph):
        for holder in (graph.input, graph.output, graph.value_info, graph.initializer):
            for item in holder:
                item.name = names.get(item.name, item.name)
        for node in graph.node:
            for place in (node.input, node.output):
                for index, value in enumerate(place):
                    place[index] = names.get(value, value)


def load(path: Path) -> Any:
    """Return the model at `path`."""
    return onnx.load(str(path))
