"""Rows of rollouts."""

from typing import ClassVar

from django.db import models
from django.db.models import Q

from apps.endpoints.models import Endpoint, Revision
from apps.environments.models import Environment
from apps.rollouts.domain.decide import PauseKind
from apps.rollouts.domain.states import ROLLOUT, RolloutState
from controlplane.db.base import Row, state_is_known
from controlplane.db.reconcile import Reconcilable


class Rollout(Row, Reconcilable):
    """Moving one endpoint's traffic to a candidate revision, as a release authorized it."""

    woken_as = "rollout"

    endpoint = models.ForeignKey(Endpoint, on_delete=models.PROTECT, related_name="rollouts")
    candidate = models.ForeignKey(Revision, on_delete=models.PROTECT, related_name="rollouts")
    stable = models.ForeignKey(
        Revision, null=True, blank=True, on_delete=models.PROTECT, related_name="+"
    )
    release = models.CharField(max_length=12, unique=True)  # its public id: an authorization is
    release_number = models.PositiveIntegerField(null=True, blank=True)  # used once
    authorization = models.JSONField()
    strategy = models.JSONField()  # read by `rollouts.domain.document.parse`
    state = models.CharField(max_length=12, default=ROLLOUT.initial)
    state_since = models.DateTimeField()
    reason = models.TextField(blank=True)  # why it ended as it did, one sentence
    started_by = models.CharField(max_length=200)
    ended_at = models.DateTimeField(null=True, blank=True)

    step = models.PositiveSmallIntegerField(default=0)  # index; past the last one: everything
    step_seen_at = models.DateTimeField(null=True, blank=True)  # first seen in force
    accepted = models.BooleanField(default=False)  # a person said that this step is good enough
    pause = models.CharField(max_length=8, blank=True)  # a `PauseKind`; "" when not paused
    pause_reason = models.TextField(blank=True)
    paused_by = models.CharField(max_length=200, blank=True)
    waits_for = models.TextField(blank=True)  # what the last pass waited for, one sentence
    fit = models.JSONField(default=dict)  # of the pre-flight: {"fitting", "sentence", ...}
    allocation = models.JSONField(default=dict)  # of a bandit: {"weight", "segments"}
    allocated_at = models.DateTimeField(null=True, blank=True)
    rehearsal = models.BooleanField(default=False)  # made to go wrong: `domain.rehearsing`
    drill = models.JSONField(default=dict)  # of a rehearsal: {"fault_at", "sent", "failed"}
    decided_at = models.DateTimeField(null=True, blank=True)  # to promote, or to go back
    settled_at = models.DateTimeField(null=True, blank=True)  # when that was first seen in force

    class Meta:
        """Rules that hold whoever writes the row."""

        constraints: ClassVar = [
            state_is_known(list(RolloutState), "rollout"),
            models.UniqueConstraint(
                fields=["endpoint"],
                condition=~Q(state__in=sorted(str(s) for s in ROLLOUT.terminal())),
                name="one_active_rollout_per_endpoint",
            ),
            models.CheckConstraint(
                condition=Q(pause__in=["", *map(str, PauseKind)]), name="rollout_pause_is_known"
            ),
        ]

    def __str__(self) -> str:
        """Name the rollout uniquely."""
        return f"rollout {self.public_id} ({self.state})"


class RolloutEvent(models.Model):
    """One thing that happened to a rollout, in a plain sentence: its log."""

    rollout = models.ForeignKey(Rollout, on_delete=models.CASCADE, related_name="events")
    at = models.DateTimeField()
    kind = models.CharField(max_length=20)  # a word of `rollouts.telling.Kind`
    sentence = models.TextField()
    actor = models.CharField(max_length=200)
    reason = models.TextField(blank=True)
    facts = models.JSONField(default=dict)

    class Meta:
        """Read in order."""

        indexes: ClassVar = [models.Index(fields=["rollout", "id"], name="event_by_rollout")]

    def __str__(self) -> str:
        """Say what happened."""
        return f"{self.at:%H:%M:%S} {self.sentence}"


class StrategyTemplate(Row):
    """A strategy that people of one environment choose by name."""

    environment = models.ForeignKey(
        Environment, on_delete=models.CASCADE, related_name="strategy_templates"
    )
    name = models.SlugField(max_length=40)
    title = models.CharField(max_length=80)
    document = models.JSONField()  # read by `rollouts.domain.document.parse`
    is_default = models.BooleanField(default=False)  # for releases that name no strategy
    edited_by = models.CharField(max_length=200)

    class Meta:
        """Rules that hold whoever writes the row."""

        constraints: ClassVar = [
            models.UniqueConstraint(fields=["environment", "name"], name="template_named_once"),
            models.UniqueConstraint(
                fields=["environment"], condition=Q(is_default=True), name="one_default_template"
            ),
        ]

    def __str__(self) -> str:
        """Name the template."""
        return f"{self.name} in environment {self.environment_id}"
