"""What is read from model files: by content, whole, and never by loading them."""

import bz2
import contextlib
import gzip
import io
import json
import lzma
import pickle
import struct
import tarfile
import zipfile
import zlib
from pathlib import Path
from typing import Any

import joblib
import lightgbm
import numpy as np
import onnx
import orjson
import pytest
import xgboost
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from onnx import TensorProto, helper, numpy_helper
from sklearn.ensemble import GradientBoostingRegressor, RandomForestClassifier
from sklearn.linear_model import LogisticRegression
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler
from sklearn.svm import LinearSVC

from apps.registry.domain.inspect import archives, detect, mlmodel, pickles
from apps.registry.domain.inspect.reading import Truncated, Unreadable
from apps.registry.domain.inspected import Inspected
from apps.registry.domain.kinds import Format
from controlplane.kernel.errors import Invalid

DRAW = np.random.default_rng(7)
FEATURES = DRAW.normal(size=(80, 5))
LABELS = DRAW.integers(0, 3, 80)


def inspect(content: bytes) -> Inspected:
    return detect.inspect_file(io.BytesIO(content))


def dumped(model: Any, how: str) -> bytes:
    held = io.BytesIO()
    if how == "joblib":
        joblib.dump(model, held)
    else:
        pickle.dump(model, held, protocol=int(how))
    return held.getvalue()


def onnx_model(**extra: Any) -> Any:
    weight = numpy_helper.from_array(np.ones((5, 2), np.float32), "w")
    graph = helper.make_graph(
        [helper.make_node("MatMul", ["x", "w"], ["y"])],
        "g",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, ["batch", 5])],
        [helper.make_tensor_value_info("y", TensorProto.FLOAT, ["batch", 2])],
        [weight],
    )
    return helper.make_model(
        graph, producer_name="tests", opset_imports=[helper.make_opsetid("", 17)], **extra
    )


@pytest.fixture(scope="module")
def boosted() -> Any:
    return xgboost.XGBClassifier(n_estimators=3, max_depth=2).fit(FEATURES, LABELS)


@pytest.fixture(scope="module")
def light() -> str:
    trained = lightgbm.LGBMClassifier(n_estimators=3, verbose=-1).fit(FEATURES, LABELS)
    return str(trained.booster_.model_to_string())


@pytest.mark.parametrize("how", ["joblib", "5", "4", "2", "0"])
@pytest.mark.parametrize(
    ("labels", "label"),
    [(LABELS, "INT64"), (np.array(["a", "b", "c"])[LABELS], "BYTES"),
     (np.array(["a", "b", "c"])[LABELS].astype(object), "BYTES")],
)  # fmt: skip
def test_a_classifier_says_its_features_and_classes(how: str, labels: Any, label: str) -> None:
    model = make_pipeline(StandardScaler(), LogisticRegression()).fit(FEATURES, labels)
    found = inspect(dumped(model, how))
    assert found.format is Format.SKLEARN
    assert found.framework.startswith("scikit-learn 1.")
    assert found.inputs == [{"name": "input", "datatype": "FP32", "shape": [-1, 5]}]
    assert found.outputs == [
        {"name": "label", "datatype": label, "shape": [-1]},
        {"name": "probabilities", "datatype": "FP32", "shape": [-1, 3]},
    ]
    assert found.facts["labels"] == [
        v.item() if label == "INT64" else v for v in np.unique(labels)
    ]
    assert found.facts["steps"] == ["Pipeline", "StandardScaler", "LogisticRegression"]


def test_a_forest_is_read_past_its_arrays() -> None:
    found = inspect(dumped(RandomForestClassifier(20).fit(FEATURES, LABELS), "joblib"))
    assert found.facts["estimator"] == "RandomForestClassifier"
    assert found.facts["classes"] == 3


def test_a_regressor_gives_one_number() -> None:
    found = inspect(dumped(GradientBoostingRegressor(n_estimators=3).fit(FEATURES, FEATURES[:, 0]),
                           "joblib"))  # fmt: skip
    assert found.outputs == [{"name": "prediction", "datatype": "FP32", "shape": [-1]}]


def test_a_classifier_without_probabilities_promises_none() -> None:
    found = inspect(dumped(LinearSVC().fit(FEATURES, LABELS), "joblib"))
    assert [o["name"] for o in found.outputs] == ["label"]


