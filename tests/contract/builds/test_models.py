"""Real, small models of every kind, through the real build program in its sandbox."""

import importlib.util
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import joblib
import numpy as np
import pandas
import pytest
from sklearn.compose import ColumnTransformer
from sklearn.datasets import load_breast_cancer
from sklearn.ensemble import RandomForestClassifier
from sklearn.linear_model import LinearRegression, LogisticRegression
from sklearn.neural_network import MLPClassifier
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import OneHotEncoder, StandardScaler

from apps.builds.domain.job import JobReport, JobSpec, JobState, VariantReport
from controlplane.drivers.local.jobs import LocalJobs

# The libraries that train the models warn of what does not matter here: convergence, futures.
pytestmark = pytest.mark.filterwarnings("ignore")
X, Y = load_breast_cancer(return_X_y=True)
needs_torch = [
    pytest.mark.torch,
    pytest.mark.skipif(
        importlib.util.find_spec("torch") is None, reason="the torch extra is not installed"
    ),
]


def random_forest(folder: Path) -> str:
    joblib.dump(RandomForestClassifier(10, random_state=0).fit(X, Y), folder / "m.joblib")
    return "sklearn"


def regression(folder: Path) -> str:
    joblib.dump(LinearRegression().fit(X, X[:, 0] * 2), folder / "m.joblib")
    return "sklearn"


def columns(folder: Path) -> str:
    random = np.random.default_rng(0)
    table = pandas.DataFrame(
        {"age": random.normal(40, 9, 200), "city": random.choice(["Oslo", "Voss"], 200)}
    )
    typed = ColumnTransformer([("n", StandardScaler(), ["age"]), ("c", OneHotEncoder(), ["city"])])
    wanted = np.where(table.city == "Oslo", "yes", "no")
    joblib.dump(make_pipeline(typed, LogisticRegression()).fit(table, wanted), folder / "m.joblib")
    return "sklearn"


def xgboost_binary(folder: Path) -> str:
    import xgboost

    xgboost.XGBClassifier(n_estimators=5, max_depth=2).fit(X, Y).save_model(folder / "m.ubj")
    return "xgboost"


def xgboost_in_a_pickle(folder: Path) -> str:
    import xgboost

    model = xgboost.XGBClassifier(n_estimators=5, max_depth=2).fit(X, Y)
    joblib.dump(model, folder / "m.joblib")
    return "sklearn"


def xgboost_named_regressor(folder: Path) -> str:
    import xgboost

    table = pandas.DataFrame(X[:, :4], columns=["a", "b", "c", "d"])
    xgboost.XGBRegressor(n_estimators=5).fit(table, X[:, 5]).save_model(folder / "m.json")
    return "xgboost"


def lightgbm_binary(folder: Path) -> str:
    import lightgbm

    model = lightgbm.LGBMClassifier(n_estimators=5, verbose=-1).fit(X, Y)
    model.booster_.save_model(folder / "m.txt")
    return "lightgbm"


def network(folder: Path) -> str:
    model = MLPClassifier((64, 64), random_state=0, max_iter=30)
    joblib.dump(make_pipeline(StandardScaler(), model).fit(X, Y), folder / "m.joblib")
    return "sklearn"


def onnx_file(folder: Path) -> str:
    from skl2onnx import to_onnx

    model = LogisticRegression(max_iter=20).fit(X / X.max(axis=0), Y)
    proto = to_onnx(model, X[:1].astype("float32"), options={"zipmap": False})
    (folder / "m.onnx").write_bytes(proto.SerializeToString())
    return "onnx"


def mlflow_sklearn(folder: Path) -> str:
    import mlflow

    model = make_pipeline(StandardScaler(), LogisticRegression()).fit(X, Y)
    mlflow.sklearn.save_model(model, folder / "model", pip_requirements=["scikit-learn"])
    return "mlflow"


@pytest.fixture
def build(tmp_path: Path) -> Iterator[Callable[..., JobReport]]:
    jobs = LocalJobs(tmp_path / "home")

    def run(make: Callable[[Path], str], **spec: Any) -> JobReport:
        made = tmp_path / "made"
        made.mkdir()
        format = make(made)
        return run_files(made, JobSpec(**{"format": format, **spec}))

    def run_files(made: Path, spec: JobSpec) -> JobReport:
        import shutil

        def fill(folder: Path) -> None:
            shutil.copytree(made, folder / "files", dirs_exist_ok=True)
            for extra in made.glob("samples.*"):
                shutil.copy(extra, folder)

        jobs.start("abc-1", spec, fill=fill)
        deadline = time.monotonic() + 280
        while (report := jobs.observe("abc-1")).state is JobState.RUNNING:
            assert time.monotonic() < deadline
            time.sleep(0.1)
        said = jobs.read_log("abc-1", offset=0, limit=100_000).decode()
        assert report.state is JobState.SUCCEEDED, said
        return report

    yield run
    for handle in jobs.handles():
        jobs.discard(handle)


