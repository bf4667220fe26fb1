"""Rows of analyses."""

from typing import Any, ClassVar

from django.db import models
from django.db.models import Q

from apps.analysis.domain.states import ANALYSIS, AnalysisState
from apps.analysis.domain.values import Answer
from apps.endpoints.models import Revision
from controlplane.db.base import Row, state_is_known
from controlplane.db.reconcile import Reconcilable


class AnalysisRun(Row, Reconcilable):
    """The judging of one canary against the stable revision, for as long as its rollout lasts.

    `evidence` and `consumed_until` are written in one statement: no slice of time counts twice,
    and none is left out, wherever a worker dies.
    """

    subject = models.CharField(max_length=80, unique=True)  # "rollout/<public id>"
    stable = models.ForeignKey(
        Revision, null=True, blank=True, on_delete=models.PROTECT, related_name="+"
    )
    candidate = models.ForeignKey(Revision, on_delete=models.PROTECT, related_name="analyses")
    plan = models.JSONField()  # {"metrics": [...], "alpha": 0.05, "limits": {...}}
    state = models.CharField(max_length=12, default=ANALYSIS.initial)
    state_since = models.DateTimeField()
    started_at = models.DateTimeField()
    ended_at = models.DateTimeField(null=True, blank=True)
    # The rollout's step that it was last told of, since when, and the one the evidence is of.
    step = models.PositiveSmallIntegerField(default=0)
    step_at = models.DateTimeField()
    judged_step = models.PositiveSmallIntegerField(default=0)
    looked_at = models.DateTimeField(null=True, blank=True)
    consumed_until = models.DateTimeField()  # slices that began before are in the evidence
    evidence = models.JSONField(null=True, blank=True)  # `judge.state_to_json`
    comparison = models.JSONField(default=dict)  # what the comparator has added up
    cursor = models.JSONField(default=dict)  # how far other sources were read
    # How much noisier than chance each metric is: {metric: {"value", "from", "slices"}}.
    dispersion = models.JSONField(default=dict)
    # Slices of two sides that were alike, for the dispersion of later runs at this endpoint.
    calibration = models.JSONField(null=True, blank=True)
    answer = models.CharField(max_length=10, default=Answer.NOT_YET)
    sentence = models.TextField(blank=True)
    findings = models.JSONField(default=list)  # the last look's, one a metric, for pages
    remaining_seconds = models.FloatField(null=True, blank=True)
    limit_hit = models.TextField(blank=True)  # the hard limit it is beyond, as a sentence
    problem_code = models.CharField(max_length=64, blank=True)
    problem = models.TextField(blank=True)  # why it cannot look
    remedy = models.TextField(blank=True)
    wakes_kind = models.CharField(max_length=20, blank=True)  # whom to nudge when the answer
    wakes_id = models.BigIntegerField(null=True, blank=True)  # changes
    # What a sweep has read for many runs at once (`gathering.Ahead`); no column.
    ahead: Any = None

    class Meta:
        """Rules that hold whoever writes the row."""

        constraints: ClassVar = [
            state_is_known(list(AnalysisState), "analysis"),
            models.CheckConstraint(
                condition=Q(answer__in=[str(a) for a in Answer]), name="analysis_answer_is_known"
            ),
            models.CheckConstraint(
                condition=Q(
                    state__in=sorted(str(s) for s in ANALYSIS.terminal()), ended_at__isnull=False
                )
                | Q(
                    ~Q(state__in=sorted(str(s) for s in ANALYSIS.terminal())),
                    ended_at__isnull=True,
                ),
                name="analysis_ended_when_it_has_an_end",
            ),
        ]

    def __str__(self) -> str:
        """Name the run uniquely."""
        return f"analysis {self.public_id} of {self.subject} ({self.state})"


class Asking(Reconcilable):
    """That one metric of a run is asked of another source, again and again.

    A kind of its own: whoever is asked may keep us waiting, and no look waits for that.
    """

    run = models.ForeignKey(AnalysisRun, on_delete=models.CASCADE, related_name="askings")
    metric = models.CharField(max_length=64)
    answered_at = models.DateTimeField(null=True, blank=True)  # last, with or without data
    problem_code = models.CharField(max_length=64, blank=True)
    problem = models.TextField(blank=True)  # why the last question has no answer
    remedy = models.TextField(blank=True)

    class Meta:
        """Rules that hold whoever writes the row."""

        constraints: ClassVar = [
            models.UniqueConstraint(fields=["run", "metric"], name="one_asking_per_metric")
        ]

    def __str__(self) -> str:
        """Name the asking uniquely."""
        return f"{self.metric} of analysis {self.run_id}"


class Measurement(models.Model):
    """What another source said of one metric, of both sides as of one moment."""

    run = models.ForeignKey(AnalysisRun, on_delete=models.CASCADE, related_name="measurements")
    metric = models.CharField(max_length=64)
    at = models.DateTimeField()
    seconds = models.FloatField()  # since the one before
    stable = models.FloatField(null=True)  # None: it had no data
    stable_count = models.FloatField(null=True)  # of how many it is the mean; None: not said
    canary = models.FloatField(null=True)
    canary_count = models.FloatField(null=True)

    class Meta:
        """Rules that hold whoever writes the row."""

        constraints: ClassVar = [
            models.UniqueConstraint(fields=["run", "metric", "at"], name="measured_once")
        ]
        indexes: ClassVar = [models.Index(fields=["at"], name="measurement_by_time")]

    def __str__(self) -> str:
        """Name the measurement uniquely."""
        return f"{self.metric} of analysis {self.run_id} at {self.at:%H:%M:%S}"


class Look(models.Model):
    """What was known of one metric when it was looked at: a point of the page's curves."""

    run = models.ForeignKey(AnalysisRun, on_delete=models.CASCADE, related_name="looks")
    at = models.DateTimeField()
    metric = models.CharField(max_length=64)
    step = models.PositiveSmallIntegerField(default=0)
    worse = models.FloatField()  # e-values, as far as a double goes
    not_worse = models.FloatField()
    stable = models.FloatField(null=True)
    canary = models.FloatField(null=True)
    stable_total = models.FloatField()
    canary_total = models.FloatField()
    low = models.FloatField(null=True)
    high = models.FloatField(null=True)

    class Meta:
        """How they are looked for."""

        constraints: ClassVar = [
            models.UniqueConstraint(fields=["run", "metric", "at"], name="looked_at_once")
        ]
        indexes: ClassVar = [models.Index(fields=["at"], name="look_by_time")]

    def __str__(self) -> str:
        """Name the look uniquely."""
        return f"{self.metric} of analysis {self.run_id} at {self.at:%H:%M:%S}"
