"""Rows of the registry."""

from typing import ClassVar

from django.contrib.postgres.indexes import GinIndex
from django.db import models
from django.db.models import F, Q
from django.db.models.functions import Lower

from apps.accounts.models import Person, Team
from apps.registry.domain.kinds import Door, Format, MirrorState, RiskTier
from apps.registry.domain.states import VERSION, VersionState
from controlplane.db.base import Row, state_is_known
from controlplane.db.reconcile import Reconcilable


class RegisteredModel(Row):
    """A named line of models that solve one task."""

    name = models.CharField(max_length=128, unique=True)
    team = models.ForeignKey(Team, on_delete=models.PROTECT, related_name="models")
    risk_tier = models.CharField(max_length=8, default=RiskTier.MEDIUM)
    task = models.CharField(max_length=80, blank=True)
    description = models.TextField(blank=True)
    card = models.TextField(blank=True)  # the model card, Markdown
    # The largest |difference| to the original that a variant may show, and the smallest
    # share of equal labels; a variant outside either is "too lossy".
    tolerance = models.FloatField(default=1e-3)
    min_agreement = models.FloatField(default=0.99)
    next_number = models.PositiveIntegerField(default=1)
    version_count = models.PositiveIntegerField(default=0)
    latest_number = models.PositiveIntegerField(null=True, blank=True)
    created_by = models.CharField(max_length=200)
    archived_at = models.DateTimeField(null=True, blank=True)

    class Meta:
        """Rules that hold whoever writes the row."""

        constraints: ClassVar = [
            models.CheckConstraint(
                condition=Q(risk_tier__in=[str(t) for t in RiskTier]), name="risk_tier_is_known"
            ),
            models.UniqueConstraint(Lower("name"), name="model_name_unique_in_any_case"),
        ]
        indexes: ClassVar = [
            GinIndex(fields=["name"], opclasses=["gin_trgm_ops"], name="model_name_trgm"),
            GinIndex(
                fields=["description"], opclasses=["gin_trgm_ops"], name="model_description_trgm"
            ),
            models.Index(fields=["-changed_at", "-id"], name="model_by_change"),
        ]

    def __str__(self) -> str:
        """Name the model."""
        return self.name


class ModelVersion(Row, Reconcilable):
    """One immutable, numbered artifact of a registered model.

    The reconcile columns drive its mirror in MLflow (`mirror_state`).
    """

    model = models.ForeignKey(RegisteredModel, on_delete=models.PROTECT, related_name="versions")
    number = models.PositiveIntegerField()
    semver = models.CharField(max_length=40, blank=True)
    state = models.CharField(max_length=12, default=VERSION.initial)
    door = models.CharField(max_length=8, default=Door.REST)
    format = models.CharField(max_length=16, blank=True)
    framework = models.CharField(max_length=80, blank=True)  # "scikit-learn 1.9.1"
    facts = models.JSONField(default=dict)  # what was read from the files: opset, estimator, ...
    inputs = models.JSONField(default=list)  # [{"name", "datatype" (OIP), "shape" (-1 free)}]
    outputs = models.JSONField(default=list)
    metrics = models.JSONField(default=dict)  # {"auc": 0.97}
    params = models.JSONField(default=dict)
    tags = models.JSONField(default=dict)
    description = models.TextField(blank=True)
    dataset = models.CharField(max_length=200, blank=True)
    dataset_digest = models.CharField(max_length=80, blank=True)
    trained_at = models.DateTimeField(null=True, blank=True)
    run_id = models.CharField(max_length=64, blank=True)
    git_commit = models.CharField(max_length=64, blank=True)
    source = models.CharField(max_length=500, blank=True)  # where the bytes came from
    manifest_digest = models.CharField(max_length=80, null=True, blank=True)  # noqa: DJ001
    # The number of an earlier version with the same bytes. Only a version that MLflow had
    # already numbered can be one; every other door answers with the earlier version instead.
    duplicate_of = models.PositiveIntegerField(null=True, blank=True)
    size = models.BigIntegerField(default=0)  # bytes
    registered_by = models.CharField(max_length=200)
    mirror_state = models.CharField(max_length=10, default=MirrorState.PENDING)
    mirror_problem = models.CharField(max_length=500, blank=True)

    class Meta:
        """Rules that hold whoever writes the row."""

        constraints: ClassVar = [
            state_is_known(list(VersionState), "version"),
            models.UniqueConstraint(fields=["model", "number"], name="version_number_used_once"),
            models.UniqueConstraint(
                fields=["model", "manifest_digest"],
                condition=Q(duplicate_of=None),
                name="version_registered_once_by_digest",
            ),
            models.CheckConstraint(
                condition=Q(format__in=["", *[str(f) for f in Format]]),
                name="version_format_is_known",
            ),
        ]
        indexes: ClassVar = [
            models.Index(fields=["model", "-number"], name="version_newest_first"),
            models.Index(fields=["model", "-created_at", "-id"], name="version_by_creation"),
            models.Index(fields=["manifest_digest"], name="version_by_digest"),
            models.Index(fields=["run_id"], name="version_by_run"),
        ]

    def __str__(self) -> str:
        """Name the version as the MLflow client does."""
        return f"version {self.number} of model {self.model_id}"


