"""Rows of releases."""

from typing import ClassVar

from django.db import models
from django.db.models import Q

from apps.accounts.models import Person
from apps.approvals.models import ApprovalRequest
from apps.builds.models import Variant
from apps.environments.models import Environment
from apps.gates.models import Checklist
from apps.registry.models import ModelVersion
from apps.releases.domain.states import RELEASE, ReleaseState
from apps.rollouts.models import Rollout
from controlplane.db.base import Row, state_is_known
from controlplane.db.reconcile import Reconcilable


class Release(Row, Reconcilable):
    """The intent to run one variant of one version in one environment with one strategy.

    Its phase is computed from its children (build, checklist, request, rollout) by
    `releases.domain.journey` and stored by a worker's pass; nobody pushes it.
    """

    number = models.PositiveIntegerField(unique=True)
    version = models.ForeignKey(ModelVersion, on_delete=models.PROTECT, related_name="releases")
    environment = models.ForeignKey(Environment, on_delete=models.PROTECT, related_name="releases")
    variant_kind = models.CharField(max_length=20, blank=True)  # asked for; "" the best
    variant = models.ForeignKey(
        Variant, null=True, blank=True, on_delete=models.PROTECT, related_name="releases"
    )  # null while its build has not ended
    runtime = models.CharField(max_length=20, blank=True)
    replicas = models.PositiveSmallIntegerField(default=1)
    configuration = models.JSONField(default=dict)  # settings of the runtime
    strategy = models.JSONField()  # read by `rollouts.domain.strategy.parse`
    summary = models.TextField(blank=True)  # why, in the proposer's words
    pipeline_url = models.URLField(max_length=500, blank=True)
    proposer = models.ForeignKey(Person, null=True, on_delete=models.SET_NULL, related_name="+")
    proposed_by = models.CharField(max_length=200)
    promoted_from = models.ForeignKey(
        "self", null=True, blank=True, on_delete=models.SET_NULL, related_name="promotions"
    )
    # Going back: the release whose bytes and permission it takes up again.
    returns_to = models.ForeignKey(
        "self", null=True, blank=True, on_delete=models.PROTECT, related_name="returns"
    )
    state = models.CharField(max_length=20, default=RELEASE.initial)
    state_since = models.DateTimeField()
    problem = models.TextField(blank=True)  # what a worker cannot get past, one sentence
    remedy = models.TextField(blank=True)
    checklist = models.OneToOneField(
        Checklist, null=True, blank=True, on_delete=models.PROTECT, related_name="release"
    )
    request = models.OneToOneField(
        ApprovalRequest, null=True, blank=True, on_delete=models.PROTECT, related_name="release"
    )  # the one in force, or the last
    digest_set = models.JSONField(default=dict)
    digest = models.CharField(max_length=80, blank=True)
    rollout = models.OneToOneField(
        Rollout, null=True, blank=True, on_delete=models.PROTECT, related_name="+"
    )
    expires_at = models.DateTimeField()
    # Breaking the glass: who, why, until when, and the review that it owes.
    emergency_by = models.CharField(max_length=200, blank=True)
    emergency_reason = models.TextField(blank=True)
    emergency_until = models.DateTimeField(null=True, blank=True)
    review_due_at = models.DateTimeField(null=True, blank=True)
    reviewed_at = models.DateTimeField(null=True, blank=True)
    reviewed_by = models.CharField(max_length=200, blank=True)
    review = models.TextField(blank=True)
    live_at = models.DateTimeField(null=True, blank=True)
    ended_at = models.DateTimeField(null=True, blank=True)
    end_reason = models.TextField(blank=True)

    class Meta:
        """Rules that hold whoever writes the row."""

        constraints: ClassVar = [
            state_is_known(list(ReleaseState), "release"),
            models.CheckConstraint(
                condition=~Q(state__in=["authorized", "rolling_out", "live"]) | ~Q(digest=""),
                name="authorized_means_some_bytes",
            ),
            models.CheckConstraint(
                condition=Q(emergency_by="") | ~Q(emergency_reason=""),
                name="glass_is_broken_for_a_reason",
            ),
        ]
        indexes: ClassVar = [
            models.Index(fields=["state", "-number"], name="release_by_state"),
            models.Index(fields=["version", "-number"], name="release_by_version"),
            models.Index(fields=["environment", "-number"], name="release_by_environment"),
        ]

    def __str__(self) -> str:
        """Name the release as people do."""
        return f"R-{self.number}"


class Comment(Row):
    """What somebody said in the discussion of a release."""

    release = models.ForeignKey(Release, on_delete=models.CASCADE, related_name="comments")
    person = models.ForeignKey(Person, null=True, on_delete=models.SET_NULL, related_name="+")
    by = models.CharField(max_length=200)
    text = models.TextField()  # Markdown
    answers = models.ForeignKey(
        "self", null=True, blank=True, on_delete=models.SET_NULL, related_name="answered_by"
    )

    def __str__(self) -> str:
        """Name the comment uniquely."""
        return f"comment {self.public_id} on release {self.release_id}"
