from types import SimpleNamespace

import numpy as np
import onnx
import pytest
from skl2onnx import to_onnx
from sklearn.neural_network import MLPClassifier

from workers.toolchain import optimise

ROWS = np.random.default_rng(7).standard_normal((256, 64)).astype(np.float32)


@pytest.fixture(scope="module")
def network(tmp_path_factory):
    """A network whose bias the quantiser's correction cannot handle a channel at a time."""
    model = MLPClassifier((64, 32), max_iter=5, random_state=7)
    with pytest.warns(Warning, match="converge"):
        model.fit(ROWS, np.arange(256) % 10)
    path = tmp_path_factory.mktemp("network") / "model.onnx"
    onnx.save(to_onnx(model, ROWS[:1], options={"zipmap": False}, target_opset=18), path)
    return path


def test_static_quantisation_falls_back_to_one_scale_a_tensor(network, tmp_path, capsys):
    name = onnx.load(network).graph.input[0].name
    samples = SimpleNamespace(arrays={name: ROWS}, source="drawn")
    said = optimise.int8_static(network, tmp_path / "int8.onnx", samples)
    assert "one scale a tensor" in capsys.readouterr().out
    assert "Calibrated on drawn inputs" in said
    made = onnx.load(tmp_path / "int8.onnx")
    assert "DequantizeLinear" in {node.op_type for node in made.graph.node}
