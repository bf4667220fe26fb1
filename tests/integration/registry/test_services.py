"""Registering, adopting, learning: what happens twice, at once, and on a full disk."""

import errno
import io
import os
import tarfile
import threading
import zipfile
from collections.abc import Callable
from datetime import timedelta
from pathlib import Path
from typing import Any

import joblib
import pytest
from django.core.files.uploadedfile import SimpleUploadedFile
from django.db import connections
from sklearn.linear_model import LogisticRegression

from apps.accounts.models import Person
from apps.audit.models import AuditEvent
from apps.registry import blobs, selectors, services
from apps.registry.domain.details import Details
from apps.registry.domain.inspected import Inspected
from apps.registry.domain.kinds import Door, Format, MirrorState
from apps.registry.models import ModelVersion, RegisteredModel, Upload, VersionFile
from apps.registry.services import UploadedPath
from controlplane.kernel.actor import Actor, worker
from controlplane.kernel.clock import SystemClock
from controlplane.kernel.digests import FileEntry
from controlplane.kernel.errors import Conflict, Denied, Invalid
from tests import factories

pytestmark = pytest.mark.django_db
WORKER = worker("tests")
SKLEARN = Inspected(Format.SKLEARN, framework="scikit-learn 1.9.1")
MLMODEL = b"""flavors:
  python_function: {loader_module: mlflow.sklearn}
  sklearn: {pickled_model: model.pkl, sklearn_version: 1.9.1}
run_id: 0123456789abcdef0123456789abcdef
"""


@pytest.fixture
def actor() -> Actor:
    return factories.actor_of(factories.person(role="contributor"))


@pytest.fixture
def model() -> RegisteredModel:
    return factories.model(name="card-fraud")


def kept(actor: Actor, content: bytes, name: str = "m.joblib") -> UploadedPath:
    file = SimpleUploadedFile(name, content)
    return UploadedPath(services.keep_uploaded_file(actor=actor, file=file).public_id)


def register(actor: Actor, *uploads: UploadedPath) -> services.Registered:
    return services.register_version(
        actor=actor, model="card-fraud", uploads=uploads, details=Details()
    )


def trained(how: Any = 0) -> bytes:
    held = io.BytesIO()
    joblib.dump(LogisticRegression().fit([[0.0], [1.0], [2.0]], [0, 1, 1]), held, compress=how)
    return held.getvalue()


def entry(content: bytes, path: str = "model.pkl") -> FileEntry:
    return blobs.put_stream(io.BytesIO(content), path=path)


def tar_of(files: dict[str, bytes], mode: str = "w:gz") -> bytes:
    held = io.BytesIO()
    with tarfile.open(fileobj=held, mode=mode) as archive:  # type: ignore[call-overload]
        for name, content in files.items():
            info = tarfile.TarInfo(name)
            info.size = len(content)
            archive.addfile(info, io.BytesIO(content))
    return held.getvalue()


def zip_of(files: dict[str, bytes]) -> bytes:
    held = io.BytesIO()
    with zipfile.ZipFile(held, "w") as archive:
        for name, content in files.items():
            archive.writestr(name, content)
    return held.getvalue()


# --- registering ------------------------------------------------------------------------------


@pytest.mark.parametrize("how", [0, 3, ("gzip", 3), ("bz2", 3), ("xz", 3)])
def test_a_joblib_file_registers_however_it_is_compressed(
    actor: Actor, model: RegisteredModel, how: Any
) -> None:
    version = register(actor, kept(actor, trained(how))).version
    assert version.format == "sklearn"
    assert version.inputs[0]["shape"] == [-1, 1]
    assert selectors.manifest(version.pk)[0].path == "m.joblib"


