"""Policies, gates, scores, evidence and waivers as JSON: one command serializer a verb."""

from datetime import datetime
from typing import Any

from rest_framework import serializers

from apps.gates.domain.catalogue import Gate
from apps.gates.domain.dry_run import Effect, GateOutcome
from apps.gates.domain.mltest import Score, SectionStanding, Standing
from apps.gates.domain.policy import parse
from apps.gates.domain.policy_words import diff
from apps.gates.models import Checklist, Evidence, Policy, Waiver
from apps.gates.selectors import ChecklistStanding, GateView
from apps.gates.trials import DryRun, Tried
from apps.registry.domain.kinds import RiskTier
from controlplane.http.api import Command

LONGEST_YAML = 256 * 1024


class PolicyAnswer(serializers.ModelSerializer[Policy]):
    """One version of a policy."""

    environment = serializers.CharField(source="environment.slug")
    risk_tier = serializers.ChoiceField(choices=[str(t) for t in RiskTier])
    number = serializers.IntegerField(help_text="0 for the default, which is not on record yet.")
    document = serializers.JSONField(help_text="What it says; see docs/policies.md.")

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


class MLTestAnswer(serializers.Serializer[Standing]):
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


class ScoreSectionAnswer(serializers.Serializer[SectionStanding]):
    """One of the four sections."""

    section = serializers.CharField()
    points = serializers.FloatField()
    tests = MLTestAnswer(many=True)


class ScoreAnswer(serializers.Serializer[Score]):
    """What a version scores: the least of its four sections."""

    model = serializers.SerializerMethodField()
    version = serializers.SerializerMethodField()
    score = serializers.FloatField(source="points")
    band = serializers.CharField()
    weakest = serializers.SerializerMethodField()
    sections = ScoreSectionAnswer(many=True)

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

    document = serializers.JSONField(help_text="What it says; see docs/policies.md.")
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


class FileOfEvidence(serializers.Serializer[Any]):
    """One file that belongs to evidence."""

    name = serializers.CharField()
    sha256 = serializers.CharField()
    size = serializers.IntegerField()


class EvidenceAnswer(serializers.ModelSerializer[Evidence]):
    """A dated, sourced fact about bytes."""

    id = serializers.CharField(source="public_id")
    model = serializers.CharField(source="version.model.name")
    version = serializers.IntegerField(source="version.number")
    environment = serializers.SerializerMethodField()
    facts = serializers.JSONField()
    files = FileOfEvidence(many=True)

    class Meta:
        """Which columns are shown."""

        model = Evidence
        fields = (
            "id", "key", "model", "version", "environment", "subject", "verdict", "sentence",
            "facts", "files", "source", "link", "measured_at", "expires_at", "recorded_by",
            "created_at", "digest",
        )  # fmt: skip

    def get_environment(self, row: Evidence) -> str | None:
        """Return where it holds; null for everywhere."""
        return row.environment.slug if row.environment else None


class WaiverAnswer(serializers.ModelSerializer[Waiver]):
    """A decision to pass a gate without its evidence."""

    id = serializers.CharField(source="public_id")
    model = serializers.CharField(source="model.name")
    version = serializers.IntegerField(source="checklist.version.number")
    environment = serializers.CharField(source="checklist.environment.slug")
    checklist = serializers.CharField(source="checklist.public_id")
    granted_by = serializers.CharField(source="granted_by.username")

    class Meta:
        """Which columns are shown."""

        model = Waiver
        fields = (
            "id", "gate", "model", "version", "environment", "checklist", "reason", "granted_by",
            "created_at", "expires_at", "withdrawn_at", "withdrawn_by", "lapsed_at",
        )  # fmt: skip


