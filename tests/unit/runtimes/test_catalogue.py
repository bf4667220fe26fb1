"""The runtime catalogue, launch plans, and Triton's configuration: values in, values out."""

from pathlib import Path
from typing import Any

import pytest

from apps.endpoints.domain import runtimes
from controlplane.drivers.local import launch
from controlplane.kernel.errors import Invalid
from workers.runtimes.oip import options
from workers.runtimes.oip.protocol import TensorSpec
from workers.runtimes.pyfunc.environment import MLFLOW
from workers.runtimes.triton import repository


def planned(runtime: str, **more: Any) -> launch.LaunchPlan:
    usual: dict[str, Any] = {
        "bundle": Path("/home/servers/7"),
        "name": "churn",
        "revision": 4,
        "digest": "sha256:ab",
        "port": 9001,
        "home": Path("/home"),
    }
    return launch.plan(runtime, **(usual | more))


def test_the_default_for_onnx_is_onnx_runtime() -> None:
    assert [r.name for r in runtimes.serving("onnx")] == ["onnxruntime", "triton"]
    assert runtimes.choose("onnx").name == "onnxruntime"
    assert runtimes.choose("onnx", name="triton").name == "triton"
    assert runtimes.choose("mlflow").name == "mlflow-pyfunc"


@pytest.mark.parametrize(
    ("bundle_format", "name", "code"),
    [
        ("gguf", "", "runtime.none_fits"),
        ("onnx", "nobody", "runtime.unknown"),
        ("onnx", "mlflow-pyfunc", "runtime.does_not_fit"),
        ("mlflow", "triton", "runtime.does_not_fit"),
    ],
)
def test_a_runtime_that_does_not_fit_is_refused_with_a_remedy(
    bundle_format: str, name: str, code: str
) -> None:
    with pytest.raises(Invalid) as refused:
        runtimes.choose(bundle_format, name=name)
    assert refused.value.code == code
    assert refused.value.remedy


@pytest.mark.parametrize("value", [0, 257, "2", 1.0, True, None])
def test_a_setting_out_of_range_is_refused(value: object) -> None:
    with pytest.raises(Invalid, match="threads") as refused:
        runtimes.configure(runtimes.runtime("onnxruntime"), {"threads": value})
    assert refused.value.field == "configuration.threads"


def test_an_unknown_setting_is_refused() -> None:
    with pytest.raises(Invalid, match="speed"):
        planned("onnxruntime", configuration={"speed": 9})


@pytest.mark.parametrize("runtime", list(runtimes.RUNTIMES))
def test_every_server_understands_its_plan(runtime: str) -> None:
    plan = planned(runtime, configuration={"max_batch": 2})
    told = options.read(plan.argv[3:])
    assert (told.name, told.revision, told.digest, told.port) == ("churn", 4, "sha256:ab", 9001)
    assert told.settings["max_batch"] == 2
    assert told.problem == plan.problem
    assert plan.problem.parent == Path("/home/servers")
    assert (plan.prepare is not None) == runtimes.runtime(runtime).prepared
    assert plan.metrics_port == 9001


def test_a_server_inherits_no_secret(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("DATABASE_URL", "postgresql://secret")
    monkeypatch.setenv("MODELYARD_SECRET_KEY", "secret")
    assert "secret" not in str(planned("onnxruntime").environment)


@pytest.mark.parametrize("runtime", list(runtimes.RUNTIMES))
def test_a_server_reports_to_nobody(runtime: str) -> None:
    environment = planned(runtime).environment
    assert environment["ORT_DISABLE_TELEMETRY"] == "1"
    assert environment["MLFLOW_DISABLE_TELEMETRY"] == "true"


def test_triton_is_told_what_the_model_takes() -> None:
    text = repository.configuration(
        name="churn",
        revision=4,
        inputs=[TensorSpec('X "1"', "FP32", (-1, 30)), TensorSpec("t", "BYTES", (-1, 1))],
        outputs=[TensorSpec("label", "INT64", (-1,))],
        max_batch=64,
        max_queue=10,
        parameters={"bundle_digest": "sha256:ab"},
    )
    assert 'input [ { name: "X \\"1\\"" data_type: TYPE_FP32 dims: [30] } ]' in text
    assert 'input [ { name: "t" data_type: TYPE_STRING dims: [1] } ]' in text
    assert 'output [ { name: "label" data_type: TYPE_INT64 dims: [1] } ]' in text
    assert "max_batch_size: 64" in text
    assert "dynamic_batching" in text
    assert 'key: "bundle_digest" value { string_value: "sha256:ab" }' in text


def test_triton_keeps_rows_apart_that_may_not_be_joined() -> None:
    text = repository.configuration(
        name="m",
        revision=1,
        inputs=[TensorSpec("X", "FP32", (1, 30))],
        outputs=[],
        max_batch=0,
        max_queue=10,
        parameters={},
    )
    assert "dims: [1, 30]" in text
    assert "dynamic_batching" not in text


def test_triton_cannot_batch_inputs_of_rows_alone() -> None:
    assert not repository.batchable([TensorSpec("x", "FP32", (-1,))])
    assert repository.batchable([TensorSpec("x", "FP32", (-1, 1))])


@pytest.mark.parametrize(
    ("line", "found"),
    [
        ("mlflow==3.17.2", True),
        ("mlflow-skinny==3.17.2 \\", True),
        ("numpy\nmlflow[extras]>=3", True),
        ("mlflow", True),
        ("# via mlflow", False),
        ("mlflow-tracing==3.17.2", False),
    ],
)
def test_mlflow_is_found_in_a_lock(line: str, found: bool) -> None:
    assert bool(MLFLOW.search(line)) == found