@pytest.mark.parametrize(
    "pack", [zip_of, tar_of, lambda f: tar_of(f, "w"), lambda f: tar_of(f, "w:xz")]
)
def test_an_mlflow_folder_registers_from_any_archive(
    actor: Actor, model: RegisteredModel, pack: Callable[[dict[str, bytes]], bytes]
) -> None:
    folder = {"model/MLmodel": MLMODEL, "model/model.pkl": trained(),
              "model/requirements.txt": b"scikit-learn==1.9.1\n"}  # fmt: skip
    version = register(actor, kept(actor, pack(folder), "model.bin")).version
    assert version.format == "mlflow"
    assert version.run_id == "0123456789abcdef0123456789abcdef"
    assert version.facts["requirements"] == ["scikit-learn==1.9.1"]
    files = selectors.manifest(version.pk)
    assert [f.path for f in files] == ["MLmodel", "model.pkl", "requirements.txt"]


def test_the_same_folder_packed_differently_is_the_same_version(
    actor: Actor, model: RegisteredModel
) -> None:
    folder = {"MLmodel": MLMODEL, "model.pkl": trained()}
    first = register(actor, kept(actor, zip_of(folder), "a.zip"))
    again = register(actor, kept(actor, tar_of(folder), "a.tar.gz"))
    assert (again.created, again.version) == (False, first.version)


def test_an_unsafe_archive_leaves_nothing(actor: Actor, model: RegisteredModel) -> None:
    upload = kept(actor, zip_of({"MLmodel": MLMODEL, "../../etc/cron.d/x": b"x"}), "a.zip")
    with pytest.raises(Invalid) as refused:
        register(actor, upload)
    assert refused.value.code == "archive.path_traversal"
    assert not ModelVersion.objects.exists()
    assert not VersionFile.objects.exists()


def test_several_uploads_make_one_version(actor: Actor, model: RegisteredModel) -> None:
    first, second = kept(actor, MLMODEL, "MLmodel"), kept(actor, trained(), "x")
    version = register(actor, first, UploadedPath(second.upload, "data/model.pkl")).version
    assert [f.path for f in selectors.manifest(version.pk)] == ["MLmodel", "data/model.pkl"]
    with pytest.raises(Invalid, match="Two of the files"):
        register(actor, first, UploadedPath(second.upload, "MLmodel"))


def test_a_registration_asks_for_its_mirror(
    actor: Actor, model: RegisteredModel, django_capture_on_commit_callbacks: Any
) -> None:
    with django_capture_on_commit_callbacks() as callbacks:
        version = register(actor, kept(actor, trained())).version
    assert callbacks
    assert version.mirror_state == MirrorState.PENDING
    assert version.next_reconcile_at is not None


def test_a_viewer_may_not_register(model: RegisteredModel) -> None:
    somebody = factories.person(role="viewer")
    with pytest.raises(Denied):
        services.register_files(
            actor=factories.actor_of(somebody), model="card-fraud",
            files=[entry(b"x")], inspected=SKLEARN, details=Details(),
        )  # fmt: skip


@pytest.mark.django_db(transaction=True)
def test_registering_at_once_gives_one_version_per_content() -> None:
    factories.model(name="card-fraud")
    contents = [b"a", b"b", b"a", b"b", b"a", b"c", b"a", b"b"]
    files = [[entry(content)] for content in contents]
    results: list[services.Registered] = []
    begin = threading.Barrier(len(files))

    def work(manifest: list[FileEntry]) -> None:
        begin.wait()
        try:
            results.append(
                services.register_files(
                    actor=WORKER,
                    model="card-fraud",
                    files=manifest,
                    inspected=SKLEARN,
                    details=Details(),
                )
            )
        finally:
            connections.close_all()

    threads = [threading.Thread(target=work, args=[manifest]) for manifest in files]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sum(r.created for r in results) == 3
    assert sorted(ModelVersion.objects.values_list("number", flat=True)) == [1, 2, 3]
    model = RegisteredModel.objects.get()
    assert (model.next_number, model.version_count, model.latest_number) == (4, 3, 3)
    assert AuditEvent.objects.filter(verb="registry.version.register").count() == 3


