"""Rows of policies, checklists, gate results, evidence and waivers."""

from typing import ClassVar

from django.db import models
from django.db.models import Q

from apps.accounts.models import Person
from apps.builds.models import Variant
from apps.environments.models import Environment
from apps.gates.domain.states import GATE, GateState
from apps.registry.domain.kinds import RiskTier
from apps.registry.models import ModelVersion, RegisteredModel
from controlplane.db.base import Row, state_is_known
from controlplane.db.reconcile import Reconcilable


class Policy(Row):
    """The rules of one environment for one risk tier, in one version that never changes.

    The highest number is the one in force. `document` is read by `gates.domain.policy.parse`.
    """

    environment = models.ForeignKey(Environment, on_delete=models.PROTECT, related_name="policies")
    risk_tier = models.CharField(max_length=8)
    number = models.PositiveIntegerField()  # 1, 2, ... within environment and tier
    document = models.JSONField()
    created_by = models.CharField(max_length=200)
    reason = models.TextField(blank=True)

    class Meta:
        """Rules that hold whoever writes the row."""

        constraints: ClassVar = [
            models.UniqueConstraint(
                fields=["environment", "risk_tier", "number"], name="policy_number_used_once"
            ),
            models.CheckConstraint(
                condition=Q(risk_tier__in=[str(t) for t in RiskTier]),
                name="policy_risk_tier_is_known",
            ),
        ]

    def __str__(self) -> str:
        """Name the policy as the pages do."""
        return f"policy {self.environment_id}/{self.risk_tier} {self.number}"


class Checklist(Row, Reconcilable):
    """The gates that one variant of one version must pass for one environment.

    A worker keeps it current: it measures what is pending or too old, one gate a pass, until the
    checklist is closed because nobody needs it any more. `configuration` is what would be served.
    """

    version = models.ForeignKey(ModelVersion, on_delete=models.PROTECT, related_name="checklists")
    variant = models.ForeignKey(Variant, on_delete=models.PROTECT, related_name="checklists")
    environment = models.ForeignKey(
        Environment, on_delete=models.PROTECT, related_name="checklists"
    )
    policy = models.ForeignKey(Policy, on_delete=models.PROTECT, related_name="checklists")
    configuration = models.JSONField(default=dict)  # {"runtime", "replicas", "settings"}
    proposer = models.ForeignKey(Person, null=True, on_delete=models.SET_NULL)
    proposed_by = models.CharField(max_length=200)
    closed_at = models.DateTimeField(null=True, blank=True)
    problem = models.TextField(blank=True)

    def __str__(self) -> str:
        """Name the checklist uniquely."""
        return f"checklist {self.public_id} of version {self.version_id}"


class Evidence(Row):
    """A dated, sourced fact that a gate is judged on; it never changes.

    It is about bytes: `subject` is the digest of the bundle, the manifest or the dataset that was
    looked at, so it stays valid for the same bytes in another release and another environment.
    """

    key = models.CharField(max_length=80)  # a gate's name, or a test's of the ML Test Score
    subject = models.CharField(max_length=80)  # "sha256:..."
    # Digest of what else the finding hangs on: the policy's parameters, the environment, what is
    # live there. "" for what was sent to us or seen by a rollout, which is judged anew each time.
    conditions = models.CharField(max_length=80, blank=True)
    version = models.ForeignKey(ModelVersion, on_delete=models.PROTECT, related_name="evidence")
    environment = models.ForeignKey(
        Environment, null=True, blank=True, on_delete=models.PROTECT, related_name="evidence"
    )
    verdict = models.CharField(max_length=8)  # passed, failed, unknown
    sentence = models.TextField()  # what was found, for a person
    facts = models.JSONField(default=dict)  # the numbers, for a program and the page's details
    files = models.JSONField(default=list)  # [{"name", "sha256", "size"}], bytes in the blob store
    source = models.CharField(max_length=10)  # measured, ci, statement
    link = models.URLField(max_length=500, blank=True)  # the pipeline that sent it
    measured_at = models.DateTimeField()
    expires_at = models.DateTimeField(null=True, blank=True)
    recorded_by = models.CharField(max_length=200)
    digest = models.CharField(max_length=80, unique=True)  # of what it says, canonical JSON

    class Meta:
        """Rules that hold whoever writes the row."""

        constraints: ClassVar = [
            models.CheckConstraint(
                condition=Q(verdict__in=["passed", "failed", "unknown"]),
                name="evidence_verdict_is_known",
            ),
            models.CheckConstraint(
                condition=Q(source__in=["measured", "ci", "statement"]),
                name="evidence_source_is_known",
            ),
        ]
        indexes: ClassVar = [
            models.Index(fields=["subject", "key", "-measured_at"], name="evidence_by_subject"),
            models.Index(fields=["version", "key", "-measured_at"], name="evidence_by_version"),
        ]

    def __str__(self) -> str:
        """Name the evidence uniquely."""
        return f"{self.key} of {self.subject[:19]}, {self.verdict}"


