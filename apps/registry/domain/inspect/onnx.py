"""ONNX: opset, inputs, outputs, operators and external data, without loading the weights.

Field numbers: https://github.com/onnx/onnx/blob/main/onnx/onnx.proto
"""

from collections import Counter
from dataclasses import dataclass, field
from typing import Any, BinaryIO

from apps.registry.domain.inspect import protobuf
from apps.registry.domain.inspect.protobuf import Field
from apps.registry.domain.inspect.reading import Reader, broken
from apps.registry.domain.inspected import Inspected, Tensor
from apps.registry.domain.kinds import Format

WHAT = "an ONNX model"
DATATYPES = {
    1: "FP32", 2: "UINT8", 3: "INT8", 4: "UINT16", 5: "INT16", 6: "INT32", 7: "INT64",
    8: "BYTES", 9: "BOOL", 10: "FP16", 11: "FP64", 12: "UINT32", 13: "UINT64", 16: "BF16",
}  # fmt: skip
DOMAINS = {"": "ai.onnx"}
MOST_EXTERNAL = 10_000


@dataclass
class _Graph:
    nodes: Counter[str] = field(default_factory=Counter)
    inputs: list[Tensor] = field(default_factory=list)
    outputs: list[Tensor] = field(default_factory=list)
    strange: list[str] = field(default_factory=list)  # inputs and outputs that are no tensors
    initializers: set[str] = field(default_factory=set)
    external: dict[str, int] = field(default_factory=dict)  # location -> bytes needed
    seen: bool = False


def inspect(stream: BinaryIO) -> Inspected:
    """Return what an ONNX model says about itself.

    Raises:
        Unreadable: It is not a whole ONNX model.
    """
    stream.seek(0)
    reader = Reader(stream, what=WHAT)
    opsets: dict[str, int] = {}
    texts: dict[int, str] = {}
    graph, ir_version = _Graph(), 0
    for part in protobuf.fields(reader, 0, reader.end):
        match part.number:
            case 1:
                ir_version = part.value
            case 2 | 3 | 4:
                texts[part.number] = protobuf.text(reader, part)
            case 7:
                _read_graph(reader, part, graph)
            case 8:
                domain, version = _opset(reader, part)
                opsets[domain] = version
    if not graph.seen or not opsets or not (graph.outputs or graph.strange):
        raise broken(WHAT, "it has no graph with an output, or names no opset")
    producer = f"{texts.get(2, '')} {texts.get(3, '')}".strip()
    return Inspected(
        format=Format.ONNX,
        framework=producer[:80] or "ONNX",
        inputs=[t for t in graph.inputs if t["name"] not in graph.initializers],
        outputs=graph.outputs,
        facts=_facts(graph, opsets, ir_version, producer),
    )


def _facts(
    graph: _Graph, opsets: dict[str, int], ir_version: int, producer: str
) -> dict[str, Any]:
    facts: dict[str, Any] = {
        "opset": opsets.get("ai.onnx", 0),
        "opsets": opsets,
        "ir_version": ir_version,
        "producer": producer,
        "nodes": sum(graph.nodes.values()),
        "operators": dict(graph.nodes.most_common(30)),
    }
    if graph.strange:
        facts["not_tensors"] = graph.strange
    if graph.external:
        facts["external_data"] = graph.external
    return facts


def _read_graph(reader: Reader, part: Field, graph: _Graph) -> None:
    graph.seen = True
    for inner in protobuf.inner(reader, part):
        match inner.number:
            case 1:
                graph.nodes[_operator(reader, inner)] += 1
            case 5:
                _initializer(reader, inner, graph)
            case 11 | 12:
                name, tensor = _value_info(reader, inner)
                if tensor is None:
                    graph.strange.append(name)
                else:
                    (graph.inputs if inner.number == 11 else graph.outputs).append(tensor)


def _operator(reader: Reader, node: Field) -> str:
    for part in protobuf.inner(reader, node):
        if part.number == 4:
            return protobuf.text(reader, part)[:80]
    return ""


def _initializer(reader: Reader, tensor: Field, graph: _Graph) -> None:
    places: dict[str, str] = {}
    for part in protobuf.inner(reader, tensor):
        if part.number == 8:
            graph.initializers.add(protobuf.text(reader, part)[:500])
        elif part.number == 13:
            key, value = _pair(reader, part)
            places[key] = value
    if "location" in places and len(graph.external) < MOST_EXTERNAL:
        reach = _number(places.get("offset")) + _number(places.get("length"))
        known = graph.external.get(places["location"], 0)
        graph.external[places["location"]] = max(known, reach)


def _pair(reader: Reader, entry: Field) -> tuple[str, str]:
    found = {p.number: protobuf.text(reader, p) for p in protobuf.inner(reader, entry)}
    return found.get(1, ""), found.get(2, "")


def _number(text: str | None) -> int:
    return int(text) if text and text.isascii() and text.isdigit() and len(text) < 19 else 0


def _opset(reader: Reader, part: Field) -> tuple[str, int]:
    domain, version = "", 0
    for inner in protobuf.inner(reader, part):
        if inner.number == 1:
            domain = protobuf.text(reader, inner)
        elif inner.number == 2:
            version = inner.value
    return DOMAINS.get(domain, domain)[:80], version


def _value_info(reader: Reader, part: Field) -> tuple[str, Tensor | None]:
    name, tensor = "", None
    for inner in protobuf.inner(reader, part):
        if inner.number == 1:
            name = protobuf.text(reader, inner)[:250]
        elif inner.number == 2:
            tensor = _tensor_type(reader, inner)
    if tensor is None:
        return name, None
    datatype, shape = tensor
    return name, {"name": name, "datatype": datatype, "shape": shape}


def _tensor_type(reader: Reader, kind: Field) -> tuple[str, list[int]] | None:
    for part in protobuf.inner(reader, kind):
        if part.number != 1:  # a sequence, a map, an optional or a sparse tensor
            continue
        element, shape = 0, [-1]
        for inner in protobuf.inner(reader, part):
            if inner.number == 1:
                element = inner.value
            elif inner.number == 2:
                shape = [_dimension(reader, d) for d in protobuf.inner(reader, inner)]
        if element in DATATYPES:
            return DATATYPES[element], shape
    return None


def _dimension(reader: Reader, dimension: Field) -> int:
    for part in protobuf.inner(reader, dimension):
        if part.number == 1 and part.length < 0:
            size = protobuf.signed(part.value)
            return size if size > 0 else -1
    return -1
