"""Keeping MLflow and the registry alike: a worker's pass over one model version.

1. "pending": MLflow lacks the version, or shows it otherwise than we do. Make the folder that
   MLflow's client loads; send its files; create the version under our number; then its
   description, tags and aliases. Each is looked for first, so a pass may die anywhere.
2. "adopting": MLflow has the files and we do not. Fetch them, as far as the time of one pass
   goes; read what they are; let `services.complete_adoption` record it.

Numbers agree because versions are created in order: a pass waits for the versions before its
own, and where one of those can never be mirrored, an empty version of MLflow's keeps its number.
"""

import shutil
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import datetime, timedelta
from pathlib import Path

import structlog

from apps.audit import selectors as ledger
from apps.audit.selectors import Search
from apps.registry import blobs, inspection, numbering, services
from apps.registry.domain import details as described
from apps.registry.domain import mirrored, names
from apps.registry.domain.details import Details
from apps.registry.domain.inspected import Inspected
from apps.registry.domain.kinds import Door, MirrorState
from apps.registry.models import Alias, ModelVersion, RegisteredModel
from apps.registry.ports import ModelStore, Package, StoredFile, StoredRun, StoredVersion
from controlplane.db.live import announce
from controlplane.db.reconcile import Claim
from controlplane.kernel import actor
from controlplane.kernel.digests import FileEntry
from controlplane.kernel.errors import ControlPlaneError, Invalid, Permanent, Transient

log = structlog.get_logger(__name__)

MIRROR = actor.worker("mirror")
SOON = timedelta(seconds=1)
MOST_FILES = 10_000


