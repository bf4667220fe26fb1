"""Asking an endpoint to split its requests: the one way in which a rollout moves traffic.

What is written here is intent. The endpoint's own loop puts it in force, and writes down what it
sees; a generation that grows with every change keeps an overtaken worker from undoing it.
"""

from datetime import datetime, timedelta

from django.db import transaction

from apps.endpoints import revisions
from apps.endpoints.domain import trials
from apps.endpoints.domain.states import REVISION, RevisionMove, RevisionState
from apps.endpoints.domain.values import Trial
from apps.endpoints.models import Endpoint, Revision
from controlplane.db.reconcile import commanding


@transaction.atomic
def ask(
    endpoint: int,
    trial: Trial,
    *,
    now: datetime,
    wakes: tuple[str, int] | None = None,
    keep_warm: timedelta | None = None,
) -> Endpoint:
    """Have an endpoint split its requests as `trial` says.

    Args:
        endpoint: Its row.
        trial: About the revision that is on its way.
        now: The moment.
        wakes: The row to look at again when something changes; None for the one before.
        keep_warm: For how long the revision before stays warm; None for what was said before.
    """
    with commanding(Endpoint, endpoint, now=now) as row:
        row.trial = trials.to_json(trial)
        row.generation += 1
        if wakes is not None:
            row.wakes = list(wakes)
        if keep_warm is not None:
            row.keep_warm_seconds = int(keep_warm.total_seconds())
    revisions.changed(row)
    return row


@transaction.atomic
def withdraw(candidate: Revision, *, now: datetime) -> None:
    """End the trial of `candidate`: the live revision answers everything again.

    A candidate that is live already, or has ended, is left as it is; so is another's trial.
    """
    with commanding(Endpoint, candidate.endpoint_id, now=now) as row:
        asked = trials.from_json(row.trial)
        if asked is not None and asked.candidate == candidate.number:
            row.trial = None
        fresh = Revision.objects.get(pk=candidate.pk)
        state = RevisionState(fresh.state)
        if state is not RevisionState.LIVE and RevisionMove.DRAIN in REVISION.moves_from(state):
            revisions.move(fresh, RevisionMove.DRAIN)
        row.generation += 1
    revisions.changed(row)
