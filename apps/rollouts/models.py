"""Rows of rollouts."""

from typing import ClassVar

from django.db import models
from django.db.models import Q

from apps.endpoints.models import Endpoint, Revision
from apps.rollouts.domain.states import ROLLOUT, RolloutState
from controlplane.db.base import Row, state_is_known
from controlplane.db.reconcile import Reconcilable


class Rollout(Row, Reconcilable):
    """Moving one endpoint's traffic to a candidate revision, as a release authorized it."""

    endpoint = models.ForeignKey(Endpoint, on_delete=models.PROTECT, related_name="rollouts")
    candidate = models.ForeignKey(Revision, on_delete=models.PROTECT, related_name="rollouts")
    stable = models.ForeignKey(
        Revision, null=True, blank=True, on_delete=models.PROTECT, related_name="+"
    )
    release = models.CharField(max_length=12, unique=True)  # its public id: an authorization is
    authorization = models.JSONField()  # used once
    strategy = models.JSONField()  # read by `rollouts.domain.strategy.parse`
    state = models.CharField(max_length=12, default=ROLLOUT.initial)
    state_since = models.DateTimeField()
    reason = models.TextField(blank=True)  # why it ended as it did, one sentence
    started_by = models.CharField(max_length=200)
    ended_at = models.DateTimeField(null=True, blank=True)

    class Meta:
        """Rules that hold whoever writes the row."""

        constraints: ClassVar = [
            state_is_known(list(RolloutState), "rollout"),
            models.UniqueConstraint(
                fields=["endpoint"],
                condition=~Q(state__in=sorted(str(s) for s in ROLLOUT.terminal())),
                name="one_active_rollout_per_endpoint",
            ),
        ]

    def __str__(self) -> str:
        """Name the rollout uniquely."""
        return f"rollout {self.public_id} ({self.state})"
