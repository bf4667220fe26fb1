"""Finding what reached MLflow behind our back: by its own port, or while the door was shut.

Cheap when nothing has changed: MLflow lists its latest changes first, and the walk ends at the
first that was seen before. The mark lies in this process; a new process walks everything once.
"""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from datetime import datetime, timedelta
from itertools import islice

import structlog
from django.db.models import Q

from apps.registry import services
from apps.registry.domain import mirrored
from apps.registry.domain.kinds import MirrorState
from apps.registry.models import Alias, ModelVersion, RegisteredModel
from apps.registry.ports import ModelStore, StoredModel, StoredVersion
from apps.registry.reconcile import MIRROR
from controlplane.kernel.errors import ControlPlaneError, Transient

log = structlog.get_logger(__name__)

YOUNG = timedelta(seconds=5)  # the door may be about to adopt these itself, naming who sent them
LOOK_BACK_MS = 60_000  # changes may become visible later than their time says
EVERY_ALIAS = timedelta(minutes=5)  # moving an alias leaves no trace in MLflow's times
BATCH = 200


@dataclass
class Discovery:
    """Looks for models, versions and aliases that only MLflow knows.

    Attributes:
        store: MLflow, or its like.
        seen_ms: The time of the latest change that was dealt with.
        aliases_at: When every alias was last compared.
    """

    store: ModelStore
    seen_ms: int = 0
    aliases_at: datetime | None = None

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
        return found

    def _models(self, since: int, now: datetime) -> None:
        everything = self.aliases_at is None or now - self.aliases_at >= EVERY_ALIAS
        for model in self.store.models_changed_since(0 if everything else since):
            if not model.is_prompt:
                _have(model)
                _adopt_aliases(model)
        if everything:
            self.aliases_at = now


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


def _have(model: StoredModel) -> None:
    if RegisteredModel.objects.filter(name=model.name).exists():
        return
    try:
        services.create_model(
            actor=MIRROR,
            name=model.name,
            team=services.home_team(MIRROR),
            description=model.description,
        )
    except ControlPlaneError as error:
        log.warning("discover.refused", model=model.name, problem=error.sentence)


def _adopt_aliases(model: StoredModel) -> None:
    """Take over aliases that are unknown here, unless the mirror has yet to remove them."""
    if not model.aliases:
        return
    here = set(Alias.objects.filter(model__name=model.name).values_list("name", flat=True))
    unknown = {a: n for a, n in model.aliases.items() if a not in here}
    if not unknown or _is_behind(model.name):
        return
    for alias, number in unknown.items():
        try:
            services.move_alias(
                actor=MIRROR,
                model=model.name,
                alias=alias,
                number=number,
                reason="It was set in MLflow.",
            )
        except ControlPlaneError as error:
            log.info("discover.refused", model=model.name, alias=alias, problem=error.sentence)


def _is_behind(model: str) -> bool:
    rows = ModelVersion.objects.filter(model__name=model, mirror_state=MirrorState.PENDING)
    return rows.exists()


def _batches(versions: Iterable[StoredVersion]) -> Iterator[list[StoredVersion]]:
    rest = iter(versions)
    while batch := list(islice(rest, BATCH)):
        yield batch


def _known(batch: list[StoredVersion]) -> set[tuple[str, int]]:
    which = Q()
    for version in batch:
        which |= Q(model__name=version.model, number=version.number)
    return set(ModelVersion.objects.filter(which).values_list("model__name", "number"))
