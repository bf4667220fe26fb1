"""Policies, gates, scores, evidence and waivers as JSON: one command serializer a verb."""

from typing import Any

from rest_framework import serializers

from apps.gates.domain.catalogue import Gate
from apps.gates.domain.dry_run import Effect, GateOutcome
from apps.gates.domain.mltest import Score, SectionStanding, Standing
from apps.gates.domain.policy import parse
from apps.gates.domain.policy_words import diff
from apps.gates.models import Policy
from apps.gates.trials import DryRun, Tried
from apps.registry.domain.kinds import RiskTier
from controlplane.http.api import Command

LONGEST_YAML = 256 * 1024


class PolicyAnswer(serializers.ModelSerializer[Policy]):
    """One version of a policy."""

    environment = serializers.CharField(source="environment.slug")
    risk_tier = serializers.ChoiceField(choices=[str(t) for t in RiskTier])
    number = serializers.IntegerField(help_text="0 for the default, which is not on record yet.")
    document = serializers.JSONField(help_text="What it says; see docs/gates.md.")

    class Meta:
        """Which columns are shown."""

        model = Policy
        fields = (
            "environment", "risk_tier", "number", "created_by", "created_at", "reason", "document",
        )  # fmt: skip


class SavedPolicyAnswer(serializers.Serializer[Any]):
    """A policy after it was saved."""

    policy = PolicyAnswer()
    is_new = serializers.BooleanField(help_text="False when it said the same already.")


class ImportAnswer(serializers.Serializer[Any]):
    """What an import did."""

    results = SavedPolicyAnswer(many=True)


class GateAnswer(serializers.Serializer[Gate]):
    """One gate of the catalogue."""

    name = serializers.CharField(help_text="What policies call it.")
    title = serializers.CharField(help_text="A statement that is true when it is passed.")
    section = serializers.CharField()
    checks = serializers.CharField(help_text="What it looks at.")
    remedy = serializers.CharField(help_text="What to do when it is not passed.")
    kind = serializers.CharField(help_text="measured by us, judged from ci, or later.")
    max_age_days = serializers.SerializerMethodField()

    def get_max_age_days(self, gate: Gate) -> float:
        """Return how old a finding may be where the policy does not say."""
        return gate.max_age.total_seconds() / 86_400


class GateListAnswer(serializers.Serializer[Any]):
    """Every gate there is."""

    results = GateAnswer(many=True)


class GateOutcomeAnswer(serializers.Serializer[GateOutcome]):
    """One gate before and after; null where it is not asked for."""

    gate = serializers.CharField()
    required_before = serializers.BooleanField(allow_null=True)
    required_after = serializers.BooleanField(allow_null=True)
    before = serializers.CharField(allow_null=True)
    after = serializers.CharField(allow_null=True)
    stops = serializers.BooleanField(help_text="Whether it would stop the release.")
    why = serializers.CharField()


class TriedAnswer(serializers.Serializer[Tried]):
    """One open checklist under the policy that was tried."""

    checklist = serializers.CharField(source="checklist.public_id")
    model = serializers.CharField(source="checklist.version.model.name")
    version = serializers.IntegerField(source="checklist.version.number")
    variant = serializers.CharField(source="checklist.variant.kind")
    effect = serializers.ChoiceField(source="outcome.effect", choices=[str(e) for e in Effect])
    before = serializers.CharField(source="outcome.before")
    after = serializers.CharField(source="outcome.after")
    gates = GateOutcomeAnswer(source="outcome.gates", many=True)


class DryRunAnswer(serializers.Serializer[DryRun]):
    """What a policy would do to the releases that are open now."""

    changes = serializers.SerializerMethodField()
    stopped = serializers.SerializerMethodField()
    let_through = serializers.SerializerMethodField()
    left_out = serializers.IntegerField(help_text="Open checklists that were not looked at.")
    checklists = TriedAnswer(source="tried", many=True)

    def get_changes(self, run: DryRun) -> list[str]:
        """Return what it changes, in sentences."""
        return list(diff(parse(self.context["current"].document), run.policy))

    def get_stopped(self, run: DryRun) -> int:
        """Return how many it would stop."""
        return len(run.stopped)

    def get_let_through(self, run: DryRun) -> int:
        """Return how many it would let through."""
        return len(run.let_through)


class StandingAnswer(serializers.Serializer[Standing]):
    """One test of the ML Test Score."""

    key = serializers.CharField(source="test.key", help_text="The key of its evidence.")
    number = serializers.IntegerField(source="test.number")
    title = serializers.CharField(source="test.title")
    how = serializers.CharField(source="test.how", help_text="How it is evidenced here.")
    way = serializers.CharField(source="test.way")
    gate = serializers.CharField(source="test.gate")
    state = serializers.CharField()
    points = serializers.FloatField()
    sentence = serializers.SerializerMethodField()
    evidence = serializers.SerializerMethodField()

    def get_sentence(self, standing: Standing) -> str:
        """Return what was found."""
        return standing.fact.sentence if standing.fact else ""

    def get_evidence(self, standing: Standing) -> str | None:
        """Return the id of the evidence that decided, if any did."""
        return standing.fact.evidence or None if standing.fact else None


class SectionAnswer(serializers.Serializer[SectionStanding]):
    """One of the four sections."""

    section = serializers.CharField()
    points = serializers.FloatField()
    tests = StandingAnswer(many=True)


class ScoreAnswer(serializers.Serializer[Score]):
    """What a version scores: the least of its four sections."""

    model = serializers.SerializerMethodField()
    version = serializers.SerializerMethodField()
    score = serializers.FloatField(source="points")
    band = serializers.CharField()
    weakest = serializers.SerializerMethodField()
    sections = SectionAnswer(many=True)

    def get_model(self, score: Score) -> str:
        """Return the model's name."""
        return str(self.context["version"].model.name)

    def get_version(self, score: Score) -> int:
        """Return the version's number."""
        return int(self.context["version"].number)

    def get_weakest(self, score: Score) -> list[str]:
        """Return the sections that hold the score down."""
        return [str(section.section) for section in score.weakest]


class WritePolicy(Command):
    """Write the next version of a policy."""

    document = serializers.JSONField(help_text="What it says; see docs/gates.md.")
    reason = serializers.CharField(max_length=2000, help_text="Why, for history and ledger.")
    base = serializers.IntegerField(
        required=False,
        min_value=0,
        help_text="The number you looked at; refused with 409 when another is in force.",
    )


class ImportPolicies(Command):
    """Write several policies, all or none."""

    yaml = serializers.CharField(
        required=False,
        max_length=LONGEST_YAML,
        trim_whitespace=False,
        help_text="As exported by GET /policies?format=yaml, or one policy of it.",
    )
    policies = serializers.JSONField(
        required=False,
        help_text="The same as JSON: a list of {environment, risk_tier, policy}.",
    )
    reason = serializers.CharField(max_length=2000)


class TryPolicy(Command):
    """Try a policy without saving it."""

    environment = serializers.CharField(max_length=40)
    risk_tier = serializers.CharField(max_length=8)
    document = serializers.JSONField()