class Evil:
    """A pickle that would run a command when loaded."""

    def __reduce__(self) -> Any:
        return (__import__("os").system, ("touch /tmp/modelyard-was-here",))


def test_a_pickle_that_runs_commands_is_described_and_not_run() -> None:
    mark = Path("/tmp/modelyard-was-here")
    mark.unlink(missing_ok=True)
    found = inspect(pickle.dumps(Evil()))
    assert found.format is Format.PICKLE
    assert "posix.system" in found.facts["globals"]
    assert not mark.exists()


def test_a_text_bomb_in_a_pickle_stays_small() -> None:
    lots: list[Any] = []
    for _ in range(60):
        lots = [lots, lots]
    assert inspect(pickle.dumps({"_sklearn_version": lots})).format is Format.PICKLE


def test_a_deep_tuple_as_a_key_is_harmless() -> None:
    deep = b"\x80\x04}" + b")" + b"\x85" * 300_000 + b"Ns."
    assert inspect(deep).format is Format.PICKLE


def test_onnx_says_opset_inputs_and_outputs() -> None:
    found = inspect(onnx_model().SerializeToString())
    assert found.format is Format.ONNX
    assert found.facts["opset"] == 17
    assert found.facts["operators"] == {"MatMul": 1}
    assert found.inputs == [{"name": "x", "datatype": "FP32", "shape": [-1, 5]}]
    assert found.outputs == [{"name": "y", "datatype": "FP32", "shape": [-1, 2]}]


def test_onnx_with_weights_elsewhere_needs_that_file(tmp_path: Path) -> None:
    onnx.save_model(
        onnx_model(), tmp_path / "m.onnx", save_as_external_data=True, location="w.bin",
        size_threshold=0,
    )  # fmt: skip
    files = {p.name: _opens(p) for p in sorted(tmp_path.iterdir())}
    assert detect.inspect_set(files).facts["entry"] == "m.onnx"
    with pytest.raises(Invalid) as refused:
        detect.inspect_set({"m.onnx": files["m.onnx"]})
    assert refused.value.code == "model.external_data_missing"


def _opens(path: Path) -> Any:
    return lambda: path.open("rb")


@pytest.mark.parametrize("kind", ["json", "ubj"])
def test_xgboost_says_features_and_classes(boosted: Any, tmp_path: Path, kind: str) -> None:
    path = tmp_path / f"model.{kind}"
    boosted.save_model(path)
    found = inspect(path.read_bytes())
    assert found.format is Format.XGBOOST
    assert found.framework.startswith("XGBoost 3")
    assert found.inputs[0]["shape"] == [-1, 5]
    assert found.outputs[0]["shape"] == [-1, 3]
    assert found.facts["objective"] == "multi:softprob"