class VersionReconciler:
    """Runs passes over model versions; one per process."""

    def __init__(
        self,
        store: ModelStore,
        *,
        public_url: str,
        scratch: Path,
        upload_limit: int,
        seconds: float = 15.0,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        """Keep what passes need.

        Args:
            store: MLflow, or its like.
            public_url: Where people find the version's page.
            scratch: A folder for files on their way.
            upload_limit: The most bytes that a version may have.
            seconds: How long one pass may go on beginning new files.
            clock: Monotonic seconds.
        """
        self.store, self.public_url, self.scratch = store, public_url, scratch
        self.upload_limit, self.seconds, self.clock = upload_limit, seconds, clock

    def __call__(self, claim: Claim[ModelVersion], now: datetime) -> None:
        """Run one pass."""
        version = ModelVersion.objects.select_related("model__team").get(pk=claim.row.pk)
        match version.mirror_state:
            case MirrorState.ADOPTING:
                self._adopt(claim, version, now)
            case MirrorState.PENDING:
                self._mirror(claim, version, now)
            case _:
                claim.record(next_at=None, attempts=0)

    def park(self, claim: Claim[ModelVersion], error: ControlPlaneError, now: datetime) -> None:
        """Record why the version cannot go on, and keep its number free of strangers."""
        version = ModelVersion.objects.select_related("model__team").get(pk=claim.row.pk)
        problem = f"{error.sentence} {error.remedy}".strip()[:500]
        if version.mirror_state == MirrorState.ADOPTING:
            services.fail_adoption(actor=MIRROR, version_id=version.pk, problem=problem)
        claim.record(
            next_at=None, attempts=0, mirror_state=MirrorState.FAILED, mirror_problem=problem
        )
        self._keep_parked_numbers(version.model)
        announce(f"version/{version.public_id}")
        announce(f"model/{version.model.public_id}")
        announce("home")

    # From here to MLflow

    def _mirror(self, claim: Claim[ModelVersion], version: ModelVersion, now: datetime) -> None:
        stored = self.store.version(version.model.name, version.number)
        if stored is None:
            if not self._create(version):
                claim.record(next_at=now + SOON)
                return
            stored = self.store.version(version.model.name, version.number)
        if stored is None or not _is_ours(stored, version):
            raise _taken(version)
        if stored.tags.get(PLACEHOLDER) == "true" and not self._fill(version):
            claim.record(next_at=now)
            return
        self._describe(version)
        self._alias(version)
        _settle(claim, version, now)

    def _create(self, version: ModelVersion) -> bool:
        """Create the version in MLflow; return False when it must wait or time ran out."""
        place = self._upload(version)
        if not place:
            return False
        with numbering.held(version.model.name):
            created = self._number(version, place)
        self._keep_parked_numbers(version.model)
        return created

    def _upload(self, version: ModelVersion) -> str:
        """Send the version's files; return their place, or "" when time ran out."""
        place = self.store.reserve(
            version.public_id, name=version.model.name, number=version.number
        )
        began = self.clock()
        with self._folder(version, "mirror") as folder:
            for step in (self._materialise, self._package):
                done = folder / f"{step.__name__}.done"
                if not done.exists():
                    step(version, folder)
                    done.touch()
                # Gigabytes take their time: each step is a pass's work, and is kept.
                if self.clock() > began + self.seconds:
                    return ""
            if not self.store.upload(folder / "made", place, deadline=began + self.seconds):
                return ""
        self._forget(version, "mirror")
        return place

    def _materialise(self, version: ModelVersion, folder: Path) -> None:
        shutil.rmtree(folder / "files", ignore_errors=True)
        entries = [FileEntry(f.path, f.sha256, f.size) for f in version.files.order_by("path")]
        blobs.materialise(entries, folder / "files")

    def _package(self, version: ModelVersion, folder: Path) -> None:
        shutil.rmtree(folder / "made", ignore_errors=True)
        package = Package(
            files=folder / "files",
            format=version.format,
            inputs=version.inputs,
            outputs=version.outputs,
            requirements=mirrored.requirements(version.facts, version.framework),
        )
        self.store.package(package, folder / "made")
        shutil.rmtree(folder / "files")

    def _number(self, version: ModelVersion, place: str) -> bool:
        """Create the version under its own number; the caller holds the model's numbers."""
        name = version.model.name
        self.store.ensure_model(name, description=version.model.description)
        highest = self.store.highest_number(name)
        if highest >= version.number:
            return True  # somebody was first: the caller looks whose it is
        for number in range(highest + 1, version.number):
            if not self._keep_number(version.model, number):
                return False
        made = self.store.create_version(
            name, place=place, description=version.description, tags=self._tags(version)
        )
        if made != version.number:
            self.store.withdraw(name, made)
            raise _taken(version)
        return True

    def _keep_parked_numbers(self, model: RegisteredModel) -> None:
        """Have MLflow use up the numbers of parked versions that are next in line.

        Otherwise it would give one of them to the next version of its own. When this cannot be
        done now, the next version to be mirrored does it.
        """
        parked = ModelVersion.objects.filter(model=model, mirror_state=MirrorState.FAILED).exclude(
            door=Door.MLFLOW
        )
        numbers = set(parked.values_list("number", flat=True))
        if not numbers:
            return
        try:
            with numbering.held(model.name):
                self.store.ensure_model(model.name, description=model.description)
                following = self.store.highest_number(model.name) + 1
                while following in numbers and self._keep_number(model, following):
                    following += 1
        except ControlPlaneError as error:
            log.info("mirror.number_not_kept", model=model.name, problem=error.sentence)

    def _keep_number(self, model: RegisteredModel, number: int) -> bool:
        """Have MLflow use up `number`, which it lacks; return False to wait for its version."""
        row = ModelVersion.objects.filter(model=model, number=number).first()
        if row is not None and row.mirror_state in (MirrorState.PENDING, MirrorState.ADOPTING):
            return False
        key = row.public_id if row is not None else f"{model.public_id}-{number}"
        place = self.store.reserve(key, name=model.name, number=number)
        words = f"Modelyard keeps this number: {row.mirror_problem if row else 'unused'}"
        made = self.store.create_version(
            model.name, place=place, tags={PLACEHOLDER: "true", KEY: key}, description=words
        )
        if made != number:
            self.store.withdraw(model.name, made)
            raise Permanent(
                f"MLflow gave {model.name} the number {made} where {number} was next.",
                remedy="Somebody deleted versions in MLflow directly; register under a new name.",
                code="mlflow.numbers_differ",
            )
        return True

    def _fill(self, version: ModelVersion) -> bool:
        """Give a version that only kept its number its files, now that there are some."""
        if not self._upload(version):
            return False
        self.store.describe(
            version.model.name,
            version.number,
            description=version.description,
            tags={PLACEHOLDER: "filled"},
        )
        return True

    def _describe(self, version: ModelVersion) -> None:
        self.store.describe(
            version.model.name,
            version.number,
            description=version.description,
            tags=self._tags(version),
        )

    def _tags(self, version: ModelVersion) -> dict[str, str]:
        page = f"{self.public_url}/models/{version.model.name}/versions/{version.number}"
        return {
            **mirrored.tags(version.tags),
            KEY: version.public_id,
            "modelyard.manifest_digest": version.manifest_digest or "",
            "modelyard.url": page,
        }

    def _alias(self, version: ModelVersion) -> None:
        """Make the aliases of this version in MLflow what they are here.

        What MLflow shows beside that and what it was last seen to show is somebody's doing, past
        us: `discover` deals with it, so that it is recorded.
        """
        name, number = version.model.name, version.number
        rows = list(Alias.objects.filter(model=version.model).select_related("version"))
        stored = self.store.model(name)
        there = dict(stored.aliases) if stored is not None else {}
        for row in rows:
            seen = there.get(row.name)
            if row.version.number != number or seen not in (number, row.shown_number):
                continue
            if seen != number:
                self.store.set_alias(name, row.name, number)
            if row.shown_number != number:
                # Only if nobody has seen otherwise since: a late pass must not undo what it says.
                known = Alias.objects.filter(pk=row.pk, shown_number=row.shown_number)
                known.update(shown_number=number)
        here = {row.name for row in rows}
        for alias, target in there.items():
            if target == number and alias not in here and _was_ours(version.model, alias):
                self.store.remove_alias(name, alias)

    # From MLflow to here

    def _adopt(self, claim: Claim[ModelVersion], version: ModelVersion, now: datetime) -> None:
        location = self._locate(version)
        with self._folder(version, "adopt") as folder, _problems_park():
            if not self._fetch(location, folder):
                claim.record(next_at=now)
                return
            inspected = inspection.inspect_folder(folder)
            files = blobs.put_folder(folder)
        run = self._run(version, inspected)
        # Pending, not mirrored: the next pass tells MLflow the digest and the page.
        adopted = services.complete_adoption(
            actor=MIRROR,
            version_id=version.pk,
            files=files,
            inspected=inspected,
            details=_details(run),
            mirror_state=MirrorState.PENDING,
        )
        self._forget(version, "adopt")
        claim.record(next_at=now, attempts=0)
        log.info("mirror.adopted", version=adopted.public_id, digest=adopted.manifest_digest)

    def _locate(self, version: ModelVersion) -> str:
        if version.door == Door.MLFLOW:
            stored = self.store.version(version.model.name, version.number)
            if stored is None:
                raise Permanent(
                    f"MLflow no longer has version {version.number} of {version.model.name}.",
                    remedy="Somebody deleted it in MLflow directly; register the model again.",
                    code="mlflow.version_gone",
                )
            return self.store.locate(stored)
        run_id, _, path = version.source.removeprefix("runs:/").partition("/")
        return self.store.locate_run_model(run_id, path)

    def _fetch(self, location: str, folder: Path) -> bool:
        """Fetch every file below `location`; return False when time ran out first."""
        began = self.clock()
        for file in self._checked(self.store.files(location), location):
            target = folder / file.path
            have = target.stat().st_size if target.exists() else -1
            if have == file.size:
                continue
            target.parent.mkdir(parents=True, exist_ok=True)
            if have > file.size:
                target.unlink()
            with blobs.full_disk_said_clearly(), target.open("ab") as out:
                for chunk in self.store.fetch(location, file.path, offset=out.tell()):
                    out.write(chunk)
                    if self.clock() > began + self.seconds:
                        return False
            if target.stat().st_size != file.size:
                target.unlink()
                raise Transient(f"{file.path} changed while it was read.", code="mlflow.changed")
        return True

    def _checked(self, files: list[StoredFile], location: str) -> list[StoredFile]:
        if not files:
            raise Permanent(
                "The version has no files in MLflow.",
                remedy="Log the model again; its upload may have been cut off.",
                code="mlflow.no_files",
            )
        if len(files) > MOST_FILES or sum(f.size for f in files) > self.upload_limit:
            raise Permanent(
                f"The version has {len(files)} files and {sum(f.size for f in files)} bytes, "
                f"more than {MOST_FILES} files or {self.upload_limit} bytes.",
                remedy="Log a smaller model, or raise MODELYARD_UPLOAD_LIMIT.",
                code="upload.too_large",
            )
        for file in files:
            if names.file_path(file.path) != file.path:
                raise Permanent(
                    f"{file.path[:120]!r} is no clean path.", code="archive.path_traversal"
                )
        return files

    def _run(self, version: ModelVersion, inspected: Inspected) -> StoredRun | None:
        run_id = version.run_id or inspected.run_id
        return self.store.run(run_id) if run_id else None

    # Files on their way

    @contextmanager
    def _folder(self, version: ModelVersion, purpose: str) -> Iterator[Path]:
        """Yield a folder that lasts until `_forget`, or until the files turn out unusable."""
        folder = self._path(version, purpose)
        folder.mkdir(parents=True, exist_ok=True)
        try:
            yield folder
        except ControlPlaneError as error:
            if not isinstance(error, Transient):
                self._forget(version, purpose)
            raise

    def _forget(self, version: ModelVersion, purpose: str) -> None:
        shutil.rmtree(self._path(version, purpose), ignore_errors=True)

    def _path(self, version: ModelVersion, purpose: str) -> Path:
        return self.scratch / f".{purpose}-{version.public_id}"


KEY = "modelyard.version"
PLACEHOLDER = "modelyard.placeholder"


@contextmanager
def _problems_park() -> Iterator[None]:
    """Turn what is wrong with the files into `Permanent`, which parks the row with its reason."""
    try:
        yield
    except Invalid as error:
        raise Permanent(error.sentence, remedy=error.remedy, code=error.code) from error


def _was_ours(model: RegisteredModel, alias: str) -> bool:
    """Return whether the last thing that happened to the alias is that we took it away."""
    acts = ledger.events(Search(target=f"model/{model.public_id}", verb="registry.alias"))
    last = acts.filter(subject=f"{model.name}@{alias}").first()
    return last is not None and "version" not in last.after


def _is_ours(stored: StoredVersion, version: ModelVersion) -> bool:
    if version.door == Door.MLFLOW:
        return stored.source[:500] == version.source
    return stored.tags.get(KEY) == version.public_id


def _taken(version: ModelVersion) -> Permanent:
    return Permanent(
        f"MLflow already uses the number {version.number} of {version.model.name} "
        "for another version.",
        remedy="It was registered in MLflow directly; the MLflow client cannot load ours. "
        "Register ours again to get a number that is free in both.",
        code="mlflow.number_taken",
    )


def _settle(claim: Claim[ModelVersion], version: ModelVersion, now: datetime) -> None:
    """Record "mirrored", unless the version has changed since the pass began reading it."""
    rows = ModelVersion.objects.filter(
        pk=version.pk, lease_token=claim.token, changed_at=version.changed_at
    )
    settled = rows.update(
        mirror_state=MirrorState.MIRRORED,
        mirror_problem="",
        next_reconcile_at=None,
        lease_token=None,
        lease_expires_at=None,
        attempts=0,
    )
    if not settled:
        claim.record(next_at=now)
        return
    announce(f"version/{version.public_id}")
    announce(f"model/{version.model.public_id}")


def _details(run: StoredRun | None) -> Details | None:
    if run is None:
        return None
    return Details(
        metrics=described.finite(run.metrics),
        params=mirrored.words(run.params),
        tags=mirrored.words(mirrored.of_people(run.tags)),
        dataset=run.dataset[:200],
        dataset_digest=run.dataset_digest[:80],
        trained_at=run.ended_at,
        run_id=run.run_id[:64],
        git_commit=run.tags.get("mlflow.source.git.commit", "")[:64],
    )
