"""Triton's Python backend that runs ONNX Runtime. Runs inside Triton's own environment."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import triton_python_backend_utils as triton

from workers.runtimes.oip.batching import Arrays, answer_all
from workers.runtimes.oip.problem import BAD_MODEL, Problem
from workers.runtimes.oip.protocol import Array, TensorSpec
from workers.runtimes.onnx.session import OnnxModel


class TritonPythonModel:
    """The class that Triton looks for by this name."""

    def initialize(self, args: dict[str, str]) -> None:
        """Load the model that the configuration names; Triton is not ready before this returns."""
        config = json.loads(args["model_config"])
        told = {name: value["string_value"] for name, value in config["parameters"].items()}
        try:
            self._model = OnnxModel(told["model"], threads=int(told["threads"]))
            for listed, specs in (("input", self._model.inputs), ("output", self._model.outputs)):
                _compare({entry["name"] for entry in config[listed]}, specs)
        except Exception as error:
            _not_loaded(error).leave(Path(told["problem"]))
            raise
        self._joinable = config.get("max_batch_size", 0) > 0

    def execute(self, requests: list[Any]) -> list[Any]:
        """Answer all of `requests`, in one run of the model where their rows may be joined."""
        batch = [self._inputs(request) for request in requests]
        if self._joinable and len({_kind(inputs) for inputs in batch}) == 1:
            answers = answer_all(self._model.run, batch)
        else:
            answers = [answer_all(self._model.run, [inputs])[0] for inputs in batch]
        return [
            self._response(request, answer)
            for request, answer in zip(requests, answers, strict=True)
        ]

    def _inputs(self, request: Any) -> Arrays:
        return {
            spec.name: _from_triton(triton.get_input_tensor_by_name(request, spec.name), spec)
            for spec in self._model.inputs
        }

    def _response(self, request: Any, answer: Arrays | Exception) -> Any:
        if isinstance(answer, Exception):
            return triton.InferenceResponse(error=triton.TritonError(str(answer)))
        wanted = request.requested_output_names()
        return triton.InferenceResponse(
            [triton.Tensor(name, _to_triton(answer[name])) for name in wanted]
        )


def _kind(inputs: Arrays) -> tuple[tuple[int, ...], ...]:
    return tuple(array.shape[1:] for array in inputs.values())


def _from_triton(tensor: Any, spec: TensorSpec) -> Array:
    array: Array = tensor.as_numpy()
    if spec.datatype == "BYTES":
        texts = [element.decode() for element in array.reshape(-1).tolist()]
        return np.array(texts, dtype=np.object_).reshape(array.shape)
    return array


def _to_triton(array: Array) -> Array:
    if array.dtype == np.object_:
        elements = [str(element).encode() for element in array.reshape(-1).tolist()]
        return np.array(elements, dtype=np.object_).reshape(array.shape)
    return np.ascontiguousarray(array)


def _compare(listed: set[str], specs: tuple[TensorSpec, ...]) -> None:
    if listed != {spec.name for spec in specs}:
        raise ValueError(f"the configuration lists {listed}, and the model has {specs}")


def _not_loaded(error: Exception) -> Problem:
    return Problem(
        "The model could not be loaded.",
        code="server.model_not_loaded",
        remedy="Read the server's own words; then serve the variant with another runtime.",
        words=f"{type(error).__name__}: {error}",
        status=BAD_MODEL,
    )