# --- a full disk ------------------------------------------------------------------------------


def full(*args: Any, **kwargs: Any) -> None:
    raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))


def test_a_full_disk_registers_nothing_and_keeps_the_upload(
    actor: Actor, model: RegisteredModel, monkeypatch: pytest.MonkeyPatch
) -> None:
    with monkeypatch.context() as patch:
        patch.setattr(blobs.BlobFolder, "link", full)
        with pytest.raises(blobs.StorageFull) as refused:
            kept(actor, trained())
    assert refused.value.code == "storage.full"
    upload = Upload.objects.get()
    assert upload.state == "open"
    assert not list(Path(blobs._store().location).rglob("*.*"))  # type: ignore[attr-defined]
    services.finish_upload(actor=actor, public_id=upload.public_id)
    assert register(actor, UploadedPath(upload.public_id)).created


def test_a_file_that_cannot_fit_is_refused_before_it_is_sent(
    actor: Actor, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("shutil.disk_usage", lambda _: type("Usage", (), {"free": 10**6}))
    with pytest.raises(blobs.StorageFull):
        services.begin_upload(actor=actor, filename="m.onnx", size=10**6)


# --- blobs ------------------------------------------------------------------------------------


def test_equal_bytes_are_kept_once(tmp_path: Path) -> None:
    first, again = entry(b"same", "a"), entry(b"same", "b")
    assert first.sha256 == again.sha256
    root = Path(blobs._store().location)  # type: ignore[attr-defined]
    assert len([p for p in root.rglob("*") if p.is_file()]) == 1


def test_a_damaged_blob_is_not_handed_out(tmp_path: Path) -> None:
    kept_entry = entry(b"bytes")
    path = blobs.local_path(kept_entry.sha256)
    assert path is not None
    path.write_bytes(b"other")
    with pytest.raises(Exception, match="damaged") as refused:
        blobs.materialise([kept_entry], tmp_path / "out")
    assert refused.value.code == "storage.damaged"  # type: ignore[attr-defined]
    assert not (tmp_path / "out" / "model.pkl").exists()


def test_only_old_blobs_that_nobody_names_are_dropped(
    actor: Actor, model: RegisteredModel
) -> None:
    named = factories.version(model=model, files={"a": b"named"})
    upload = kept(actor, trained())
    loose = entry(b"loose")
    now = SystemClock().now()
    assert blobs.drop_unused(now=now) == 0
    assert blobs.drop_unused(now=now + timedelta(hours=25)) == 1
    assert not blobs.exists(loose.sha256)
    assert blobs.exists(selectors.manifest(named.pk)[0].sha256)
    assert register(actor, upload).created


def test_expired_uploads_are_dropped_with_their_bytes(actor: Actor) -> None:
    upload = services.begin_upload(actor=actor, filename="m.onnx", size=10)
    services.part_path(upload).write_bytes(b"12345")
    assert services.drop_expired(now=SystemClock().now()) == 0
    assert services.drop_expired(now=SystemClock().now() + timedelta(days=2)) == 1
    assert not services.part_path(upload).exists()


# --- adopting ---------------------------------------------------------------------------------


def test_an_adopted_version_keeps_its_number_and_ours_stay_ahead(actor: Actor) -> None:
    factories.team(slug="risk")
    adopted = services.adopt(actor=actor, model="churn", number=7, source="models:/m-1")
    again = services.adopt(actor=actor, model="churn", number=7)
    assert (adopted.created, again.created) == (True, False)
    assert again.version == adopted.version
    assert adopted.version.mirror_state == MirrorState.ADOPTING
    ours = services.register_files(
        actor=actor, model="churn", files=[entry(b"x")], inspected=SKLEARN, details=Details()
    )
    assert ours.version.number == 8


def test_completing_an_adoption_fills_in_what_was_not_said(actor: Actor) -> None:
    factories.team(slug="risk")
    version = services.adopt(
        actor=actor, model="churn", number=1, description="mine", tags={"a": "1"}
    ).version
    done = services.complete_adoption(
        actor=WORKER, version_id=version.pk, files=[entry(b"x")], inspected=SKLEARN,
        details=Details(description="theirs", tags={"a": "2", "b": "3"}, metrics={"auc": 0.9}),
    )  # fmt: skip
    assert (done.description, done.tags) == ("mine", {"a": "1", "b": "3"})
    assert (done.metrics, done.format) == ({"auc": 0.9}, "sklearn")
    assert done.mirror_state == MirrorState.MIRRORED
    again = services.complete_adoption(
        actor=WORKER, version_id=version.pk, files=[entry(b"y")], inspected=SKLEARN
    )
    assert again.manifest_digest == done.manifest_digest


def test_the_same_bytes_under_two_numbers_of_mlflow_are_told_apart(actor: Actor) -> None:
    factories.team(slug="risk")
    for number in (1, 2):
        version = services.adopt(actor=actor, model="churn", number=number).version
        services.complete_adoption(
            actor=WORKER, version_id=version.pk, files=[entry(b"x")], inspected=SKLEARN
        )
    rows = ModelVersion.objects.order_by("number")
    assert [row.duplicate_of for row in rows] == [None, 1]
    again = services.register_files(
        actor=actor, model="churn", files=[entry(b"x")], inspected=SKLEARN, details=Details()
    )
    assert (again.created, again.version.number) == (False, 1)


def test_a_number_of_ours_that_mlflow_lacks_cannot_be_adopted(
    actor: Actor, model: RegisteredModel
) -> None:
    services.register_files(
        actor=actor, model="card-fraud", files=[entry(b"x")], inspected=SKLEARN, details=Details()
    )
    with pytest.raises(Conflict) as refused:
        services.adopt(actor=actor, model="card-fraud", number=1)
    assert refused.value.code == "registry.number_taken"


def test_a_run_waits_for_its_files_and_may_fail(actor: Actor, model: RegisteredModel) -> None:
    registered = services.register_run(
        actor=actor, model="card-fraud", run_id="a" * 32, artifact_path="model",
        details=Details(), door=Door.BROWSER,
    )  # fmt: skip
    failed = services.fail_adoption(
        actor=WORKER, version_id=registered.version.pk, problem="There is no such run."
    )
    assert (failed.mirror_state, failed.mirror_problem) == ("failed", "There is no such run.")


# --- what builds report -----------------------------------------------------------------------


def test_learning_fills_only_what_is_empty(model: RegisteredModel) -> None:
    shape: Any = {"name": "input", "datatype": "FP32", "shape": [-1, 4]}
    other: Any = {"name": "x", "datatype": "FP64", "shape": [-1, 9]}
    version = factories.version(model=model, inputs=[shape], facts={"features": 4})
    learnt = services.learn(
        actor=WORKER, version_id=version.pk, inputs=[other], outputs=[other],
        framework="scikit-learn 1.9.1", facts={"features": 9, "classes": 2},
    )  # fmt: skip
    assert learnt.inputs == [shape]
    assert learnt.outputs == [other]
    assert learnt.facts == {"features": 4, "classes": 2}
    assert learnt.framework == "scikit-learn 1.9.1"


def test_a_verdict_moves_the_version_once(model: RegisteredModel) -> None:
    version = factories.version(model=model)
    for _ in range(2):
        services.validate(actor=WORKER, version_id=version.pk, reason="proved")
    assert AuditEvent.objects.filter(verb="registry.version.validate").count() == 1
    rejected = services.reject(actor=WORKER, version_id=version.pk, reason="unsafe pickle")
    assert rejected.state == "rejected"
    somebody: Person = factories.person(role="contributor")
    with pytest.raises(Conflict):
        services.move_alias(
            actor=factories.actor_of(somebody), model=model.name, alias="candidate", number=1
        )
