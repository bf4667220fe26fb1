"""The folders we make load with the unmodified client, in a process of its own."""

import json
import pickle
import subprocess
import sys
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import joblib
import numpy as np
import pytest
from sklearn.datasets import load_breast_cancer
from sklearn.linear_model import LogisticRegression

from apps.registry.domain.kinds import Format
from controlplane.drivers.mlflow.mlmodel import as_mlflow_folder, complete
from controlplane.kernel.errors import Invalid

X, Y = load_breast_cancer(return_X_y=True)
X = (X - X.mean(0)) / X.std(0)
ROWS = X[:20]
INPUTS = [{"name": "X", "datatype": "FP32", "shape": [-1, 30]}]
FORMATS = {
    "sk-pickle": Format.SKLEARN,
    "sk-joblib": Format.SKLEARN,
    "sk-zipped": Format.SKLEARN,
    "onnx": Format.ONNX,
    "xgb-json": Format.XGBOOST,
    "xgb-ubj": Format.XGBOOST,
    "lgbm": Format.LIGHTGBM,
    "any-pickle": Format.PICKLE,
}
CLIENT = """
import json, sys, warnings
warnings.simplefilter("ignore")
import mlflow.pyfunc, numpy as np
rows = np.array(json.load(open(sys.argv[1])))
answers = {}
for folder in sys.argv[2:]:
    answer = mlflow.pyfunc.load_model(folder).predict(rows)
    if isinstance(answer, dict):
        answer = list(answer.values())[0]
    answers[folder.rsplit("/", 1)[1]] = np.asarray(answer).ravel().tolist()
print(json.dumps(answers))
"""


@dataclass(frozen=True)
class Saved:
    """One model in every format, and what each answers natively."""

    root: Path
    answers: Mapping[str, Any]


@pytest.fixture(scope="module")
def saved(tmp_path_factory: pytest.TempPathFactory) -> Saved:
    import lightgbm
    import xgboost
    from skl2onnx import to_onnx

    root = tmp_path_factory.mktemp("files")
    for name in FORMATS:
        (root / name / "deep").mkdir(parents=True)
    linear = LogisticRegression(max_iter=500).fit(X, Y)
    (root / "sk-pickle" / "model.pkl").write_bytes(pickle.dumps(linear))
    (root / "any-pickle" / "thing.pkl").write_bytes(pickle.dumps(linear))
    joblib.dump(linear, root / "sk-joblib" / "model.joblib")
    joblib.dump(linear, root / "sk-zipped" / "model.pkl", compress=3)
    onnx = to_onnx(linear, X[:1].astype(np.float32), options={"zipmap": False})
    (root / "onnx" / "deep" / "model.onnx").write_bytes(onnx.SerializeToString())
    (root / "onnx" / "README.md").write_text("a file beside")
    matrix = xgboost.DMatrix(X, Y)
    boosted = xgboost.train({"objective": "binary:logistic"}, matrix, num_boost_round=5)
    boosted.save_model(root / "xgb-json" / "model.json")
    boosted.save_model(root / "xgb-ubj" / "model.ubj")
    settings = {"objective": "binary", "verbose": -1}
    light = lightgbm.train(settings, lightgbm.Dataset(X, Y), num_boost_round=5)
    light.save_model(str(root / "lgbm" / "model.txt"))
    labels, chances = linear.predict(ROWS), boosted.predict(xgboost.DMatrix(ROWS))
    answers = dict.fromkeys(("sk-pickle", "sk-joblib", "sk-zipped", "onnx", "any-pickle"), labels)
    answers |= {"xgb-json": chances, "xgb-ubj": chances, "lgbm": light.predict(ROWS)}
    return Saved(root, answers)


def test_every_format_loads_and_answers_as_the_original(saved: Saved, tmp_path: Path) -> None:
    for name, format in FORMATS.items():
        _make(saved.root / name, format, tmp_path / name)
    answers = _ask([tmp_path / name for name in FORMATS], tmp_path)
    for name in FORMATS:
        np.testing.assert_allclose(answers[name], saved.answers[name], rtol=1e-5, err_msg=name)