class VersionFile(models.Model):
    """One file of a version's manifest; its bytes lie in the blob store by digest."""

    version = models.ForeignKey(ModelVersion, on_delete=models.CASCADE, related_name="files")
    path = models.CharField(max_length=500)
    sha256 = models.CharField(max_length=64)
    size = models.BigIntegerField()

    class Meta:
        """Rules that hold whoever writes the row."""

        constraints: ClassVar = [
            models.UniqueConstraint(fields=["version", "path"], name="file_path_used_once")
        ]

    def __str__(self) -> str:
        """Name the file by its path."""
        return self.path


class Alias(Row):
    """A movable name for one version of a model."""

    model = models.ForeignKey(RegisteredModel, on_delete=models.CASCADE, related_name="aliases")
    name = models.CharField(max_length=80)
    version = models.ForeignKey(ModelVersion, on_delete=models.PROTECT, related_name="aliases")
    # What MLflow was last seen to show, null for nothing: what it shows beside this and
    # `version` is somebody's doing, past us.
    shown_number = models.PositiveIntegerField(null=True, blank=True)

    class Meta:
        """Rules that hold whoever writes the row."""

        constraints: ClassVar = [
            models.UniqueConstraint(fields=["model", "name"], name="alias_used_once_per_model")
        ]

    def __str__(self) -> str:
        """Name the alias."""
        return self.name


class UploadState(models.TextChoices):
    """Where an upload is in its life."""

    OPEN = "open"
    COMPLETE = "complete"
    REGISTERED = "registered"
    ABANDONED = "abandoned"


class Upload(Row):
    """A file on its way in, received in order, resumable at `received`."""

    owner = models.ForeignKey(Person, null=True, on_delete=models.CASCADE)  # null: a worker
    filename = models.CharField(max_length=255)
    size = models.BigIntegerField()  # bytes, as announced
    received = models.BigIntegerField(default=0)
    sha256 = models.CharField(max_length=64, blank=True)  # known when complete
    state = models.CharField(max_length=10, default=UploadState.OPEN)
    facts = models.JSONField(default=dict)  # what could be read from the file
    problem = models.CharField(max_length=500, blank=True)
    expires_at = models.DateTimeField()

    class Meta:
        """Rules that hold whoever writes the row."""

        constraints: ClassVar = [
            state_is_known(list(UploadState), "upload"),
            models.CheckConstraint(
                condition=Q(received__gte=0, received__lte=F("size")),
                name="upload_never_receives_more_than_announced",
            ),
        ]

    def __str__(self) -> str:
        """Name the upload uniquely."""
        return f"upload {self.public_id} of {self.filename}"
