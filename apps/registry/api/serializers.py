"""What the registry looks like as JSON.

The answers of models and versions are written out by hand: they are read a thousand times a
second, and REST framework's field by field rendering would take longer than the query. The
declared fields are what the OpenAPI document says; a test holds the two together.
"""

from collections.abc import Mapping
from typing import Any

from django.urls import reverse
from rest_framework import serializers

from apps.registry.api import shown
from apps.registry.domain import details as described
from apps.registry.domain.details import Details
from apps.registry.domain.kinds import Door, Format, MirrorState, RiskTier
from apps.registry.domain.states import VersionState
from apps.registry.models import ModelVersion, RegisteredModel, Upload, UploadState
from controlplane.http.api import Command


class TensorAnswer(serializers.Serializer[Any]):
    """One input or output, as the Open Inference Protocol describes it."""

    name = serializers.CharField()
    datatype = serializers.CharField()
    shape = serializers.ListField(child=serializers.IntegerField(help_text="-1 where it is free."))


class ModelAnswer(serializers.Serializer[RegisteredModel]):
    """A registered model."""

    id = serializers.CharField()
    name = serializers.CharField()
    team = serializers.CharField()
    risk_tier = serializers.ChoiceField(choices=[str(t) for t in RiskTier])
    task = serializers.CharField(allow_blank=True)
    description = serializers.CharField(allow_blank=True)
    card = serializers.CharField(allow_blank=True, help_text="The model card, as Markdown.")
    tolerance = serializers.FloatField()
    min_agreement = serializers.FloatField()
    version_count = serializers.IntegerField()
    latest_version = serializers.IntegerField(allow_null=True)
    aliases = serializers.DictField(child=serializers.IntegerField())
    archived = serializers.BooleanField()
    created_by = serializers.CharField()
    created_at = serializers.DateTimeField()
    changed_at = serializers.DateTimeField()

    def to_representation(self, instance: RegisteredModel) -> dict[str, Any]:
        """Return the model as JSON."""
        aliases = {alias.name: alias.version.number for alias in instance.aliases.all()}
        return shown.model(instance, team=instance.team.slug, aliases=aliases)


class MirrorAnswer(serializers.Serializer[Any]):
    """Whether MLflow knows the version as we do."""

    state = serializers.ChoiceField(choices=[str(s) for s in MirrorState])
    problem = serializers.CharField(allow_blank=True)


class VersionAnswer(serializers.Serializer[ModelVersion]):
    """A model version."""

    id = serializers.CharField()
    model = serializers.CharField()
    number = serializers.IntegerField()
    semver = serializers.CharField(allow_blank=True)
    state = serializers.ChoiceField(choices=[str(s) for s in VersionState])
    door = serializers.ChoiceField(choices=[str(d) for d in Door])
    format = serializers.ChoiceField(choices=["", *[str(f) for f in Format]])
    framework = serializers.CharField(allow_blank=True)
    inputs = TensorAnswer(many=True)
    outputs = TensorAnswer(many=True)
    facts = serializers.DictField()
    metrics = serializers.DictField(child=serializers.FloatField())
    params = serializers.DictField(child=serializers.CharField(allow_blank=True))
    tags = serializers.DictField(child=serializers.CharField(allow_blank=True))
    aliases = serializers.ListField(child=serializers.CharField())
    description = serializers.CharField(allow_blank=True)
    dataset = serializers.CharField(allow_blank=True)
    dataset_digest = serializers.CharField(allow_blank=True)
    trained_at = serializers.DateTimeField(allow_null=True)
    run_id = serializers.CharField(allow_blank=True)
    git_commit = serializers.CharField(allow_blank=True)
    source = serializers.CharField(allow_blank=True)  # type: ignore[assignment]  # a field
    digest = serializers.CharField(
        allow_null=True, help_text="Of the manifest; null until the files were read."
    )
    duplicate_of = serializers.IntegerField(allow_null=True)
    size = serializers.IntegerField()
    mirror = MirrorAnswer()
    registered_by = serializers.CharField()
    created_at = serializers.DateTimeField()
    changed_at = serializers.DateTimeField()

    def to_representation(self, instance: ModelVersion) -> dict[str, Any]:
        """Return the version as JSON."""
        aliases = [alias.name for alias in instance.aliases.all()]
        return shown.version(instance, model=instance.model.name, aliases=aliases)


