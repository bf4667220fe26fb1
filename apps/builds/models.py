"""Rows of builds."""

from typing import ClassVar

from django.db import models
from django.db.models import Q

from apps.builds.domain.states import BUILD, BuildState
from apps.builds.domain.variants import ProofVerdict, VariantKind, VariantState
from apps.registry.models import ModelVersion
from controlplane.db.base import Row, state_is_known
from controlplane.db.reconcile import Reconcilable


class Build(Row, Reconcilable):
    """One run of scan, package, convert, optimise, prove over a version."""

    version = models.ForeignKey(ModelVersion, on_delete=models.PROTECT, related_name="builds")
    number = models.PositiveIntegerField()  # 1, 2, ... within the version
    state = models.CharField(max_length=12, default=BUILD.initial)
    options = models.JSONField(default=dict)  # {"variants": [...], "samples": upload id, ...}
    attempt = models.PositiveSmallIntegerField(default=1)  # grows with each retry
    handle = models.CharField(max_length=200, blank=True)  # the driver's name for the running job
    requested_by = models.CharField(max_length=200)
    started_at = models.DateTimeField(null=True, blank=True)
    ended_at = models.DateTimeField(null=True, blank=True)
    failed_step = models.CharField(max_length=12, blank=True)
    problem_code = models.CharField(max_length=64, blank=True)
    problem = models.TextField(blank=True)  # one sentence: what is so
    remedy = models.TextField(blank=True)  # one sentence: what to do

    class Meta:
        """Rules that hold whoever writes the row."""

        constraints: ClassVar = [
            state_is_known(list(BuildState), "build"),
            models.UniqueConstraint(fields=["version", "number"], name="build_number_used_once"),
            models.UniqueConstraint(
                fields=["version"],
                condition=~Q(
                    state__in=sorted(
                        str(s)
                        for s in BUILD.terminal() | {BuildState.FAILED, BuildState.CANCELLED}
                    )
                ),
                name="one_active_build_per_version",
            ),
        ]
        indexes: ClassVar = [models.Index(fields=["-created_at", "-id"], name="build_newest")]

    def __str__(self) -> str:
        """Name the build uniquely."""
        return f"build {self.number} of version {self.version_id} ({self.state})"


class BuildStep(models.Model):
    """One step of a build, in one attempt."""

    build = models.ForeignKey(Build, on_delete=models.CASCADE, related_name="steps")
    attempt = models.PositiveSmallIntegerField(default=1)
    name = models.CharField(max_length=12)  # scan, package, convert, optimise, prove
    state = models.CharField(max_length=10, default="running")  # running, succeeded, failed
    started_at = models.DateTimeField()
    ended_at = models.DateTimeField(null=True, blank=True)
    summary = models.CharField(max_length=300, blank=True)  # "2 files scanned, nothing unsafe"

    class Meta:
        """Rules that hold whoever writes the row."""

        constraints: ClassVar = [
            models.UniqueConstraint(
                fields=["build", "attempt", "name"], name="step_named_once_per_attempt"
            )
        ]

    def __str__(self) -> str:
        """Name the step."""
        return f"{self.name} of build {self.build_id}"


class BuildLogChunk(models.Model):
    """Some lines of a build's log, in order."""

    build = models.ForeignKey(Build, on_delete=models.CASCADE, related_name="log")
    attempt = models.PositiveSmallIntegerField(default=1)
    step = models.CharField(max_length=12)
    offset = models.BigIntegerField()  # where the chunk begins in the job's log, in bytes
    length = models.PositiveIntegerField()  # bytes of the log that it stands for
    text = models.TextField()

    class Meta:
        """Rules that hold whoever writes the row."""

        constraints: ClassVar = [
            models.UniqueConstraint(
                fields=["build", "attempt", "offset"], name="log_chunk_stored_once"
            )
        ]

    def __str__(self) -> str:
        """Name the chunk by its place."""
        return f"log of build {self.build_id} at {self.offset}"


class Variant(Row):
    """One form of a version, with its bundle and its proof sheet."""

    build = models.ForeignKey(Build, on_delete=models.CASCADE, related_name="variants")
    version = models.ForeignKey(ModelVersion, on_delete=models.PROTECT, related_name="variants")
    kind = models.CharField(max_length=20)
    state = models.CharField(max_length=8, default=VariantState.BUILT)
    reason = models.CharField(max_length=500, blank=True)  # why it was skipped or failed
    bundle_digest = models.CharField(max_length=80, blank=True)  # of the OCI manifest
    size = models.BigIntegerField(default=0)  # bytes of the model files
    runtimes = models.JSONField(
        default=list
    )  # names of the runtimes that can serve it, best first
    compatibility = models.JSONField(default=dict)  # runtime, version, opset, compute capability
    verdict = models.CharField(max_length=10, default=ProofVerdict.UNKNOWN)
    # The proof sheet. Latencies in milliseconds at a batch of 1, one thread; None: not measured.
    max_difference = models.FloatField(null=True, blank=True)
    mean_difference = models.FloatField(null=True, blank=True)
    agreement = models.FloatField(null=True, blank=True)  # share of equal labels, 0-1
    p50_ms = models.FloatField(null=True, blank=True)
    p95_ms = models.FloatField(null=True, blank=True)
    p99_ms = models.FloatField(null=True, blank=True)
    throughput = models.FloatField(null=True, blank=True)  # predictions per second, batch of 64
    memory_mb = models.FloatField(null=True, blank=True)
    proof = models.JSONField(default=dict)  # the whole sheet: samples, source, slices, versions

    class Meta:
        """Rules that hold whoever writes the row."""

        constraints: ClassVar = [
            models.UniqueConstraint(fields=["build", "kind"], name="variant_made_once_per_build"),
            models.CheckConstraint(
                condition=Q(kind__in=[str(k) for k in VariantKind]), name="variant_kind_is_known"
            ),
            state_is_known(list(VariantState), "variant"),
        ]

    def __str__(self) -> str:
        """Name the variant uniquely."""
        return f"{self.kind} of version {self.version_id}"
