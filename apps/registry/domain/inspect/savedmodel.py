"""TensorFlow's SavedModel: tags and the serving signature, from `saved_model.pb`.

https://github.com/tensorflow/tensorflow/blob/master/tensorflow/core/protobuf/meta_graph.proto
"""

from typing import Any, BinaryIO

from apps.registry.domain.inspect import protobuf
from apps.registry.domain.inspect.protobuf import Field
from apps.registry.domain.inspect.reading import Reader, broken
from apps.registry.domain.inspected import Inspected, Tensor
from apps.registry.domain.kinds import Format

WHAT = "a TensorFlow SavedModel"
DATATYPES = {
    1: "FP32", 2: "FP64", 3: "INT32", 4: "UINT8", 5: "INT16", 6: "INT8", 7: "BYTES", 9: "INT64",
    10: "BOOL", 14: "BF16", 17: "UINT16", 19: "FP16", 22: "UINT32", 23: "UINT64",
}  # fmt: skip
SERVING = "serving_default"
Signature = tuple[list[Tensor], list[Tensor]]


def inspect(stream: BinaryIO) -> Inspected:
    """Return what `saved_model.pb` says.

    Raises:
        Unreadable: It is not a SavedModel.
    """
    stream.seek(0)
    reader = Reader(stream, what=WHAT)
    facts: dict[str, Any] = {}
    signatures: dict[str, Signature] = {}
    graphs = 0
    for part in protobuf.fields(reader, 0, reader.end):
        if part.number == 2:
            graphs += 1
            _meta_graph(reader, part, facts, signatures)
    if not graphs:
        raise broken(WHAT, "it holds no graph")
    inputs, outputs = signatures.get(SERVING, ([], []))
    facts["signatures"] = sorted(signatures)
    version = facts.get("tensorflow_version", "")
    return Inspected(
        format=Format.SAVEDMODEL,
        framework=f"TensorFlow {version}".strip()[:80],
        inputs=inputs,
        outputs=outputs,
        facts=facts,
    )


def _meta_graph(
    reader: Reader, graph: Field, facts: dict[str, Any], signatures: dict[str, Signature]
) -> None:
    for part in protobuf.inner(reader, graph):
        if part.number == 1:
            for info in protobuf.inner(reader, part):
                if info.number == 4:
                    facts.setdefault("tags", []).append(protobuf.text(reader, info)[:80])
                elif info.number == 5:
                    facts["tensorflow_version"] = protobuf.text(reader, info)[:40]
        elif part.number == 5 and len(signatures) < 100:
            name, value = _entry(reader, part)
            if value is not None:
                signatures[name] = _signature(reader, value)


def _entry(reader: Reader, entry: Field) -> tuple[str, Field | None]:
    name, value = "", None
    for part in protobuf.inner(reader, entry):
        if part.number == 1:
            name = protobuf.text(reader, part)[:250]
        elif part.number == 2:
            value = part
    return name, value


def _signature(reader: Reader, signature: Field) -> Signature:
    found: Signature = ([], [])
    for part in protobuf.inner(reader, signature):
        if part.number in (1, 2):
            name, info = _entry(reader, part)
            tensor = _tensor(reader, name, info) if info is not None else None
            if tensor is not None:
                found[part.number - 1].append(tensor)
    return found


def _tensor(reader: Reader, name: str, info: Field) -> Tensor | None:
    datatype, shape = 0, [-1]
    for part in protobuf.inner(reader, info):
        if part.number == 2:
            datatype = part.value
        elif part.number == 3:
            shape = [
                _dimension(reader, dim) for dim in protobuf.inner(reader, part) if dim.number == 2
            ]
    if datatype not in DATATYPES:
        return None
    return {"name": name, "datatype": DATATYPES[datatype], "shape": shape}


def _dimension(reader: Reader, dimension: Field) -> int:
    for part in protobuf.inner(reader, dimension):
        if part.number == 1:
            return max(-1, protobuf.signed(part.value))
    return 0