class FileAnswer(serializers.Serializer[Any]):
    """One file of a version."""

    path = serializers.CharField()
    sha256 = serializers.CharField()
    size = serializers.IntegerField()


class FilesAnswer(serializers.Serializer[Any]):
    """The manifest of a version."""

    digest = serializers.CharField(allow_null=True)
    size = serializers.IntegerField()
    files = FileAnswer(many=True)


class AliasAnswer(serializers.Serializer[Any]):
    """An alias, and the version it names."""

    alias = serializers.CharField()
    version = serializers.IntegerField()
    changed_at = serializers.DateTimeField()


class ProblemInUpload(serializers.Serializer[Any]):
    """Why the uploaded file cannot be registered alone."""

    code = serializers.CharField()
    sentence = serializers.CharField()
    remedy = serializers.CharField(allow_blank=True)


class InspectedAnswer(serializers.Serializer[Any]):
    """What was read from an uploaded file."""

    format = serializers.ChoiceField(choices=[str(f) for f in Format])
    framework = serializers.CharField(allow_blank=True)
    inputs = TensorAnswer(many=True)
    outputs = TensorAnswer(many=True)
    facts = serializers.DictField()
    run_id = serializers.CharField(allow_blank=True)


class UploadAnswer(serializers.Serializer[Upload]):
    """An upload."""

    id = serializers.CharField()
    filename = serializers.CharField()
    size = serializers.IntegerField()
    received = serializers.IntegerField()
    state = serializers.ChoiceField(choices=[str(s) for s in UploadState])
    bytes_url = serializers.URLField(help_text="PATCH the bytes here, from `received` on.")
    sha256 = serializers.CharField(allow_blank=True)
    inspected = InspectedAnswer(allow_null=True)
    problem = ProblemInUpload(allow_null=True)
    expires_at = serializers.DateTimeField()
    created_at = serializers.DateTimeField()

    def to_representation(self, instance: Upload) -> dict[str, Any]:
        """Return the upload as JSON."""
        request = self.context["request"]
        return {
            "id": instance.public_id,
            "filename": instance.filename,
            "size": instance.size,
            "received": instance.received,
            "state": instance.state,
            "bytes_url": request.build_absolute_uri(f"/uploads/{instance.public_id}"),
            "sha256": instance.sha256,
            "inspected": instance.facts.get("inspected"),
            "problem": instance.facts.get("problem"),
            "expires_at": shown.time(instance.expires_at),
            "created_at": shown.time(instance.created_at),
        }


class ComparedMetric(serializers.Serializer[Any]):
    """One metric of both versions."""

    name = serializers.CharField()
    left = serializers.FloatField(allow_null=True)
    right = serializers.FloatField(allow_null=True)
    difference = serializers.FloatField(allow_null=True)
    share = serializers.FloatField(allow_null=True)
    verdict = serializers.CharField()


class ComparedValue(serializers.Serializer[Any]):
    """One parameter, or one fact of the lineage."""

    name = serializers.CharField()
    left = serializers.CharField(allow_null=True)
    right = serializers.CharField(allow_null=True)
    verdict = serializers.CharField()


class ComparedField(serializers.Serializer[Any]):
    """One input or output."""

    name = serializers.CharField()
    left = TensorAnswer(allow_null=True)
    right = TensorAnswer(allow_null=True)
    verdict = serializers.CharField()
    breaks = serializers.CharField(allow_blank=True, help_text="Why a caller would fail.")


class ComparedFile(serializers.Serializer[Any]):
    """One file, by its path."""

    path = serializers.CharField()
    left = FileAnswer(allow_null=True)
    right = FileAnswer(allow_null=True)
    verdict = serializers.CharField()


class ComparisonAnswer(serializers.Serializer[Any]):
    """Two versions side by side."""

    left = serializers.IntegerField(source="left.number")
    right = serializers.IntegerField(source="right.number")
    same_bytes = serializers.BooleanField()
    callable = serializers.CharField(
        help_text="Whether a caller of the left version can call the right one: yes, no, unknown."
    )
    reasons = serializers.ListField(child=serializers.CharField())
    metrics = ComparedMetric(many=True)
    params = ComparedValue(many=True)
    inputs = ComparedField(many=True)
    outputs = ComparedField(many=True)
    files = ComparedFile(many=True)
    lineage = ComparedValue(many=True)
    about = ComparedValue(many=True)