class GateViewAnswer(serializers.Serializer[GateView]):
    """One gate of a checklist, as it stands."""

    gate = serializers.CharField()
    title = serializers.CharField()
    section = serializers.CharField()
    required = serializers.BooleanField()  # type: ignore[assignment]  # a field, not the option
    state = serializers.CharField()
    sentence = serializers.CharField()
    remedy = serializers.CharField()
    measured_at = serializers.DateTimeField(allow_null=True)
    expires_at = serializers.DateTimeField(allow_null=True)
    running = serializers.BooleanField()
    evidence = serializers.SerializerMethodField()
    waiver = serializers.SerializerMethodField()

    def get_evidence(self, view: GateView) -> str | None:
        """Return the id of what it was judged on."""
        return view.evidence.public_id if view.evidence else None

    def get_waiver(self, view: GateView) -> str | None:
        """Return the id of the waiver that holds."""
        return view.waiver.public_id if view.waiver else None


class ChecklistAnswer(serializers.Serializer[ChecklistStanding]):
    """A checklist, as it stands."""

    id = serializers.SerializerMethodField()
    model = serializers.SerializerMethodField()
    version = serializers.SerializerMethodField()
    variant = serializers.SerializerMethodField()
    environment = serializers.SerializerMethodField()
    policy = serializers.IntegerField(source="policy.number", help_text="The policy's version.")
    verdict = serializers.CharField()
    closed_at = serializers.SerializerMethodField()
    gates = GateViewAnswer(many=True)

    def get_id(self, standing: ChecklistStanding) -> str:
        """Return its id."""
        return str(self._row.public_id)

    def get_model(self, standing: ChecklistStanding) -> str:
        """Return the model's name."""
        return str(self._row.version.model.name)

    def get_version(self, standing: ChecklistStanding) -> int:
        """Return the version's number."""
        return int(self._row.version.number)

    def get_variant(self, standing: ChecklistStanding) -> str:
        """Return the variant's kind."""
        return str(self._row.variant.kind)

    def get_environment(self, standing: ChecklistStanding) -> str:
        """Return where it would be served."""
        return str(self._row.environment.slug)

    def get_closed_at(self, standing: ChecklistStanding) -> datetime | None:
        """Return since when nobody needs it; null while somebody does."""
        closed: datetime | None = self._row.closed_at
        return closed

    @property
    def _row(self) -> Checklist:
        row: Checklist = self.context["checklist"]
        return row


class FileToKeep(Command):
    """One file of evidence: a completed upload."""

    upload = serializers.CharField(max_length=20, help_text="The id of a completed upload.")
    name = serializers.CharField(max_length=200, required=False)


class SendEvidence(Command):
    """Send what a pipeline, or a person, found out about a version."""

    model = serializers.CharField(max_length=200)
    version = serializers.IntegerField(min_value=1, max_value=2_000_000_000)
    key = serializers.CharField(
        max_length=80, help_text="A gate (GET /gates) or a test (GET /ml-test-score)."
    )
    verdict = serializers.ChoiceField(
        choices=["passed", "failed"],
        required=False,
        help_text="Left out where Modelyard judges the facts itself.",
    )
    sentence = serializers.CharField(max_length=2000, required=False, allow_blank=True)
    facts = serializers.JSONField(required=False, help_text="The numbers, an object.")
    files = FileToKeep(many=True, required=False)
    link = serializers.CharField(max_length=500, required=False, allow_blank=True)
    environment = serializers.CharField(max_length=40, required=False, allow_blank=True)
    subject = serializers.CharField(
        max_length=80,
        required=False,
        allow_blank=True,
        help_text="What was looked at; the version's manifest when left out.",
    )
    measured_at = serializers.DateTimeField(required=False)
    expires_at = serializers.DateTimeField(required=False)


class GrantWaiver(Command):
    """Let a checklist pass one gate without its evidence, for a time."""

    checklist = serializers.CharField(max_length=20)
    gate = serializers.CharField(max_length=80)
    reason = serializers.CharField(max_length=2000)
    days = serializers.IntegerField(required=False, min_value=1, max_value=3650)
    expires_at = serializers.DateTimeField(required=False)
