"""The mirror against a store that may be told to fail, and whose every write may be its last."""

import itertools
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from pytest_django.fixtures import Settings

from apps.registry import blobs, services
from apps.registry.discover import Discovery
from apps.registry.domain.details import Details
from apps.registry.domain.inspected import Inspected
from apps.registry.domain.kinds import Format
from apps.registry.models import Alias, ModelVersion, RegisteredModel
from apps.registry.ports import StoredRun
from apps.registry.reconcile import VersionReconciler
from controlplane.drivers.memory.model_store import MemoryModelStore
from controlplane.kernel.actor import Role
from controlplane.kernel.errors import Transient
from tests import factories
from tests.integration.door import passes
from workers import loop

pytestmark = pytest.mark.django_db(transaction=True)

MLMODEL = b"flavors: {python_function: {loader_module: mlflow.sklearn, python_version: 3.11.7}}\n"
DAYS = itertools.count(1)
ADA = factories.actor_with(Role.ADMIN, name="ada")


@pytest.fixture(autouse=True)
def _blobs_aside(settings: Settings, tmp_path: Path) -> None:
    settings.UPLOAD_ROOT = tmp_path / "uploads"
    settings.STORAGES = {
        **settings.STORAGES,
        "blobs": {
            "BACKEND": "apps.registry.blobs.BlobFolder",
            "OPTIONS": {"location": str(tmp_path / "blobs")},
        },
    }


@pytest.fixture
def store() -> MemoryModelStore:
    return MemoryModelStore()


@pytest.fixture
def mirror(store: MemoryModelStore, tmp_path: Path) -> VersionReconciler:
    return VersionReconciler(
        store, public_url="http://here", scratch=tmp_path / "scratch", upload_limit=10_000_000
    )


def test_versions_keep_their_numbers_whichever_is_seen_first(
    store: MemoryModelStore, mirror: VersionReconciler, tmp_path: Path
) -> None:
    for number in (1, 2, 3):
        registered(tmp_path, number)
    ModelVersion.objects.filter(number=1).update(
        next_reconcile_at=datetime.now(UTC) + timedelta(hours=12)
    )
    passes(mirror, most=60)
    assert states() == {1: "mirrored", 2: "mirrored", 3: "mirrored"}
    for version in ModelVersion.objects.all():
        tags = store.versions["scorer", version.number].tags
        assert tags["modelyard.manifest_digest"] == version.manifest_digest
        assert tags["modelyard.url"] == f"http://here/models/scorer/versions/{version.number}"


@pytest.mark.parametrize("way", ["die_before", "die_after"])
def test_dying_at_any_write_ends_the_same(
    way: str, store: MemoryModelStore, mirror: VersionReconciler, tmp_path: Path
) -> None:
    for number in (1, 2):
        registered(tmp_path, number)
    services.move_alias(actor=ADA, model="scorer", alias="candidate", number=2)
    write = 0
    while set(states().values()) != {"mirrored"}:
        write += 1
        assert write < 200
        setattr(store, way, store.writes + 1)
        passes_once(mirror)
        setattr(store, way, None)
        passes_once(mirror)
    assert {n for _, n in store.versions} == {1, 2}
    assert dict(store.models["scorer"].aliases) == {"candidate": 2}
    assert len(store.places) == 2


def test_a_stranger_s_number_parks_the_version_with_the_reason(
    store: MemoryModelStore, mirror: VersionReconciler, tmp_path: Path
) -> None:
    stranger(store, "scorer", number=1)
    registered(tmp_path, 1)
    passes(mirror)
    version = ModelVersion.objects.get()
    assert version.mirror_state == "failed"
    assert "already uses the number 1" in version.mirror_problem
    assert "Register ours again" in version.mirror_problem


def test_a_version_that_cannot_be_packed_keeps_its_number(
    store: MemoryModelStore, mirror: VersionReconciler, tmp_path: Path
) -> None:
    first, second = registered(tmp_path, 1), registered(tmp_path, 2)
    lost = second.files.get().sha256
    path = blobs.local_path(lost)
    assert path is not None
    content = path.read_bytes()
    path.unlink()
    passes(mirror)
    registered(tmp_path, 3)
    passes(mirror)
    assert states() == {1: "mirrored", 2: "failed", 3: "mirrored"}
    assert "is not in the store" in ModelVersion.objects.get(number=2).mirror_problem
    assert store.versions["scorer", 2].tags["modelyard.placeholder"] == "true"
    # Once the blob is back, asking again fills the placeholder.
    path.write_bytes(content)
    services.edit_version(actor=ADA, model="scorer", number=2, changes={"description": "again"})
    passes(mirror)
    assert states()[2] == "mirrored"
    version = store.versions["scorer", 2]
    assert version.description == "again"
    assert "MLmodel" in store.places[version.source.removeprefix("models:/")]
    assert first.number == 1