# --- commands ---------------------------------------------------------------------------------


class CreateModel(Command):
    """The body of "create a model"."""

    name = serializers.CharField(max_length=300)
    team = serializers.CharField(max_length=40)
    risk_tier = serializers.ChoiceField(choices=[str(t) for t in RiskTier], required=False)
    task = serializers.CharField(max_length=80, required=False, allow_blank=True)
    description = serializers.CharField(max_length=100_000, required=False, allow_blank=True)
    card = serializers.CharField(max_length=500_000, required=False, allow_blank=True)
    tolerance = serializers.FloatField(min_value=0, required=False)
    min_agreement = serializers.FloatField(min_value=0, max_value=1, required=False)


class EditModel(Command):
    """The body of "edit a model": what is not sent stays."""

    team = serializers.CharField(max_length=40, required=False)
    risk_tier = serializers.ChoiceField(choices=[str(t) for t in RiskTier], required=False)
    task = serializers.CharField(max_length=80, required=False, allow_blank=True)
    description = serializers.CharField(max_length=100_000, required=False, allow_blank=True)
    card = serializers.CharField(max_length=500_000, required=False, allow_blank=True)
    tolerance = serializers.FloatField(min_value=0, required=False)
    min_agreement = serializers.FloatField(min_value=0, max_value=1, required=False)


class EditVersion(Command):
    """The body of "edit a version": what is not sent stays."""

    semver = serializers.CharField(max_length=40, required=False, allow_blank=True)
    description = serializers.CharField(max_length=100_000, required=False, allow_blank=True)
    metrics = serializers.DictField(required=False)
    params = serializers.DictField(required=False)
    tags = serializers.DictField(required=False)
    dataset = serializers.CharField(max_length=200, required=False, allow_blank=True)
    dataset_digest = serializers.CharField(max_length=80, required=False, allow_blank=True)
    trained_at = serializers.DateTimeField(required=False, allow_null=True)
    git_commit = serializers.CharField(max_length=64, required=False, allow_blank=True)


class UploadPlaced(Command):
    """One of several uploads, and its path in the version."""

    upload = serializers.CharField(max_length=40)
    path = serializers.CharField(max_length=500, required=False, allow_blank=True)


class RegisterVersion(EditVersion):
    """The body of "register a version": one of upload, uploads, or run_id with artifact_path."""

    upload = serializers.CharField(max_length=40, required=False)
    uploads = UploadPlaced(many=True, required=False)
    run_id = serializers.CharField(max_length=64, required=False)
    artifact_path = serializers.CharField(max_length=400, required=False, allow_blank=True)

    def validate(self, attrs: dict[str, Any]) -> dict[str, Any]:
        """Refuse none or several sources."""
        given = [name for name in ("upload", "uploads", "run_id") if attrs.get(name)]
        if len(given) != 1:
            raise serializers.ValidationError(
                "Send one of upload, uploads, or run_id with artifact_path.", code="one_source"
            )
        if len(attrs.get("uploads", ())) > 1000:
            raise serializers.ValidationError("At most 1000 uploads make a version.")
        return attrs


def details_of(given: Mapping[str, Any]) -> Details:
    """Return what a checked `RegisterVersion` says about the version."""
    said = {k: v for k, v in given.items() if k in Details.__dataclass_fields__}
    said.pop("run_id", None)
    if "metrics" in said:
        said["metrics"] = described.metrics(said["metrics"])
    for name in ("params", "tags"):
        if name in said:
            said[name] = described.words(said[name], name)
    return Details(**said)


class MoveAlias(Command):
    """The body of "let an alias name a version"."""

    version = serializers.IntegerField(min_value=1, max_value=2**31 - 1)
    reason = serializers.CharField(max_length=2000, required=False, allow_blank=True)


class BeginUpload(Command):
    """The body of "announce a file"."""

    filename = serializers.CharField(max_length=1000)
    size = serializers.IntegerField(min_value=1, max_value=2**62, help_text="Bytes.")


def upload_address(upload: Upload) -> str:
    """Return where REST shows the upload."""
    return reverse("api-upload", args=[upload.public_id])
