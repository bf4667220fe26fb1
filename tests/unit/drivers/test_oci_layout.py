import json
import os
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from controlplane.drivers.oci.layout import OciLayout
from controlplane.kernel import digests
from controlplane.kernel.errors import Permanent

CONFIG = {"schema": 1, "format": "onnx", "entry": "model.onnx"}


@pytest.fixture
def files(tmp_path: Path) -> dict[str, Path]:
    folder = tmp_path / "files"
    (folder / "sub").mkdir(parents=True)
    (folder / "a").write_bytes(b"weights")
    (folder / "sub" / "b").write_bytes(b"more")
    return {"model.onnx": folder / "a", "extra/b.bin": folder / "sub" / "b"}


def blob(layout: OciLayout, digest: str) -> Path:
    return layout.root / "blobs" / "sha256" / digest.removeprefix("sha256:")


def test_what_was_written_comes_back(tmp_path: Path, files: dict[str, Path]) -> None:
    layout = OciLayout(tmp_path / "bundles")
    digest = layout.write(files, CONFIG)
    layout.materialise(digest, tmp_path / "out" / "bundle")
    assert layout.read_config(digest) == CONFIG
    assert (tmp_path / "out/bundle/model.onnx").read_bytes() == b"weights"
    assert (tmp_path / "out/bundle/extra/b.bin").read_bytes() == b"more"
    assert [f.path for f in layout.files(digest)] == ["extra/b.bin", "model.onnx"]


def test_the_digest_depends_on_content_alone(tmp_path: Path, files: dict[str, Path]) -> None:
    one = OciLayout(tmp_path / "one").write(files, CONFIG)
    os.utime(files["model.onnx"], (1, 1))
    backwards = dict(reversed(list(files.items())))
    two = OciLayout(tmp_path / "two").write(backwards, dict(reversed(list(CONFIG.items()))))
    assert one == two


@pytest.mark.parametrize("change", ["bytes", "path", "config"])
def test_any_change_changes_the_digest(
    tmp_path: Path, files: dict[str, Path], change: str
) -> None:
    layout = OciLayout(tmp_path / "bundles")
    before = layout.write(files, CONFIG)
    if change == "bytes":
        files["model.onnx"].write_bytes(b"weightz")
    if change == "path":
        files["other.onnx"] = files.pop("model.onnx")
    config = CONFIG | ({"schema": 2} if change == "config" else {})
    assert layout.write(files, config) != before


def test_a_changed_blob_is_found_and_nothing_is_left(
    tmp_path: Path, files: dict[str, Path]
) -> None:
    layout = OciLayout(tmp_path / "bundles")
    digest = layout.write(files, CONFIG)
    blob(layout, digests.of_bytes(b"weights")).write_bytes(b"WEIGHTS")
    with pytest.raises(Permanent) as caught:
        layout.materialise(digest, tmp_path / "out")
    assert caught.value.code == "bundle.corrupt"
    assert list(tmp_path.glob("*out*")) == []


def test_a_changed_manifest_is_found(tmp_path: Path, files: dict[str, Path]) -> None:
    layout = OciLayout(tmp_path / "bundles")
    digest = layout.write(files, CONFIG)
    manifest = json.loads(blob(layout, digest).read_bytes())
    manifest["layers"].pop()
    blob(layout, digest).write_text(json.dumps(manifest))
    with pytest.raises(Permanent) as caught:
        layout.read_config(digest)
    assert caught.value.code == "bundle.corrupt"


def test_a_missing_blob_is_named_and_the_bundle_does_not_exist(
    tmp_path: Path, files: dict[str, Path]
) -> None:
    layout = OciLayout(tmp_path / "bundles")
    digest = layout.write(files, CONFIG)
    assert layout.exists(digest)
    blob(layout, digests.of_bytes(b"more")).unlink()
    assert not layout.exists(digest)
    with pytest.raises(Permanent) as caught:
        layout.materialise(digest, tmp_path / "out")
    assert caught.value.code == "bundle.missing"


@pytest.mark.parametrize("digest", ["", "sha256:../../etc/passwd", "md5:" + "0" * 64])
def test_what_is_not_a_digest_names_no_file(tmp_path: Path, digest: str) -> None:
    layout = OciLayout(tmp_path)
    assert not layout.exists(digest)
    with pytest.raises(Permanent):
        layout.read_config(digest)


@pytest.mark.parametrize("path", ["/etc/passwd", "../up", "a/../../up", "", "a\\b"])
def test_a_path_may_not_leave_the_bundle(
    tmp_path: Path, files: dict[str, Path], path: str
) -> None:
    with pytest.raises(ValueError, match="relative path"):
        OciLayout(tmp_path / "b").write({path: files["model.onnx"]}, CONFIG)


def test_a_forged_manifest_cannot_write_outside_its_target(tmp_path: Path) -> None:
    layout = OciLayout(tmp_path / "bundles")
    layout._prepare()
    config = layout._store_bytes(b"{}")
    layer = {
        "digest": config,
        "size": 2,
        "annotations": {"org.opencontainers.image.title": "../x"},
    }
    manifest = {"config": {"digest": config, "size": 2}, "layers": [layer]}
    digest = layout._store_bytes(digests.canonical(manifest))
    with pytest.raises(Permanent) as caught:
        layout.materialise(digest, tmp_path / "out" / "bundle")
    assert caught.value.code == "bundle.corrupt"
    assert not (tmp_path / "out" / "x").exists()


def test_materialising_again_replaces_what_was_there(
    tmp_path: Path, files: dict[str, Path]
) -> None:
    layout = OciLayout(tmp_path / "bundles")
    digest = layout.write(files, CONFIG)
    layout.materialise(digest, tmp_path / "out")
    (tmp_path / "out" / "stale").write_text("old")
    layout.materialise(digest, tmp_path / "out")
    assert not (tmp_path / "out" / "stale").exists()
    assert {p.name for p in tmp_path.iterdir()} == {"bundles", "files", "out"}


def test_writers_at_the_same_time_lose_nothing(tmp_path: Path) -> None:
    layout = OciLayout(tmp_path / "bundles")
    (tmp_path / "f").write_bytes(b"same")
    with ThreadPoolExecutor(8) as pool:
        written = set(
            pool.map(lambda n: layout.write({"f": tmp_path / "f"}, {"n": n % 10}), range(40))
        )
    listed = json.loads((layout.root / "index.json").read_bytes())["manifests"]
    assert {m["digest"] for m in listed} == written
    assert len(written) == 10
    assert json.loads((layout.root / "oci-layout").read_bytes()) == {"imageLayoutVersion": "1.0.0"}


def test_a_bundle_moves_between_layouts_only_when_every_byte_is_right(
    tmp_path: Path, files: dict[str, Path]
) -> None:
    job, store = OciLayout(tmp_path / "job"), OciLayout(tmp_path / "store")
    digest = job.write(files, CONFIG)
    store.adopt(digest, job)
    assert store.exists(digest)
    other = job.write(files, CONFIG | {"schema": 3})
    blob(job, digests.of_bytes(digests.canonical(CONFIG | {"schema": 3}))).write_bytes(b"{}")
    with pytest.raises(Permanent):
        store.adopt(other, job)
    assert not store.exists(other)
