"""Finding what happened in MLflow behind our back: by its own port, or while the door was shut.

New versions are cheap to find: MLflow lists its latest changes first, and the walk ends at the
first that was seen before. The mark lies in this process; a new process walks everything once.
Aliases leave no such trace: they are all compared, as often as is cheap.
"""

import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from itertools import islice
from typing import TypeVar

import structlog
from django.db.models import Q

from apps.registry import services
from apps.registry.domain import mirrored
from apps.registry.domain.drift import Known, drifts, lagging
from apps.registry.domain.kinds import MirrorState
from apps.registry.models import Alias, ModelVersion, RegisteredModel
from apps.registry.ports import ModelStore, StoredModel, StoredVersion
from apps.registry.reconcile import MIRROR
from controlplane.kernel.clock import SystemClock
from controlplane.kernel.errors import ControlPlaneError, Transient

log = structlog.get_logger(__name__)

YOUNG = timedelta(seconds=5)  # the door may be about to adopt these itself, naming who sent them
LOOK_BACK_MS = 60_000  # changes may become visible later than their time says
# Moving an alias leaves no trace in MLflow's times, so every model is looked at, as often as
# that takes a twentieth of the time: a thousand models take half a second.
SHARE_OF_TIME = 20
RARELY = timedelta(minutes=5)
OVERDUE = timedelta(seconds=15)  # nobody waits longer for a MLflow that answers
BATCH = 200

Found = TypeVar("Found")


@dataclass
class Discovery:
    """Looks for models, versions and aliases that only MLflow knows.

    Attributes:
        store: MLflow, or its like.
        seen_ms: The time of the latest change that was dealt with.
        aliases_at: From when on every alias is compared again.
        clock: Monotonic seconds.
    """

    store: ModelStore
    seen_ms: int = 0
    aliases_at: datetime | None = None
    clock: Callable[[], float] = time.monotonic

    def __call__(self, now: datetime) -> int:
        """Adopt what is unknown here, and return how many versions that was.

        MLflow being down is nothing to report: the next look finds the same.
        """
        since = max(0, self.seen_ms - LOOK_BACK_MS)
        horizon = int((now - YOUNG).timestamp() * 1000)
        try:
            latest, found = since, 0
            for batch in _batches(self.store.versions_changed_since(since)):
                known = _known(batch)
                for version in batch:
                    if version.changed_at_ms > horizon:
                        continue
                    latest = max(latest, version.changed_at_ms)
                    if not version.is_prompt and (version.model, version.number) not in known:
                        found += _adopt(version)
            self._models(since, now)
        except Transient as error:
            log.info("discover.postponed", problem=error.sentence)
            return 0
        self.seen_ms = latest
        _hurry(now)
        return found

    def _models(self, since: int, now: datetime) -> None:
        """Compare aliases: of every model when it is time, else of those that have changed."""
        everything = self.aliases_at is None or now >= self.aliases_at
        began = self.clock()
        for batch in _batches(self.store.models_changed_since(0 if everything else since)):
            models = [model for model in batch if not model.is_prompt]
            _have_all(models)
            for model in _differing(models):
                self._settle(model)
        if everything:
            took = timedelta(seconds=self.clock() - began)
            self.aliases_at = now + min(took * SHARE_OF_TIME, RARELY)

    def _settle(self, model: str) -> None:
        """Deal with the aliases of one model that somebody moved.

        MLflow is read after our own rows: where those stay the same until the model is locked,
        the difference is not the mirror's doing.
        """
        here = _aliases([model]).get(model, {})
        stored = self.store.model(model)
        if stored is None:
            return
        _remind(model, lagging(here, stored.aliases))
        for drift in drifts(here, stored.aliases):
            if drift.there is None and not self._still_has(model, drift.was):
                continue
            try:
                done = services.settle_drift(actor=MIRROR, model=model, drift=drift)
            except ControlPlaneError as error:
                log.info("discover.refused", model=model, alias=drift.alias, problem=str(error))
                continue
            if done is not None:
                log.warning(
                    "alias.moved_behind_our_back", model=model, alias=drift.alias,
                    here=drift.was, there=drift.there, done=str(done),
                )  # fmt: skip

    def _still_has(self, model: str, number: int | None) -> bool:
        """Return whether MLflow has the version: without it, nobody removed the alias alone."""
        return number is not None and self.store.version(model, number) is not None


def _adopt(version: StoredVersion) -> int:
    try:
        services.adopt(
            actor=MIRROR,
            model=version.model,
            number=version.number,
            run_id=version.run_id,
            source=version.source,
            description=version.description,
            tags=mirrored.of_people(version.tags),
            registered_by="MLflow",
        )
    except ControlPlaneError as error:
        log.warning(
            "discover.refused",
            model=version.model,
            number=version.number,
            problem=error.sentence,
        )
        return 0
    log.info("discover.adopted", model=version.model, number=version.number)
    return 1


def _have_all(models: Sequence[StoredModel]) -> None:
    known = set(
        RegisteredModel.objects.filter(name__in=[m.name for m in models]).values_list(
            "name", flat=True
        )
    )
    for model in models:
        if model.name not in known:
            _have(model)


def _have(model: StoredModel) -> None:
    try:
        services.create_model(
            actor=MIRROR,
            name=model.name,
            team=services.home_team(MIRROR),
            description=model.description,
        )
    except ControlPlaneError as error:
        log.warning("discover.refused", model=model.name, problem=error.sentence)


def _differing(models: Sequence[StoredModel]) -> list[str]:
    """Return the names of models whose aliases differ, or seem to."""
    here = _aliases([model.name for model in models])
    return [
        model.name
        for model in models
        if dict(model.aliases) != {a: k.number for a, k in here.get(model.name, {}).items()}
    ]


def _aliases(models: Sequence[str]) -> dict[str, dict[str, Known]]:
    """Return what we know of aliases, by model and name."""
    found: dict[str, dict[str, Known]] = {}
    rows = Alias.objects.filter(model__name__in=models)
    for model, alias, number, shown in rows.values_list(
        "model__name", "name", "version__number", "shown_number"
    ):
        found.setdefault(model, {})[alias] = Known(number, shown)
    return found


def _remind(model: str, numbers: Sequence[int]) -> None:
    """Have the mirror look again at versions whose aliases did not reach MLflow."""
    ModelVersion.objects.filter(
        model__name=model, number__in=numbers, mirror_state=MirrorState.MIRRORED
    ).update(mirror_state=MirrorState.PENDING, next_reconcile_at=SystemClock().now())


def _hurry(now: datetime) -> None:
    """Have what waited for MLflow tried again now that it answers: pauses grow to minutes."""
    waiting = ModelVersion.objects.filter(
        mirror_state__in=[MirrorState.PENDING, MirrorState.ADOPTING],
        attempts__gt=0,
        lease_token=None,
        next_reconcile_at__gt=now + OVERDUE,
    )
    if hurried := waiting.update(next_reconcile_at=now):
        log.info("discover.hurried", versions=hurried)


def _batches(rows: Iterable[Found]) -> Iterator[list[Found]]:
    rest = iter(rows)
    while batch := list(islice(rest, BATCH)):
        yield batch


def _known(batch: list[StoredVersion]) -> set[tuple[str, int]]:
    which = Q()
    for version in batch:
        which |= Q(model__name=version.model, number=version.number)
    return set(ModelVersion.objects.filter(which).values_list("model__name", "number"))
