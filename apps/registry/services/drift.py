"""Settling aliases that were moved in MLflow past us: put back or adopted, always recorded."""

from django.db import transaction

from apps.environments import selectors as environments
from apps.notifications.services import notify
from apps.registry import selectors
from apps.registry.domain import names
from apps.registry.domain.drift import Answer, Drift, answer
from apps.registry.domain.kinds import MirrorState
from apps.registry.domain.states import VersionState
from apps.registry.models import Alias, ModelVersion, RegisteredModel
from apps.registry.services import aliases
from controlplane.kernel.actor import Actor

UNUSABLE = (VersionState.ARCHIVED, VersionState.REJECTED)
MOVED = "It was moved in MLflow, past Modelyard."


def settle_drift(*, actor: Actor, model: str, drift: Drift) -> Answer | None:
    """Make one alias the same here and in MLflow, tell its team, and return how.

    1. Under the model's lock: nothing is done when the alias has moved here since `drift` was
       seen, or while the mirror still works on a version that it is about.
    2. An alias that an environment claims is put back, unless that environment adopts; so is
       one that names a version which may carry none. Any other is adopted.
    3. The ledger says from where to where, and the model's team is told.

    Args:
        actor: The worker that looked.
        model: The model's name.
        drift: What was seen.

    Returns:
        What was done; None when it has to be looked at again.

    Raises:
        Invalid: MLflow allows the alias's name and we do not.
    """
    names.alias_name(drift.alias)
    with transaction.atomic():
        row = selectors.model_for_update(actor, model)
        existing = (
            Alias.objects.select_related("version").filter(model=row, name=drift.alias).first()
        )
        versions = _versions(row, drift)
        if (existing.version.number if existing else None) != drift.here:
            return None
        if not _settled(versions, drift):
            return None
        environment = environments.claiming(drift.alias)
        target = versions.get(drift.there) if drift.there is not None else None
        done = answer(
            protected=environment is not None,
            policy=environment.alias_drift if environment else "",
            usable=drift.there is None or (target is not None and target.state not in UNUSABLE),
        )
        if done is Answer.PUT_BACK:
            # The pass over the version that it names here sets it; over the other, removes it.
            shown = versions[drift.there or 0] if drift.here is None else versions[drift.here]
            if shown.mirror_state != MirrorState.MIRRORED:
                return None
            event = aliases.put_back(actor, row, drift, shown, reason=MOVED)
        else:
            event = aliases.adopt_alias(actor, row, drift.alias, target, existing, reason=MOVED)
        if environment is not None or drift.here is not None:
            _tell(row, drift, done, event)
    return done


def _versions(row: RegisteredModel, drift: Drift) -> dict[int, ModelVersion]:
    found = ModelVersion.objects.filter(model=row, number__in=drift.numbers)
    return {version.number: version for version in found}


def _settled(versions: dict[int, ModelVersion], drift: Drift) -> bool:
    """Return whether what MLflow shows is what somebody did, and not what the mirror has to do."""
    if versions.keys() != drift.numbers:
        return False  # a version that only MLflow has: it is adopted first
    busy = (MirrorState.PENDING, MirrorState.ADOPTING)
    if any(version.mirror_state in busy for version in versions.values()):
        return False
    # MLflow cannot name a version that never got there.
    return drift.here is None or versions[drift.here].mirror_state == MirrorState.MIRRORED


def _tell(row: RegisteredModel, drift: Drift, done: Answer, event: int) -> None:
    was = f"v{drift.here}" if drift.here is not None else "no version"
    became = f"v{drift.there}" if drift.there is not None else "no version"
    outcome = "put back" if done is Answer.PUT_BACK else "kept there"
    notify(
        kind="alias.moved",
        title=f"{row.name}@{drift.alias} was moved in MLflow and {outcome}",
        body=f"It named {was} here and was made to name {became} in MLflow, past Modelyard. "
        f"It names {was if done is Answer.PUT_BACK else became} now; the ledger has the entry.",
        link=f"/models/{row.name}",
        teams=[row.team_id],
        dedupe=f"alias/{event}",
    )
