"""Triton's model repository for one bundle: a configuration and a backend of two lines.

`configuration` is pure. The format is protobuf text:
https://github.com/triton-inference-server/server/blob/main/docs/user_guide/model_configuration.md
"""

import json
import shutil
from collections.abc import Mapping, Sequence
from pathlib import Path

from workers.runtimes.oip.protocol import TensorSpec

TYPES = {
    "BOOL": "TYPE_BOOL", "BYTES": "TYPE_STRING",
    "UINT8": "TYPE_UINT8", "UINT16": "TYPE_UINT16", "UINT32": "TYPE_UINT32",
    "UINT64": "TYPE_UINT64", "INT8": "TYPE_INT8", "INT16": "TYPE_INT16", "INT32": "TYPE_INT32",
    "INT64": "TYPE_INT64", "FP16": "TYPE_FP16", "FP32": "TYPE_FP32", "FP64": "TYPE_FP64",
}  # fmt: skip

BACKEND = '''"""What runs the model is in `workers.runtimes.triton.backend`."""

import os
import sys

# Triton embeds an isolated Python, which takes no PYTHONPATH by itself.
sys.path[:0] = [path for path in os.environ.get("PYTHONPATH", "").split(os.pathsep) if path]

from workers.runtimes.triton.backend import TritonPythonModel

__all__ = ["TritonPythonModel"]
'''


def write(folder: Path, *, name: str, revision: int, config: str) -> None:
    """Make `folder` a repository with one model of one version, replacing what was there."""
    shutil.rmtree(folder, ignore_errors=True)
    version = folder / name / str(revision)
    version.mkdir(parents=True)
    (version / "model.py").write_text(BACKEND)
    (folder / name / "config.pbtxt").write_text(config)


def configuration(
    *,
    name: str,
    revision: int,
    inputs: Sequence[TensorSpec],
    outputs: Sequence[TensorSpec],
    max_batch: int,
    max_queue: int,
    parameters: Mapping[str, str],
) -> str:
    """Return the model's `config.pbtxt`.

    Args:
        name: The model's.
        revision: The only version that is served.
        inputs: What it takes.
        outputs: What it gives.
        max_batch: Rows that Triton may put together; 0 when rows must not be joined.
        max_queue: Requests that may wait.
        parameters: Told to the backend, and shown to whoever asks for the configuration.
    """
    lines = [
        f"name: {_quoted(name)}",
        'backend: "python"',
        f"max_batch_size: {max_batch}",
        f"version_policy {{ specific {{ versions: [{revision}] }} }}",
        "instance_group [ { kind: KIND_CPU count: 1 } ]",
        *(_tensor("input", spec, batched=max_batch > 0) for spec in inputs),
        *(_tensor("output", spec, batched=max_batch > 0) for spec in outputs),
        *(_parameter(key, value) for key, value in sorted(parameters.items())),
    ]
    if max_batch > 0:
        lines.append(
            "dynamic_batching { max_queue_delay_microseconds: 0 "
            f"default_queue_policy {{ max_queue_size: {max_queue} }} }}"
        )
    return "\n".join(lines) + "\n"


def batchable(inputs: Sequence[TensorSpec]) -> bool:
    """Return whether Triton can describe these inputs apart from their rows.

    It wants at least one more axis; where there is none, requests are not put together.
    """
    return all(len(spec.shape) > 1 for spec in inputs)


def _tensor(kind: str, spec: TensorSpec, *, batched: bool) -> str:
    # An output of rows alone is announced with one more axis, which Triton insists on. It
    # does not check what the backend gives, so callers get the model's own shape.
    sizes = (spec.shape[1:] or (1,)) if batched else spec.shape
    dims = ", ".join(str(size) for size in sizes)
    name, datatype = _quoted(spec.name), TYPES[spec.datatype]
    return f"{kind} [ {{ name: {name} data_type: {datatype} dims: [{dims}] }} ]"


def _parameter(key: str, value: str) -> str:
    return f"parameters {{ key: {_quoted(key)} value {{ string_value: {_quoted(value)} }} }}"


def _quoted(text: str) -> str:
    # JSON's escapes are a subset of C's, which protobuf text reads; UTF-8 stays as it is.
    return json.dumps(text, ensure_ascii=False)
