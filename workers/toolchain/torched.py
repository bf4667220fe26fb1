"""PyTorch models: exported programs, TorchScript, and what MLflow's pytorch flavor saves.

torch is an optional extra; without it these builds fail with a sentence that says so.
"""

import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from workers.toolchain.model import Native
from workers.toolchain.problems import BuildFailed
from workers.toolchain.tensors import NUMPY_OF, Arrays, Signature, tensor

torch.set_num_threads(1)
DATATYPES = {
    torch.float32: "FP32", torch.float64: "FP64", torch.float16: "FP16", torch.int64: "INT64",
    torch.int32: "INT32", torch.int16: "INT16", torch.int8: "INT8", torch.uint8: "UINT8",
    torch.bool: "BOOL",
}  # fmt: skip
TRACED_ROWS = 2  # a batch of one would be taken for a constant


def of_exported(path: Path, given: Signature) -> Native:
    """Return the adapter for a `torch.export` program."""
    program = torch.export.load(str(path))
    found = _program_inputs(program)
    names = [g["name"] for g in given] if len(given) == len(found) else []
    inputs = [{**i, "name": n} for i, n in zip(found, names, strict=True)] if names else found
    return _native(program.module(), program, inputs, path)


def of_script(path: Path, given: Signature) -> Native:
    """Return the adapter for a TorchScript file, whose inputs only its signature tells."""
    if not given:
        raise BuildFailed(
            "build.no_signature",
            "A TorchScript file does not say what shape its inputs have.",
            "Register the version with its input signature, or use torch.export.save.",
        )
    module = torch.jit.load(str(path), map_location="cpu").eval()
    return _native(module, module, given, path)


def of_mlflow(folder: Path, given: Signature) -> Native:
    """Return the adapter for MLflow's pytorch flavor, whose module is pickled whole."""
    if not given:
        raise BuildFailed(
            "build.no_signature",
            "The MLflow model has no signature, so nothing is known of its inputs.",
            "Log it with signature=mlflow.models.infer_signature(...).",
        )
    path = next(iter(sorted(folder.glob("model.pt*"))), folder)
    if path.suffix == ".pt2":
        return of_exported(path, given)
    module = torch.load(str(path), map_location="cpu", weights_only=False).eval()
    return _native(module, module, given, path)


def _program_inputs(program: Any) -> Signature:
    wanted = set(program.graph_signature.user_inputs)
    return [
        tensor(
            node.name,
            DATATYPES.get(node.meta["val"].dtype, "FP32"),
            [size if isinstance(size, int) else -1 for size in node.meta["val"].shape],
        )
        for node in program.graph.nodes
        if node.op == "placeholder" and node.name in wanted
    ]


def _native(module: Any, source: Any, inputs: Signature, path: Path) -> Native:
    return Native(
        raw=source,
        flavor="torch",
        inputs=inputs,
        answer=lambda arrays: _answer(module, arrays, inputs),
        libraries=("torch", "numpy"),
        path=path,
        facts={"estimator": type(source).__name__},
    )


def _answer(module: Any, arrays: Arrays, inputs: Signature) -> dict[str, NDArray[Any]]:
    fixed = next((i["shape"][0] for i in inputs if i["shape"] and i["shape"][0] > 0), 0)
    rows = len(next(iter(arrays.values())))
    if not fixed or fixed == rows:
        return _once(module, arrays, inputs)
    pieces = [
        _once(module, {name: array[at : at + fixed] for name, array in arrays.items()}, inputs)
        for at in range(0, rows // fixed * fixed, fixed)
    ]
    return {name: np.concatenate([piece[name] for piece in pieces]) for name in pieces[0]}


def _once(module: Any, arrays: Arrays, inputs: Signature) -> dict[str, NDArray[Any]]:
    given = [
        torch.from_numpy(np.ascontiguousarray(arrays[i["name"]], NUMPY_OF[i["datatype"]]))
        for i in inputs
    ]
    with torch.no_grad():
        parts = _parts(module(*given))
    return dict(zip(_names(len(parts)), [part.numpy() for part in parts], strict=True))


def _parts(answer: Any) -> list[Any]:
    if isinstance(answer, dict):
        return list(answer.values())
    return list(answer) if isinstance(answer, list | tuple) else [answer]


def _names(count: int) -> list[str]:
    return ["output"] if count == 1 else [f"output_{n}" for n in range(count)]


def convert(native: Native, opset: int) -> tuple[Any, str]:
    """Return the model as ONNX, and what wrote it."""
    names = [entry["name"] for entry in native.inputs]
    example = tuple(_example(entry) for entry in native.inputs)
    with torch.no_grad():
        outputs = _names(len(_parts(_callable(native.raw)(*example))))
    if isinstance(native.raw, torch.jit.ScriptModule):
        return _by_tracing(native, example, names, outputs, opset), f"torch {torch.__version__}"
    program = native.raw
    if isinstance(program, torch.nn.Module):
        program = _export(program, example, native.inputs)
    written = torch.onnx.export(
        program, dynamo=True, opset_version=opset, input_names=names, output_names=outputs,
        verbose=False,
    )  # fmt: skip
    if written is None:
        raise RuntimeError("torch.onnx wrote nothing")
    return written.model_proto, f"torch {torch.__version__}"


def _callable(source: Any) -> Any:
    return source.module() if isinstance(source, torch.export.ExportedProgram) else source


def _example(entry: dict[str, Any]) -> Any:
    shape = [size if size > 0 else TRACED_ROWS for size in entry["shape"]]
    return torch.from_numpy(np.zeros(shape, NUMPY_OF[entry["datatype"]]))


def _export(module: Any, example: Sequence[Any], inputs: Signature) -> Any:
    batch = torch.export.Dim("batch")
    shapes = tuple({0: batch} if i["shape"][0] < 0 else None for i in inputs)
    return torch.export.export(module, tuple(example), dynamic_shapes=shapes)


def _by_tracing(
    native: Native, example: Sequence[Any], names: list[str], outputs: list[str], opset: int
) -> Any:
    """Write a TorchScript module by torch's older exporter; the newer one does not read them."""
    import onnx

    target = Path(tempfile.mkdtemp()) / "traced.onnx"
    free = {i["name"]: {0: "batch"} for i in native.inputs if i["shape"][0] < 0}
    torch.onnx.export(
        native.raw, tuple(example), str(target), dynamo=False,
        opset_version=min(opset, 17), input_names=names, output_names=outputs,
        dynamic_axes={**free, **({name: {0: "batch"} for name in outputs} if free else {})},
    )  # fmt: skip
    return onnx.load(str(target))