class GateResult(models.Model):
    """What is known about one gate of one checklist, now."""

    checklist = models.ForeignKey(Checklist, on_delete=models.CASCADE, related_name="results")
    gate = models.CharField(max_length=80)
    position = models.PositiveSmallIntegerField(default=0)  # in the policy
    state = models.CharField(max_length=8, default=GATE.initial)
    required = models.BooleanField(default=True)  # else it advises
    verdict = models.CharField(max_length=8, blank=True)  # of the last finding; "" before
    sentence = models.TextField(blank=True)
    remedy = models.TextField(blank=True)
    evidence = models.ForeignKey(
        Evidence, null=True, blank=True, on_delete=models.PROTECT, related_name="results"
    )
    waiver = models.ForeignKey(
        "gates.Waiver", null=True, blank=True, on_delete=models.PROTECT, related_name="results"
    )
    measured_at = models.DateTimeField(null=True, blank=True)  # found, or found to be still so
    expires_at = models.DateTimeField(null=True, blank=True)  # from then on the finding is too old
    due_at = models.DateTimeField(null=True, blank=True)  # when to look again; null: when asked
    state_since = models.DateTimeField()
    asked_at = models.DateTimeField(null=True, blank=True)  # only what was found since counts
    handle = models.CharField(max_length=200, blank=True)  # the driver's name for a running test
    runs = models.PositiveIntegerField(default=0)  # tests that ended; part of the next one's name

    class Meta:
        """Rules that hold whoever writes the row."""

        constraints: ClassVar = [
            state_is_known(list(GateState), "gate"),
            models.UniqueConstraint(fields=["checklist", "gate"], name="gate_listed_once"),
            models.CheckConstraint(
                condition=~Q(state="waived") | Q(waiver__isnull=False),
                name="waived_only_by_a_waiver",
            ),
            models.CheckConstraint(
                condition=~Q(state="passed") | Q(evidence__isnull=False, expires_at__isnull=False),
                name="passed_only_by_evidence",
            ),
            models.CheckConstraint(
                condition=Q(verdict__in=["", "passed", "failed", "unknown"]),
                name="verdict_is_known",
            ),
        ]

    def __str__(self) -> str:
        """Name the result uniquely."""
        return f"{self.gate} of checklist {self.checklist_id}: {self.state}"


class Waiver(Row):
    """A recorded, expiring decision to pass a gate without its evidence."""

    gate = models.CharField(max_length=80)
    model = models.ForeignKey(RegisteredModel, on_delete=models.PROTECT, related_name="waivers")
    checklist = models.ForeignKey(Checklist, on_delete=models.PROTECT, related_name="waivers")
    reason = models.TextField()
    granted_by = models.ForeignKey(Person, on_delete=models.PROTECT, related_name="+")
    expires_at = models.DateTimeField()
    withdrawn_at = models.DateTimeField(null=True, blank=True)
    withdrawn_by = models.CharField(max_length=200, blank=True)
    lapsed_at = models.DateTimeField(null=True, blank=True)  # when its end was noticed
    announced_at = models.DateTimeField(null=True, blank=True)  # when its end was announced

    class Meta:
        """Rules that hold whoever writes the row."""

        constraints: ClassVar = [
            models.CheckConstraint(condition=~Q(reason=""), name="waiver_has_a_reason"),
            models.UniqueConstraint(
                fields=["checklist", "gate"],
                condition=Q(withdrawn_at=None, lapsed_at=None),
                name="one_waiver_in_force_per_gate",
            ),
        ]

    def __str__(self) -> str:
        """Name the waiver uniquely."""
        return f"waiver of {self.gate} until {self.expires_at:%Y-%m-%d}"
