"""Step 4: faster forms of the ONNX model, each only where it applies.

Measured: whole-graph optimisation changes the time to load more than the speed; dynamic INT8 helps
models made of MatMul; static INT8 helps convolutions; trees have nothing to quantise.
"""

import shutil
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from apps.builds.domain.variants import VariantKind
from workers.toolchain import graphs, ort
from workers.toolchain.problems import Skip
from workers.toolchain.report import say, why
from workers.toolchain.samples import Samples
from workers.toolchain.tensors import rows_of, typed

QUANTISABLE = {"MatMul", "Gemm", "Conv", "ConvTranspose", "Attention", "LSTM", "Gather"}
CALIBRATION_ROWS = 200
CALIBRATION_BATCH = 10


def optimised(source: Path, target: Path, samples: Samples) -> str:
    """Write `source` with constants folded and operators fused; return one line on it.

    Raises:
        Skip: There was nothing to improve.
    """
    import onnxruntime

    slimmed = target.with_name("slim.onnx")
    before = graphs.load(source)
    _slim(source, slimmed)
    options = onnxruntime.SessionOptions()
    # Fusions beyond "extended" depend on this machine's processor.
    options.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_ENABLE_EXTENDED
    options.optimized_model_filepath = str(target)
    options.log_severity_level = 4
    onnxruntime.InferenceSession(str(slimmed), options, providers=["CPUExecutionProvider"])
    after = graphs.load(target)
    graphs.save(after, target)
    slimmed.unlink()
    if _nodes(after) == _nodes(before):
        raise Skip("ONNX Runtime and onnxslim found nothing to fold or to fuse in this graph.")
    return f"{len(before.graph.node)} operators became {len(after.graph.node)}."


def _slim(source: Path, target: Path) -> None:
    """Fold constants with onnxslim; ONNX Runtime goes on from the model as it was if it cannot."""
    import onnxslim

    try:
        graphs.save(onnxslim.slim(graphs.load(source)), target)
    except Exception as refused:
        say(f"   (onnxslim left the graph as it is: {why(refused)})")
        shutil.copyfile(source, target)


def _nodes(model: Any) -> list[str]:
    return sorted(node.op_type for graph in graphs.graphs(model.graph) for node in graph.node)


def int8_dynamic(source: Path, target: Path, samples: Samples) -> str:
    """Write `source` with INT8 weights; activations are quantised as they come.

    Raises:
        Skip: It has nothing to quantise.
    """
    prepared = _prepare(source, target)
    import onnx
    from onnxruntime.quantization import QuantType, quantize_dynamic

    quantize_dynamic(
        str(prepared),
        str(target),
        weight_type=QuantType.QInt8,
        # Behind the operators of ai.onnx.ml no shape is known; what they give is float32.
        extra_options={"DefaultTensorType": onnx.TensorProto.FLOAT},
    )
    return _quantised(source, target)


def int8_static(source: Path, target: Path, samples: Samples) -> str:
    """Write `source` with INT8 weights and activations, calibrated on the samples.

    Raises:
        Skip: It has nothing to quantise.
    """
    prepared = _prepare(source, target)
    try:
        _quantise_statically(prepared, target, _Calibration(source, samples), per_channel=True)
    except ValueError as refused:  # its bias correction fails on some dense layers
        say(f"   (one scale a tensor, not one a channel: {why(refused)})")
        _quantise_statically(prepared, target, _Calibration(source, samples), per_channel=False)
    return f"{_quantised(source, target)} Calibrated on {samples.source} inputs."


def _quantise_statically(
    prepared: Path, target: Path, calibration: "_Calibration", *, per_channel: bool
) -> None:
    from onnxruntime.quantization import QuantFormat, QuantType, quantize_static

    quantize_static(
        str(prepared),
        str(target),
        calibration,
        quant_format=QuantFormat.QDQ,
        activation_type=QuantType.QInt8,
        weight_type=QuantType.QInt8,
        per_channel=per_channel,
    )


def _prepare(source: Path, target: Path) -> Path:
    """Return the model as the quantiser wants it: shapes inferred, constants folded."""
    model = graphs.load(source)
    used = graphs.operators(model)
    if not used & QUANTISABLE:
        raise Skip(
            f"Nothing to quantise: the graph is made of {', '.join(sorted(used)[:6])}, and INT8 "
            "applies to MatMul, Gemm and Conv."
        )
    from onnxruntime.quantization.shape_inference import quant_pre_process

    # Exporters leave shapes that the quantiser's own inference contradicts.
    model.graph.ClearField("value_info")
    plain, prepared = target.with_name("plain.onnx"), target.with_name("prepared.onnx")
    graphs.save(model, plain)
    try:
        quant_pre_process(str(plain), str(prepared), skip_symbolic_shape=True)
    except Exception as refused:  # a courtesy: what it cannot prepare may still quantise
        say(f"   (not prepared for quantisation: {why(refused)})")
        shutil.copyfile(plain, prepared)
    return prepared


def _quantised(source: Path, target: Path) -> str:
    model = graphs.load(target)
    graphs.save(model, target)
    if _nodes(model) == _nodes(graphs.load(source)):
        raise Skip("The quantiser found no weights that it could turn into INT8.")
    share = target.stat().st_size / max(source.stat().st_size, 1)
    if share >= 1:
        raise Skip("INT8 would make this small model larger, so there is nothing to gain.")
    return f"{share:.0%} of the size."


class _Calibration:
    """Feeds the samples to the calibrator, a few rows at a time."""

    def __init__(self, source: Path, samples: Samples) -> None:
        session = ort.session(source, optimise=False)
        self.inputs = ort.inputs_of(session)
        self.batches = self._cut(samples)

    def get_next(self) -> dict[str, NDArray[Any]] | None:
        """Return the next batch, or None after the last."""
        return next(self.batches, None)

    def _cut(self, samples: Samples) -> Iterator[dict[str, NDArray[Any]]]:
        fixed = max((i["shape"][0] for i in self.inputs if i["shape"]), default=-1)
        size = fixed if fixed > 0 else CALIBRATION_BATCH
        rows = min(rows_of(samples.arrays), CALIBRATION_ROWS) // size * size
        for start in range(0, rows, size):
            yield {
                i["name"]: np.ascontiguousarray(
                    typed(samples.arrays[i["name"]][start : start + size], i["datatype"])
                )
                for i in self.inputs
            }


MAKERS: dict[VariantKind, Callable[[Path, Path, Samples], str]] = {
    VariantKind.ONNX_OPTIMISED: optimised,
    VariantKind.ONNX_INT8_DYNAMIC: int8_dynamic,
    VariantKind.ONNX_INT8_STATIC: int8_static,
}
