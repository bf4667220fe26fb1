"""PyTorch's zip files: exported programs (`.pt2`), TorchScript, and plain checkpoints.

Exported programs describe their inputs in JSON; the others keep theirs in code that only
PyTorch can read, so a build fills them in.
"""

import json
from typing import Any, BinaryIO

from apps.registry.domain.inspect import archives
from apps.registry.domain.inspect.reading import broken
from apps.registry.domain.inspected import Inspected, Tensor
from apps.registry.domain.kinds import Format

WHAT = "a PyTorch file"
LARGEST_JSON = 64 * 1024**2
# torch/_export/serde/schema.py: ScalarType
DATATYPES = {
    1: "UINT8", 2: "INT8", 3: "INT16", 4: "INT32", 5: "INT64", 6: "FP16", 7: "FP32", 8: "FP64",
    12: "BOOL", 13: "BF16", 28: "UINT16",
}  # fmt: skip


def inspect(stream: BinaryIO, names: list[str]) -> Inspected | None:
    """Return what a zip file of PyTorch says, or None when it is none of PyTorch's.

    Args:
        stream: The zip file.
        names: The names in it.

    Raises:
        Unreadable: It is one, and broken.
    """
    inner = {name.partition("/")[2] for name in names}
    program = _exported(names)
    if program:
        return _exported_program(stream, program)
    if "constants.pkl" in inner and any(name.startswith("code/") for name in inner):
        facts = {"code_files": sum(name.endswith(".py") for name in inner)}
        return Inspected(Format.TORCHSCRIPT, framework="PyTorch", facts=facts)
    if "data.pkl" in inner and ("version" in inner or "byteorder" in inner):
        return Inspected(Format.PICKLE, framework="PyTorch", facts={"checkpoint": True})
    return None


def _exported(names: list[str]) -> str:
    for name in names:
        last = name.rpartition("/")[2]
        in_models = "/models/" in f"/{name}" and last.endswith(".json")
        if last == "serialized_exported_program.json" or in_models:
            return name
    return ""


def _exported_program(stream: BinaryIO, name: str) -> Inspected:
    text = archives.zip_read(stream, name, limit=LARGEST_JSON + 1)
    if len(text) > LARGEST_JSON:
        return Inspected(Format.TORCH_EXPORT, framework="PyTorch", facts={"partly_read": True})
    try:
        program = json.loads(text)
        module = program["graph_module"]
        inputs, outputs = _sides(module)
    except (ValueError, KeyError, TypeError, AttributeError, RecursionError) as error:
        raise broken("an exported PyTorch program", "its description cannot be read") from error
    version = program.get("torch_version")
    opsets = program.get("opset_version")
    facts: dict[str, Any] = {}
    if isinstance(opsets, dict):
        facts["opsets"] = {
            str(k)[:80]: v for k, v in opsets.items() if isinstance(v, int) and v < 1 << 31
        }
    return Inspected(
        Format.TORCH_EXPORT,
        framework=f"PyTorch {version if isinstance(version, str) else ''}".strip()[:80],
        inputs=inputs,
        outputs=outputs,
        facts=facts,
    )


def _sides(module: dict[str, Any]) -> tuple[list[Tensor], list[Tensor]]:
    values = module["graph"]["tensor_values"]
    signature = module["signature"]
    inputs = [_named(spec, "user_input") for spec in signature["input_specs"]]
    outputs = [_named(spec, "user_output") for spec in signature["output_specs"]]
    return (
        [_tensor(name, values[name]) for name in inputs if name in values],
        [_tensor(name, values[name]) for name in outputs if name in values],
    )


def _named(spec: dict[str, Any], kind: str) -> str:
    argument = (spec.get(kind) or {}).get("arg") or {}
    name = (argument.get("as_tensor") or {}).get("name")
    return name if isinstance(name, str) else ""


def _tensor(name: str, value: dict[str, Any]) -> Tensor:
    sizes = [size.get("as_int") for size in value["sizes"]]
    shape = [s if isinstance(s, int) and 0 <= s < 1 << 53 else -1 for s in sizes]
    return {"name": name[:250], "datatype": DATATYPES.get(value["dtype"], "FP32"), "shape": shape}
