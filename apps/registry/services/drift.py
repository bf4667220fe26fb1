"""Settling aliases that were moved in MLflow past us: put back or adopted, always recorded."""

from django.db import transaction

from apps.environments import selectors as environments
from apps.notifications.services import notify
from apps.registry import selectors
from apps.registry.domain import names
from apps.registry.domain.drift import Answer, Drift, Known, answer
from apps.registry.domain.kinds import MirrorState
from apps.registry.domain.states import VersionState
from apps.registry.models import Alias, ModelVersion, RegisteredModel
from apps.registry.services import aliases
from controlplane.kernel.actor import Actor

BUSY = (MirrorState.PENDING, MirrorState.ADOPTING)
UNUSABLE = (VersionState.ARCHIVED, VersionState.REJECTED)
MOVED = "It was moved in MLflow, past Modelyard."


def settle_drift(*, actor: Actor, model: str, drift: Drift) -> Answer | None:
    """Make one alias the same here and in MLflow, tell its team, and return how.

    1. Under the model's lock: nothing is done when our alias, or what MLflow was seen to show of
       it, has changed since `drift` was seen; nor for an alias that is unknown here while its
       version waits for the mirror, which may be about to remove it.
    2. An alias that an environment claims is put back, unless that environment adopts; so is
       one that names a version which may carry none, and one that our own move had not yet
       reached. Any other is adopted.
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
        if _known(existing) != drift.here:
            return None
        named = ModelVersion.objects.filter(model=row, number=drift.there or 0)
        target = named.first()
        if drift.there is not None and target is None:
            return None  # a version that only MLflow has: it is adopted first
        if drift.here is None and target is not None and target.mirror_state in BUSY:
            return None
        environment = environments.claiming(drift.alias)
        done = answer(
            protected=environment is not None,
            policy=environment.alias_drift if environment else "",
            settled=drift.here is None or drift.here.number == drift.here.shown,
            usable=target is None or target.state not in UNUSABLE,
        )
        if done is Answer.PUT_BACK:
            event = aliases.put_back(actor, row, drift, existing, target, reason=MOVED)
        else:
            event = aliases.adopt_alias(actor, row, drift.alias, target, existing, reason=MOVED)
        if environment is not None or drift.here is not None:
            _tell(row, drift, done, event)
    return done


def _known(existing: Alias | None) -> Known | None:
    return Known(existing.version.number, existing.shown_number) if existing is not None else None


def _tell(row: RegisteredModel, drift: Drift, done: Answer, event: int) -> None:
    was = f"v{drift.was}" if drift.was is not None else "no version"
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