def by_kind(report: JobReport) -> dict[str, VariantReport]:
    return {v.kind: v for v in report.variants}


def names(entries: Any) -> list[str]:
    return [entry["name"] for entry in entries]


@pytest.mark.parametrize(
    "make",
    [
        random_forest, regression, columns, xgboost_binary, xgboost_in_a_pickle,
        xgboost_named_regressor, lightgbm_binary, mlflow_sklearn,
    ],
)  # fmt: skip
def test_it_keeps_its_native_form_and_gains_one_in_onnx(
    build: Callable[..., JobReport], make: Callable[[Path], str]
) -> None:
    report = build(make)
    found = by_kind(report)
    assert found["native"].format == "mlflow"
    assert (found["onnx"].state, found["onnx"].verdict) == ("built", "passed")
    assert found["onnx"].measures["p95_ms"] < found["native"].measures["p95_ms"]  # type: ignore[operator]
    assert found["tensorrt"].reason == "Not built: no GPU worker is connected."
    assert found["onnx-int8-dynamic"].state == "skipped"
    if make is columns:
        assert names(report.learned.inputs) == ["age", "city"]
        assert report.learned.facts["classes"] == ["no", "yes"]
    else:
        assert names(report.learned.inputs) == ["input"]


def test_a_network_is_quantised_and_its_loss_is_told(build: Callable[..., JobReport]) -> None:
    found = by_kind(build(network, tolerance=1e-6, min_agreement=0.9))
    for kind in ("onnx-int8-dynamic", "onnx-int8-static"):
        assert found[kind].state == "built"
        assert found[kind].size < found["onnx"].size
        assert found[kind].verdict == "too_lossy"
        assert "tolerance" in found[kind].reason


def test_an_onnx_file_is_served_as_it_is(build: Callable[..., JobReport]) -> None:
    found = by_kind(build(onnx_file))
    assert (found["native"].format, found["native"].verdict) == ("onnx", "passed")
    assert found["onnx"].state == "skipped"


def test_only_the_variants_that_were_asked_for_are_made(build: Callable[..., JobReport]) -> None:
    found = by_kind(build(network, variants=["onnx"]))
    assert {k for k, v in found.items() if v.state == "built"} == {"native", "onnx"}


def test_given_samples_are_what_it_is_proved_on(build: Callable[..., JobReport]) -> None:
    def make(folder: Path) -> str:
        table = pandas.DataFrame(X[:40], columns=load_breast_cancer().feature_names)
        table.assign(target=Y[:40]).to_csv(folder / "samples.csv", index=False)
        return random_forest(folder)

    found = by_kind(build(make, samples="samples.csv"))
    assert found["onnx"].proof["samples"]["source"] == "given"
    assert found["onnx"].proof["samples"]["rows"] == 40


def exported(folder: Path) -> str:
    import torch

    module = torch.nn.Sequential(torch.nn.Linear(8, 32), torch.nn.ReLU(), torch.nn.Linear(32, 3))
    shapes = ({0: torch.export.Dim("batch")},)
    program = torch.export.export(module.eval(), (torch.zeros(2, 8),), dynamic_shapes=shapes)
    torch.export.save(program, folder / "m.pt2")
    return "torch-export"


def scripted(folder: Path) -> str:
    import torch

    module = torch.nn.Sequential(torch.nn.Linear(8, 32), torch.nn.ReLU(), torch.nn.Linear(32, 3))
    torch.jit.save(torch.jit.script(module.eval()), folder / "m.pt")
    return "torchscript"


@pytest.mark.parametrize(
    "make", [pytest.param(m, marks=needs_torch) for m in (exported, scripted)]
)
def test_a_torch_module_becomes_onnx(
    build: Callable[..., JobReport], make: Callable[[Path], str]
) -> None:
    report = build(make, inputs=[{"name": "x", "datatype": "FP32", "shape": [-1, 8]}])
    found = by_kind(report)
    assert found["onnx"].verdict == "passed"
    assert names(report.learned.inputs) == ["x"]