def test_a_change_in_the_middle_of_a_pass_is_not_lost(
    store: MemoryModelStore, mirror: VersionReconciler, tmp_path: Path
) -> None:
    registered(tmp_path, 1)
    describe = store.describe

    def and_meanwhile(*given: object, **named: object) -> None:
        describe(*given, **named)  # type: ignore[arg-type]
        store.describe = describe  # type: ignore[method-assign]
        services.move_alias(actor=ADA, model="scorer", alias="late", number=1)

    store.describe = and_meanwhile  # type: ignore[method-assign]
    model = store.model
    store.model = lambda name: None  # type: ignore[method-assign, assignment]
    passes_once(mirror)
    store.model = model  # type: ignore[method-assign]
    assert states() == {1: "pending"}
    passes(mirror)
    assert dict(store.models["scorer"].aliases) == {"late": 1}


def test_adopting_reads_files_run_and_signature(
    store: MemoryModelStore, mirror: VersionReconciler
) -> None:
    RegisteredModel.objects.create(name="scorer", team=factories.team(), created_by="ada")
    stranger(store, "scorer", number=1, files={"MLmodel": MLMODEL, "model.pkl": b"\x80\x04N."})
    store.runs["r1"] = StoredRun(
        "r1",
        metrics={"auc": 0.9, "broken": float("nan")},
        params={"C": "1"},
        tags={"mlflow.source.git.commit": "abc123", "team": "x"},
        dataset="cells",
        dataset_digest="d1",
        ended_at=datetime(2026, 1, 2, tzinfo=UTC),
    )
    services.adopt(actor=ADA, model="scorer", number=1, run_id="r1", source="models:/s-1")
    passes(mirror)
    version = ModelVersion.objects.get()
    assert (version.mirror_state, version.mirror_problem) == ("mirrored", "")
    assert version.manifest_digest is not None
    assert version.metrics == {"auc": 0.9}
    assert version.params == {"C": "1"}
    assert version.tags == {"team": "x"}
    assert (version.dataset, version.dataset_digest) == ("cells", "d1")
    assert version.git_commit == "abc123"
    assert version.trained_at == datetime(2026, 1, 2, tzinfo=UTC)
    assert [f.path for f in version.files.order_by("path")] == ["MLmodel", "model.pkl"]
    tags = store.versions["scorer", 1].tags
    assert tags["modelyard.manifest_digest"] == version.manifest_digest


def test_adopting_goes_on_where_time_ran_out(store: MemoryModelStore, tmp_path: Path) -> None:
    RegisteredModel.objects.create(name="scorer", team=factories.team(), created_by="ada")
    stranger(store, "scorer", number=1, files={"MLmodel": MLMODEL, "big.bin": bytes(100)})
    seconds = iter(range(100_000))
    slow = VersionReconciler(
        store,
        public_url="http://here",
        scratch=tmp_path / "scratch",
        upload_limit=10_000_000,
        seconds=10,
        clock=lambda: float(next(seconds)),
    )
    services.adopt(actor=ADA, model="scorer", number=1, source="models:/s-1")
    assert passes(slow) > 3
    assert states() == {1: "mirrored"}
    assert not list((tmp_path / "scratch").iterdir())


def test_mirroring_goes_on_where_time_ran_out(store: MemoryModelStore, tmp_path: Path) -> None:
    seconds = itertools.count()
    slow = VersionReconciler(
        store,
        public_url="http://here",
        scratch=tmp_path / "scratch",
        upload_limit=10_000_000,
        seconds=0.5,
        clock=lambda: float(next(seconds)),
    )
    store.upload = unhurried(store.upload)  # type: ignore[method-assign]
    registered(tmp_path, 1)
    for _ in range(2):  # materialised, then packed: each ends its pass
        passes_once(slow)
        assert states() == {1: "pending"}
        assert not store.versions
    slow.seconds = 1000
    passes_once(slow)
    assert states() == {1: "mirrored"}
    assert not list((tmp_path / "scratch").iterdir())


@pytest.mark.parametrize(
    ("files", "words"),
    [
        ({}, "no files"),
        ({"../../x": b"1", "MLmodel": MLMODEL}, "leads out"),
        ({"/etc/x": b"1"}, "leads out"),
        ({"a//b": b"1"}, "no clean path"),
        ({"MLmodel": b"flavors: [not a mapping"}, ""),
        ({"big": bytes(10_000_001)}, "more than"),
    ],
)
def test_files_that_cannot_be_adopted_say_why(
    store: MemoryModelStore,
    mirror: VersionReconciler,
    files: dict[str, bytes],
    words: str,
    tmp_path: Path,
) -> None:
    RegisteredModel.objects.create(name="scorer", team=factories.team(), created_by="ada")
    stranger(store, "scorer", number=1, files=files)
    services.adopt(actor=ADA, model="scorer", number=1, source="models:/s-1")
    passes(mirror)
    version = ModelVersion.objects.get()
    assert version.mirror_state == "failed"
    assert words in version.mirror_problem
    assert version.manifest_digest is None
    assert not list(tmp_path.rglob("x"))