def test_the_same_input_gives_the_same_bytes(saved: Saved, tmp_path: Path) -> None:
    for turn in ("one", "two"):
        _make(saved.root / "sk-joblib", Format.SKLEARN, tmp_path / turn)
    assert _bytes(tmp_path / "one") == _bytes(tmp_path / "two")


def test_files_elsewhere_in_the_version_are_kept_below_given(saved: Saved, tmp_path: Path) -> None:
    _make(saved.root / "onnx", Format.ONNX, tmp_path / "folder")
    assert (tmp_path / "folder" / "given" / "README.md").read_text() == "a file beside"
    assert (tmp_path / "folder" / "model.onnx").exists()


def test_a_version_s_own_mlmodel_never_replaces_ours(saved: Saved, tmp_path: Path) -> None:
    source = tmp_path / "source"
    source.mkdir()
    (source / "model.pkl").write_bytes((saved.root / "sk-pickle" / "model.pkl").read_bytes())
    (source / "MLmodel").write_text("flavors: {python_function: {loader_module: os}}")
    _make(source, Format.SKLEARN, tmp_path / "folder")
    assert "loader_module: mlflow.sklearn" in (tmp_path / "folder" / "MLmodel").read_text()


def test_a_folder_of_mlflow_s_is_copied_as_it_is(saved: Saved, tmp_path: Path) -> None:
    _make(saved.root / "lgbm", Format.LIGHTGBM, tmp_path / "outer" / "model")
    _make(tmp_path / "outer", Format.MLFLOW, tmp_path / "copy")
    assert _bytes(tmp_path / "copy") == _bytes(tmp_path / "outer" / "model")


def test_files_that_hold_no_such_format_are_refused_with_a_remedy(tmp_path: Path) -> None:
    (tmp_path / "a.txt").write_text("")
    (tmp_path / "b.txt").write_text("")
    for format in (Format.MLFLOW, Format.ONNX):
        with pytest.raises(Invalid) as caught:
            _make(tmp_path, format, tmp_path.parent / "nothing")
        assert caught.value.code == "mlflow.no_entry"
        assert caught.value.remedy


def test_requirements_are_completed_once() -> None:
    assert complete(["xgboost-cpu==3.2.0", "mlflow-skinny>=3"], Format.XGBOOST) == [
        "xgboost-cpu==3.2.0",
        "mlflow-skinny>=3",
    ]
    assert complete(["scikit_learn==1.9.1"], Format.SKLEARN) == [
        "mlflow==3.17.2",
        "scikit_learn==1.9.1",
        "joblib",
    ]


@pytest.mark.torch
@pytest.mark.parametrize("kind", ["torchscript", "torch-export"])
def test_a_torch_module_loads_and_answers_as_the_original(kind: str, tmp_path: Path) -> None:
    torch = pytest.importorskip("torch")
    module = torch.nn.Sequential(torch.nn.Linear(30, 4), torch.nn.ReLU()).eval()
    example = torch.from_numpy(ROWS.astype(np.float32))
    (tmp_path / "files").mkdir()
    if kind == Format.TORCHSCRIPT:
        torch.jit.trace(module, example).save(str(tmp_path / "files" / "model.pt"))
    else:
        torch.export.save(torch.export.export(module, (example,)), tmp_path / "files" / "m.pt2")
    _make(tmp_path / "files", kind, tmp_path / kind)
    answer = _ask([tmp_path / kind], tmp_path)[kind]
    np.testing.assert_allclose(answer, module(example).detach().numpy().ravel(), rtol=1e-5)


def _make(files: Path, format: str, target: Path) -> None:
    as_mlflow_folder(
        files=files, format=format, inputs=INPUTS, outputs=[], requirements=[], target=target
    )


def _ask(folders: list[Path], tmp_path: Path) -> dict[str, list[float]]:
    rows = tmp_path / "rows.json"
    rows.write_text(json.dumps(ROWS.tolist()))
    done = subprocess.run(
        [sys.executable, "-c", CLIENT, str(rows), *map(str, folders)],
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    answers: dict[str, list[float]] = json.loads(done.stdout.splitlines()[-1])
    return answers


def _bytes(folder: Path) -> dict[str, bytes]:
    files = (p for p in folder.rglob("*") if p.is_file())
    return {str(p.relative_to(folder)): p.read_bytes() for p in files}