def test_a_large_xgboost_model_is_read_from_its_ends(
    boosted: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("apps.registry.domain.inspect.trees.LARGEST_JSON", 10)
    boosted.save_model(tmp_path / "m.json")
    found = inspect((tmp_path / "m.json").read_bytes())
    assert (found.inputs[0]["shape"], found.facts["classes"]) == ([-1, 5], 3)


def test_lightgbm_says_features_and_classes(light: str) -> None:
    found = inspect(light.encode())
    assert found.format is Format.LIGHTGBM
    assert found.inputs[0]["shape"] == [-1, 5]
    assert found.outputs[0]["shape"] == [-1, 3]
    assert found.facts["feature_names"][0] == "Column_0"


def safetensors(reach: int = 24) -> bytes:
    header = json.dumps(
        {"w": {"dtype": "F32", "shape": [2, 3], "data_offsets": [0, reach]},
         "__metadata__": {"format": "pt"}}
    ).encode()  # fmt: skip
    return struct.pack("<Q", len(header)) + header + b"\0" * 24


def gguf() -> bytes:
    def text(value: str) -> bytes:
        return struct.pack("<Q", len(value)) + value.encode()

    pairs = text("general.architecture") + struct.pack("<I", 8) + text("llama")
    pairs += text("tokens") + struct.pack("<IIQ", 9, 4, 3) + b"\0" * 12
    info = text("w") + struct.pack("<IQQ", 2, 4, 8) + struct.pack("<IQ", 0, 0)
    return b"GGUF" + struct.pack("<IQQ", 3, 1, 2) + pairs + info + b"\0" * 128


def test_weights_say_how_many_parameters_they_are() -> None:
    found = inspect(safetensors())
    assert (found.format, found.facts["parameters"]) == (Format.SAFETENSORS, 6)
    found = inspect(gguf())
    assert (found.format, found.facts["parameters"]) == (Format.GGUF, 32)
    assert found.framework == "GGUF llama"


def test_safetensors_without_all_weights_are_truncated() -> None:
    with pytest.raises(Truncated):
        inspect(safetensors(reach=25))


def zipped(files: dict[str, bytes]) -> bytes:
    held = io.BytesIO()
    with zipfile.ZipFile(held, "w") as archive:
        for name, content in files.items():
            archive.writestr(name, content)
    return held.getvalue()


def test_torch_files_are_told_apart() -> None:
    script = zipped({"m/code/__torch__.py": b"", "m/constants.pkl": b"", "m/data.pkl": b""})
    assert inspect(script).format is Format.TORCHSCRIPT
    checkpoint = inspect(zipped({"m/data.pkl": b"", "m/version": b"3", "m/data/0": b""}))
    assert (checkpoint.format, checkpoint.facts["checkpoint"]) == (Format.PICKLE, True)


def test_an_exported_program_says_its_inputs() -> None:
    values = {
        "x": {"dtype": 7, "sizes": [{"as_expr": {"expr_str": "s0"}}, {"as_int": 5}]},
        "y": {"dtype": 5, "sizes": [{"as_int": 1}]},
        "w": {"dtype": 7, "sizes": [{"as_int": 2}]},
    }
    named = {n: {"arg": {"as_tensor": {"name": n}}} for n in values}
    program = {
        "graph_module": {
            "graph": {"tensor_values": values},
            "signature": {
                "input_specs": [{"parameter": named["w"]}, {"user_input": named["x"]}],
                "output_specs": [{"user_output": named["y"]}],
            },
        },
        "torch_version": "2.9.0",
    }
    text = json.dumps(program).encode()
    found = inspect(zipped({"m/models/model.json": text, "m/archive_format": b"pt2"}))
    assert (found.format, found.framework) == (Format.TORCH_EXPORT, "PyTorch 2.9.0")
    assert found.inputs == [{"name": "x", "datatype": "FP32", "shape": [-1, 5]}]
    assert found.outputs == [{"name": "y", "datatype": "INT64", "shape": [1]}]


MLMODEL = b"""
flavors:
  python_function: {loader_module: mlflow.sklearn, python_version: 3.11.2}
  sklearn: {pickled_model: model.pkl, sklearn_version: 1.9.1}
mlflow_version: 3.17.2
run_id: 0123456789abcdef0123456789abcdef
signature:
  inputs: '[{"type": "double", "name": "age"}, {"type": "string", "name": "town"}]'
  outputs: '[{"type": "tensor", "tensor-spec": {"dtype": "int64", "shape": [-1]}}]'
"""


def test_an_mlmodel_says_signature_run_and_requirements() -> None:
    found = mlmodel.inspect(MLMODEL, requirements=b"# made by MLflow\nscikit-learn==1.9.1\n")
    assert found.framework == "scikit-learn 1.9.1"
    assert found.run_id == "0123456789abcdef0123456789abcdef"
    assert [(t["name"], t["datatype"]) for t in found.inputs] == [
        ("age", "FP64"),
        ("town", "BYTES"),
    ]
    assert found.outputs == [{"name": "output", "datatype": "INT64", "shape": [-1]}]
    assert found.facts["requirements"] == ["scikit-learn==1.9.1"]


def test_an_mlmodel_that_leads_out_is_refused() -> None:
    with pytest.raises(Invalid) as refused:
        mlmodel.inspect(MLMODEL.replace(b"model.pkl", b"../../model.pkl"))
    assert refused.value.code == "archive.path_traversal"


def test_what_is_none_of_the_formats_says_what_was_expected() -> None:
    for content in (b"", b"hello", b"%PDF-1.7", b"\x89HDF\r\n\x1a\n", zipped({"a.txt": b"x"})):
        with pytest.raises(detect.UnknownFormat) as refused:
            inspect(content)
        assert "ONNX" in refused.value.remedy


# --- archives ---------------------------------------------------------------------------------


def tarred(*entries: tuple[str, bytes, bytes]) -> bytes:
    held = io.BytesIO()
    with tarfile.open(fileobj=held, mode="w") as archive:
        for name, content, kind in entries:
            info = tarfile.TarInfo(name)
            info.type, info.size = kind, len(content) if kind == tarfile.REGTYPE else 0
            info.linkname = "/etc/passwd" if kind != tarfile.REGTYPE else ""
            archive.addfile(info, io.BytesIO(content))
    return held.getvalue()


def symlinked() -> bytes:
    held = io.BytesIO()
    with zipfile.ZipFile(held, "w") as archive:
        info = zipfile.ZipInfo("model")
        info.external_attr = 0o120777 << 16
        archive.writestr(info, "/etc/passwd")
    return held.getvalue()


def doubled() -> bytes:
    held = io.BytesIO()
    with zipfile.ZipFile(held, "w") as archive:
        archive.writestr("a", "1")
        with pytest.warns(UserWarning, match="Duplicate name"):
            archive.writestr("a", "2")
    return held.getvalue()


def encrypted() -> bytes:
    content = bytearray(zipped({"a": b"x"}))
    content[content.index(b"PK\x01\x02") + 8] |= 1
    return bytes(content)


def bomb() -> bytes:
    held = io.BytesIO()
    with zipfile.ZipFile(held, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("a", b"\0" * (101 * 1024**2))
    return held.getvalue()


REG = tarfile.REGTYPE


def test_every_unsafe_archive_is_refused_by_its_own_code() -> None:
    cases = [
        ("zip", zipped({"../a": b"x"}), "archive.path_traversal"),
        ("zip", zipped({"/etc/a": b"x"}), "archive.path_traversal"),
        ("zip", zipped({"a/../../b": b"x"}), "archive.path_traversal"),
        ("zip", zipped({"a\\..\\..\\b": b"x"}), "archive.path_traversal"),
        ("zip", symlinked(), "archive.link"),
        ("zip", doubled(), "archive.duplicate"),
        ("zip", encrypted(), "archive.encrypted"),
        ("zip", bomb(), "archive.bomb"),
        ("zip", zipped({str(n): b"" for n in range(10_001)}), "archive.too_many_files"),
        ("zip", zipped({"a": b"x" * 999})[:-30], "archive.broken"),
        ("zip", zipped({}), "archive.empty"),
        ("tar", tarred(("../a", b"x", REG)), "archive.path_traversal"),
        ("tar", tarred(("/etc/a", b"x", REG)), "archive.path_traversal"),
        ("tar", tarred(("a", b"", tarfile.SYMTYPE)), "archive.link"),
        ("tar", tarred(("a", b"", tarfile.LNKTYPE)), "archive.link"),
        ("tar", tarred(("a", b"", tarfile.FIFOTYPE)), "archive.link"),
        ("tar", tarred(("a", b"1", REG), ("a", b"2", REG)), "archive.duplicate"),
        ("tar", tarred(("a", b"x" * 5000, REG))[:2048], "archive.broken"),
    ]  # fmt: skip
    for kind, content, code in cases:
        with pytest.raises(Invalid) as refused:
            archives.unpack(io.BytesIO(content), kind, compressed_size=len(content), take=_swallow)
        assert refused.value.code == code


def test_a_tar_header_cannot_fill_the_memory() -> None:
    info = tarfile.TarInfo("x")
    info.type, info.size = tarfile.XHDTYPE, 1 << 32
    with pytest.raises(Unreadable):
        archives.unpack(
            io.BytesIO(info.tobuf(tarfile.USTAR_FORMAT) + b"\0" * 2048), "tar",
            compressed_size=2560, take=_swallow,
        )  # fmt: skip


def test_a_clean_archive_gives_its_files() -> None:
    for kind, content in (
        ("zip", zipped({"m/MLmodel": b"a", "m/data/x": b"bc", "__MACOSX/m": b""})),
        ("tar", tarred(("m/MLmodel", b"a", REG), ("m/data/x", b"bc", REG))),
    ):
        taken: dict[str, bytes] = {}
        members = archives.unpack(
            io.BytesIO(content), kind, compressed_size=len(content),
            take=lambda member, stream, into=taken: into.update({member.path: stream.read()}),
        )  # fmt: skip
        assert taken == {"m/MLmodel": b"a", "m/data/x": b"bc"}
        assert archives.common_folder([m.path for m in members]) == "m/"


def _swallow(member: Any, stream: Any) -> None:
    while stream.read(65536):
        pass


# --- whatever the bytes, the only error is Invalid --------------------------------------------


@pytest.fixture(scope="module")
def samples(boosted: Any, light: str, tmp_path_factory: pytest.TempPathFactory) -> list[bytes]:
    folder = tmp_path_factory.mktemp("models")
    boosted.save_model(folder / "m.json")
    boosted.save_model(folder / "m.ubj")
    small = LogisticRegression().fit(FEATURES, LABELS)
    return [
        *(dumped(small, how) for how in ("joblib", "5", "2", "0")),
        onnx_model().SerializeToString(),
        (folder / "m.json").read_bytes(),
        (folder / "m.ubj").read_bytes(),
        light.encode(),
        safetensors(),
        gguf(),
        zipped({"m/code/a.py": b"", "m/constants.pkl": b""}),
    ]


QUIET = settings(
    max_examples=400, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)


def only_invalid(content: bytes) -> None:
    with contextlib.suppress(Invalid):
        orjson.dumps(inspect(content).as_dict())


@QUIET
@given(data=st.data())
def test_damaged_files_give_a_clear_error_or_a_reading(samples: list[bytes], data: Any) -> None:
    content = bytearray(data.draw(st.sampled_from(samples)))
    for _ in range(data.draw(st.integers(1, 6))):
        content[data.draw(st.integers(0, len(content) - 1))] = data.draw(st.integers(0, 255))
    only_invalid(bytes(content[: data.draw(st.integers(1, len(content)))]))


@QUIET
@given(
    head=st.sampled_from([b"", b"\x80\x04", b"GGUF\x03\0\0\0", b"\x08\x07", b"tree\nversion=v4\n",
                          b"{L\0\0\0\0\0\0\0\x07learner{", b'{"learner":', b"PK\x03\x04"]),
    tail=st.binary(max_size=400),
)  # fmt: skip
def test_noise_gives_a_clear_error(head: bytes, tail: bytes) -> None:
    only_invalid(head + tail)


@QUIET
@given(st.binary(max_size=300))
def test_noise_in_a_pickle_gives_a_clear_error(noise: bytes) -> None:
    with contextlib.suppress(Unreadable):
        pickles.read(io.BytesIO(noise))


@QUIET
@given(st.binary(max_size=300) | st.text(max_size=200).map(str.encode))
def test_noise_in_an_mlmodel_gives_a_clear_error(noise: bytes) -> None:
    with contextlib.suppress(Invalid):
        mlmodel.inspect(noise)


@QUIET
@given(data=st.data())
def test_damaged_archives_give_a_clear_error_or_their_files(data: Any) -> None:
    kind, whole = data.draw(
        st.sampled_from(
            [("zip", zipped({"m/MLmodel": b"a" * 50, "m/x": b"b" * 600})),
             ("tar", tarred(("m/MLmodel", b"a" * 50, REG), ("m/x", b"b" * 600, REG)))]
        )
    )  # fmt: skip
    content = bytearray(whole)
    for _ in range(data.draw(st.integers(1, 5))):
        content[data.draw(st.integers(0, len(content) - 1))] = data.draw(st.integers(0, 255))
    with contextlib.suppress(Invalid):
        archives.unpack(
            io.BytesIO(bytes(content)), kind, compressed_size=len(content), take=_swallow
        )


COMPRESSORS = {
    "gzip": gzip.compress,
    "bz2": bz2.compress,
    "xz": lzma.compress,
    "zlib": zlib.compress,
}


@pytest.mark.parametrize("name", COMPRESSORS)
def test_a_compressed_beginning_is_recognised(name: str) -> None:
    assert detect.is_compressed(COMPRESSORS[name](b"x" * 100))