def test_a_run_s_model_gets_our_number_and_then_mlflow_s(
    store: MemoryModelStore, mirror: VersionReconciler
) -> None:
    RegisteredModel.objects.create(name="scorer", team=factories.team(), created_by="ada")
    store.places["logged"] = {"MLmodel": MLMODEL}
    store.run_models["abc", "model"] = "logged"
    services.register_run(
        actor=ADA, model="scorer", run_id="abc", artifact_path="model", details=Details()
    )
    passes(mirror)
    assert states() == {1: "mirrored"}
    assert store.versions["scorer", 1].tags["modelyard.version"]


def test_a_run_without_that_model_is_parked_and_keeps_its_number(
    store: MemoryModelStore, mirror: VersionReconciler, tmp_path: Path
) -> None:
    RegisteredModel.objects.create(name="scorer", team=factories.team(), created_by="ada")
    services.register_run(
        actor=ADA, model="scorer", run_id="abc", artifact_path="model", details=Details()
    )
    passes(mirror)
    assert "logged no model" in ModelVersion.objects.get().mirror_problem
    registered(tmp_path, 2)
    passes(mirror)
    assert states() == {1: "failed", 2: "mirrored"}


def test_what_came_in_behind_our_back_is_found(
    store: MemoryModelStore, mirror: VersionReconciler
) -> None:
    factories.team(slug="first")
    stranger(store, "theirs", number=1, files={"MLmodel": MLMODEL})
    store.set_alias("theirs", "live", 1)
    look = Discovery(store)
    assert look(datetime.now(UTC)) == 1
    passes(mirror)
    assert ModelVersion.objects.get().registered_by == "MLflow"
    assert states() == {1: "mirrored"}
    assert look(datetime.now(UTC)) == 0
    assert look(datetime.now(UTC) + timedelta(minutes=6)) == 0
    passes(mirror)
    assert [(a.name, a.version.number) for a in Alias.objects.all()] == [("live", 1)]


def test_a_look_that_finds_mlflow_down_is_repeated(store: MemoryModelStore) -> None:
    factories.team(slug="first")
    stranger(store, "theirs", number=1, files={"MLmodel": MLMODEL})
    look = Discovery(store)
    changed = store.versions_changed_since
    store.versions_changed_since = down  # type: ignore[method-assign, assignment]
    assert look(datetime.now(UTC)) == 0
    store.versions_changed_since = changed  # type: ignore[method-assign]
    assert look(datetime.now(UTC)) == 1


def test_names_that_are_not_allowed_here_stay_there(store: MemoryModelStore) -> None:
    factories.team(slug="first")
    stranger(store, "not allowed", number=1, files={"MLmodel": MLMODEL})
    assert Discovery(store)(datetime.now(UTC)) == 0
    assert not RegisteredModel.objects.exists()


def down(at_ms: int) -> None:
    raise Transient("MLflow does not answer.", code="mlflow.down")


def unhurried(upload: Callable[..., bool]) -> Callable[..., bool]:
    """Return `upload` without a deadline: the test's clock is not the machine's."""
    return lambda folder, place, *, deadline: upload(folder, place, deadline=float("inf"))


def registered(tmp_path: Path, number: int) -> ModelVersion:
    """Return version `number` of "scorer", registered by REST."""
    if not RegisteredModel.objects.filter(name="scorer").exists():
        services.create_model(actor=ADA, name="scorer", team=factories.team().slug)
    folder = tmp_path / f"files-{number}"
    folder.mkdir()
    (folder / "model.json").write_text(f'{{"number": {number}}}')
    version = services.register_files(
        actor=ADA,
        model="scorer",
        files=blobs.put_folder(folder),
        inspected=Inspected(Format.XGBOOST),
        details=Details(),
    ).version
    assert version.number == number
    return version


def stranger(
    store: MemoryModelStore, name: str, *, number: int, files: dict[str, bytes] | None = None
) -> None:
    """Put a version into the store that nobody registered here."""
    store.ensure_model(name)
    store.places[f"s-{number}"] = dict(files or {})
    assert store.create_version(name, place=f"s-{number}", tags={}) == number


def states() -> dict[int, str]:
    return dict(ModelVersion.objects.values_list("number", "mirror_state"))


def passes_once(mirror: VersionReconciler) -> None:
    """Run one sweep over whatever is due; every call is a day later than the one before."""
    kind = loop.Kind(ModelVersion, lambda: mirror)
    later = datetime.now(UTC) + timedelta(days=next(DAYS))
    loop.sweep(kind, now=lambda: later)
