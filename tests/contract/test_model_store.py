"""What every driver of `ModelStore` must do; run against memory and a real MLflow server."""

import json
import time
import uuid
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import pytest

from apps.registry.domain.kinds import Format
from apps.registry.ports import ModelStore, Package, StoredFile
from controlplane.drivers.memory.model_store import MemoryModelStore
from controlplane.drivers.mlflow.store import MlflowStore
from controlplane.kernel.errors import Permanent, Transient


@pytest.fixture(params=["memory", "mlflow"])
def store(request: pytest.FixtureRequest) -> Iterator[ModelStore]:
    if request.param == "memory":
        yield MemoryModelStore()
        return
    with closing(MlflowStore(request.getfixturevalue("mlflow_url"))) as driver:
        yield driver


@pytest.fixture
def name() -> str:
    return f"model-{uuid.uuid4().hex[:8]}"


def test_what_is_not_there_is_none(store: ModelStore, name: str) -> None:
    assert store.model(name) is None
    assert store.version(name, 1) is None
    assert store.highest_number(name) == 0
    assert store.run("0" * 32) is None


def test_a_model_is_created_once(store: ModelStore, name: str) -> None:
    store.ensure_model(name, description="of cards")
    store.ensure_model(name, description="ignored")
    model = store.model(name)
    assert model is not None
    assert model.description == "of cards"


def test_one_key_is_one_place(store: ModelStore, name: str) -> None:
    first = store.reserve("key" + name, name=name, number=1)
    assert store.reserve("key" + name, name=name, number=1) == first
    assert store.reserve("other" + name, name=name, number=2) != first


def test_versions_get_numbers_in_order_and_keep_their_files(
    store: ModelStore, name: str, tmp_path: Path
) -> None:
    store.ensure_model(name)
    folder = _folder(tmp_path)
    for number in (1, 2):
        place = store.reserve(f"{name}-{number}", name=name, number=number)
        assert store.upload(folder, place, deadline=time.monotonic() + 60)
        made = store.create_version(name, place=place, description="d", tags={"a": "b c"})
        assert made == number
    assert store.highest_number(name) == 2
    version = store.version(name, 2)
    assert version is not None
    assert (version.description, dict(version.tags)["a"]) == ("d", "b c")
    location = store.locate(version)
    assert store.files(location) == [
        StoredFile("MLmodel", 9),
        StoredFile("deep/a file, 100%.bin", 300_000),
    ]
    assert b"".join(store.fetch(location, "deep/a file, 100%.bin")) == bytes(300_000)
    assert b"".join(store.fetch(location, "MLmodel", offset=4)) == b"del: "


def test_an_upload_goes_on_where_time_ran_out(
    store: ModelStore, name: str, tmp_path: Path
) -> None:
    place = store.reserve(name, name=name, number=1)
    assert not store.upload(_folder(tmp_path), place, deadline=time.monotonic() - 1)
    assert store.upload(tmp_path / "folder", place, deadline=time.monotonic() + 60)


def test_aliases_descriptions_and_tags_follow(
    store: ModelStore, name: str, tmp_path: Path
) -> None:
    _one_version(store, name)
    store.set_alias(name, "champion", 1)
    store.describe(name, 1, description="new", tags={"x": "1"})
    model, version = store.model(name), store.version(name, 1)
    assert model is not None
    assert version is not None
    assert dict(model.aliases) == {"champion": 1}
    assert version.description == "new"
    assert version.tags["x"] == "1"
    assert version.tags["modelyard.url"] == "u"
    store.remove_alias(name, "champion")
    store.remove_alias(name, "champion")
    model = store.model(name)
    assert model is not None
    assert not model.aliases


def test_an_alias_for_no_version_is_refused(store: ModelStore, name: str) -> None:
    store.ensure_model(name)
    with pytest.raises(Permanent):
        store.set_alias(name, "champion", 7)


def test_a_withdrawn_number_is_not_given_again(store: ModelStore, name: str) -> None:
    _one_version(store, name)
    store.withdraw(name, 1)
    assert store.version(name, 1) is None
    place = store.reserve(name + "again", name=name, number=2)
    assert store.create_version(name, place=place, tags={}) == 2


def test_changes_come_latest_first_and_only_newer_ones(store: ModelStore, name: str) -> None:
    _one_version(store, name)
    before = store.version(name, 1)
    assert before is not None
    other = name + "-b"
    time.sleep(0.01)
    _one_version(store, other)
    found = [v.model for v in store.versions_changed_since(before.changed_at_ms)]
    assert found == [other]
    models = [m.name for m in store.models_changed_since(0)]
    assert models.index(other) < models.index(name)


def test_a_package_is_a_folder_that_mlflow_reads(store: ModelStore, tmp_path: Path) -> None:
    (tmp_path / "files").mkdir()
    (tmp_path / "files" / "m.json").write_text(json.dumps({}))
    package = Package(tmp_path / "files", Format.XGBOOST, [], [], ["xgboost==3.2.0"])
    store.package(package, tmp_path / "made")
    assert "loader_module: mlflow.xgboost" in (tmp_path / "made" / "MLmodel").read_text()


def test_a_run_s_model_that_is_not_there_is_said_so(store: ModelStore) -> None:
    with pytest.raises(Permanent) as caught:
        store.locate_run_model("0" * 32, "model")
    assert caught.value.code == "mlflow.no_such_run"


def test_a_silent_server_is_transient() -> None:
    with (
        closing(MlflowStore("http://127.0.0.1:9/mlflow")) as silent,
        pytest.raises(Transient) as caught,
    ):
        silent.model("m")
    assert caught.value.code == "mlflow.down"


def _one_version(store: ModelStore, name: str) -> None:
    store.ensure_model(name)
    place = store.reserve(name, name=name, number=1)
    assert store.create_version(name, place=place, tags={"modelyard.url": "u"}) == 1


def _folder(tmp_path: Path) -> Path:
    folder = tmp_path / "folder"
    (folder / "deep").mkdir(parents=True)
    (folder / "MLmodel").write_text("MLmodel: ")
    (folder / "deep" / "a file, 100%.bin").write_bytes(bytes(300_000))
    return folder
