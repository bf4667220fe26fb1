"""What builds look like as JSON: one read serializer a noun, one command serializer a verb."""

from typing import Any

from rest_framework import serializers

from apps.builds import selectors
from apps.builds.domain.variants import VariantKind
from apps.builds.models import Build, BuildStep, Variant
from controlplane.http.api import Command


class StepAnswer(serializers.ModelSerializer[BuildStep]):
    """One step of a build."""

    class Meta:
        """Which columns are shown."""

        model = BuildStep
        fields = ("name", "state", "started_at", "ended_at", "summary")


class VariantAnswer(serializers.ModelSerializer[Variant]):
    """One form of a version, with its proof sheet."""

    id = serializers.CharField(source="public_id")

    class Meta:
        """Which columns are shown."""

        model = Variant
        fields = (
            "id", "kind", "state", "reason", "bundle_digest", "size", "runtimes", "verdict",
            "max_difference", "mean_difference", "agreement", "p50_ms", "p95_ms", "p99_ms",
            "throughput", "memory_mb", "compatibility", "proof",
        )  # fmt: skip


class ProblemOfBuild(serializers.Serializer[Any]):
    """Why a build failed."""

    code = serializers.CharField(source="problem_code")
    sentence = serializers.CharField(source="problem")
    remedy = serializers.CharField()
    step = serializers.CharField(source="failed_step")


class BuildAnswer(serializers.ModelSerializer[Build]):
    """One build, with its steps and variants."""

    id = serializers.CharField(source="public_id")
    model = serializers.CharField(source="version.model.name")
    version = serializers.IntegerField(source="version.number")
    steps = serializers.SerializerMethodField()
    variants = serializers.SerializerMethodField()
    problem = serializers.SerializerMethodField()

    class Meta:
        """Which columns are shown."""

        model = Build
        fields = (
            "id", "number", "state", "model", "version", "attempt", "requested_by", "created_at",
            "started_at", "ended_at", "steps", "variants", "problem",
        )  # fmt: skip

    def get_steps(self, build: Build) -> list[dict[str, Any]]:
        """Return the steps of the current attempt, in order."""
        return [dict(StepAnswer(step).data) for step in selectors.steps(build)]

    def get_variants(self, build: Build) -> list[dict[str, Any]]:
        """Return the variants, native first."""
        return [dict(VariantAnswer(variant).data) for variant in selectors.variants(build)]

    def get_problem(self, build: Build) -> dict[str, str] | None:
        """Return why it failed, or null."""
        return dict(ProblemOfBuild(build).data) if build.problem_code else None


class LogAnswer(serializers.Serializer[Any]):
    """A part of a build's log."""

    text = serializers.CharField()
    next = serializers.IntegerField(help_text="Ask for what follows with ?after= this number.")
    ended = serializers.BooleanField(help_text="Whether nothing will follow.")


class StartBuild(Command):
    """Ask for a build."""

    variants = serializers.ListField(
        child=serializers.ChoiceField(choices=[str(k) for k in VariantKind]),
        required=False,
        help_text="The variants wanted beside the native one; all that apply when left out.",
    )
    samples = serializers.CharField(
        required=False,
        max_length=20,
        help_text="The id of a completed upload with held-out inputs (.csv, .npy, .json).",
    )
    reason = serializers.CharField(required=False, allow_blank=True, max_length=2000)
