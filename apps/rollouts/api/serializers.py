"""Rollouts, their logs and strategies as JSON."""

from typing import Any

from drf_spectacular.utils import extend_schema_field
from rest_framework import serializers

from apps.analysis import selectors as analyses
from apps.analysis.domain.values import Answer
from apps.endpoints.domain import trials
from apps.endpoints.domain.values import Trial
from apps.rollouts import planning
from apps.rollouts.domain import document, words
from apps.rollouts.domain.decide import PauseKind
from apps.rollouts.domain.preflight import Fitting
from apps.rollouts.domain.states import RolloutState
from apps.rollouts.domain.steps import Step, Until, compile_steps, least_time
from apps.rollouts.domain.strategy import Strategy, StrategyKind
from apps.rollouts.models import Rollout, RolloutEvent, StrategyTemplate
from apps.rollouts.previewing import Needed, Preview
from controlplane.http.api import Command
from controlplane.kernel.clock import SystemClock

STATES = [str(state) for state in RolloutState]
KINDS = [str(kind) for kind in StrategyKind]
DOCUMENT: dict[str, Any] = {"help_text": 'A strategy\'s document: {"kind": "canary", ...}.'}


class StepAnswer(serializers.Serializer[Step]):
    """One step before the new revision answers everything."""

    name = serializers.CharField()
    what = serializers.CharField(help_text="What it does, in words.")
    weight = serializers.IntegerField(help_text="Percent of requests that the candidate answers.")
    mirror = serializers.IntegerField(help_text="Percent of requests that are copied to it.")
    preview = serializers.BooleanField(help_text="Whether it answers at the preview address.")
    hold_seconds = serializers.FloatField()
    until = serializers.ChoiceField(choices=[str(u) for u in Until])
    ask = serializers.BooleanField(help_text="Whether a person has to say so too.")
    deadline_seconds = serializers.FloatField(
        allow_null=True, help_text="How long after the hold it may take; null for ever."
    )


class PauseAnswer(serializers.Serializer[Any]):
    """Why a rollout stands still."""

    kind = serializers.ChoiceField(choices=[str(k) for k in PauseKind])
    reason = serializers.CharField()
    by = serializers.CharField(help_text="Who paused it; empty when nobody did.")


class FitAnswer(serializers.Serializer[Any]):
    """What came of looking for room."""

    fitting = serializers.ChoiceField(choices=[str(f) for f in Fitting])
    sentence = serializers.CharField()
    remedy = serializers.CharField()
    outage = serializers.FloatField(
        allow_null=True, help_text="For how many seconds nobody answers; null when somebody does."
    )


class JudgeAnswer(serializers.Serializer[Any]):
    """What the judge says of canary and stable."""

    id = serializers.CharField()
    answer = serializers.ChoiceField(choices=[str(a) for a in Answer])
    sentence = serializers.CharField()
    remaining_seconds = serializers.FloatField(
        allow_null=True, help_text="Until an answer at the present traffic; null when unknown."
    )
    limit_hit = serializers.CharField()
    problem = serializers.CharField(help_text="Why it cannot look.")


class LinksAnswer(serializers.Serializer[Any]):
    """Where to go on."""

    page = serializers.CharField()
    events = serializers.CharField()
    release = serializers.CharField(allow_null=True)
    endpoint = serializers.CharField()


class RolloutAnswer(serializers.ModelSerializer[Rollout]):
    """One rollout, as lists show it."""

    id = serializers.CharField(source="public_id")
    state = serializers.ChoiceField(choices=STATES)
    model = serializers.CharField(source="endpoint.model.name")
    environment = serializers.CharField(source="endpoint.environment.slug")
    version = serializers.IntegerField(source="candidate.version.number")
    stable_version = serializers.IntegerField(source="stable.version.number", default=None)
    kind = serializers.ChoiceField(choices=KINDS, source="strategy.kind")
    step = serializers.IntegerField(
        help_text="Index of the step it stands at; as many as there are steps past the last one."
    )
    weight = serializers.IntegerField(
        source="candidate.observed_weight",
        help_text="Percent of requests that the candidate was last seen to answer.",
    )
    pause = serializers.SerializerMethodField()

    class Meta:
        """Which columns are shown."""

        model = Rollout
        fields = (
            "id", "state", "state_since", "model", "environment", "version", "stable_version",
            "release_number", "kind", "step", "weight", "pause", "waits_for", "reason",
            "started_by", "created_at", "decided_at", "settled_at", "ended_at", "rehearsal",
        )  # fmt: skip

    @extend_schema_field(PauseAnswer(allow_null=True))
    def get_pause(self, row: Rollout) -> dict[str, str] | None:
        """Return why it stands still; null when it does not."""
        if not row.pause:
            return None
        return {"kind": row.pause, "reason": row.pause_reason, "by": row.paused_by}


class RolloutWhole(RolloutAnswer):
    """One rollout with its steps, its strategy and what the judge says."""

    sentence = serializers.SerializerMethodField(help_text="The strategy in a sentence.")
    steps = serializers.SerializerMethodField()
    mirror = serializers.SerializerMethodField(help_text="Percent of requests copied to it now.")
    segments = serializers.SerializerMethodField(
        help_text="Percent that it answers now of each segment's requests, by the header's value."
    )
    strategy = serializers.JSONField(help_text="The strategy's document.")
    fit = serializers.SerializerMethodField()
    analysis = serializers.SerializerMethodField()
    links = serializers.SerializerMethodField()

    class Meta:
        """Which columns are shown."""

        model = Rollout
        fields = (
            *RolloutAnswer.Meta.fields, "sentence", "steps", "mirror", "segments", "strategy",
            "fit", "analysis", "links",
        )  # fmt: skip

    def get_sentence(self, row: Rollout) -> str:
        """Return what the strategy does."""
        return words.sentence(planning.of(row).strategy)

    @extend_schema_field(StepAnswer(many=True))
    def get_steps(self, row: Rollout) -> list[dict[str, Any]]:
        """Return the steps that it goes through."""
        plan = planning.of(row)
        return steps_of(plan.strategy, plan.steps)

    def get_mirror(self, row: Rollout) -> int:
        """Return what the proxy was last seen to copy."""
        seen = _in_force(row)
        return seen.mirror if seen else 0

    def get_segments(self, row: Rollout) -> dict[str, int]:
        """Return how the proxy was last seen to split segments that have a split of their own."""
        seen = _in_force(row)
        return {each.value: each.weight for each in seen.segments} if seen else {}

    @extend_schema_field(FitAnswer(allow_null=True))
    def get_fit(self, row: Rollout) -> dict[str, Any] | None:
        """Return what came of looking for room; null before anybody looked."""
        return row.fit or None

    @extend_schema_field(JudgeAnswer(allow_null=True))
    def get_analysis(self, row: Rollout) -> dict[str, Any] | None:
        """Return what the judge says; null where nothing is judged, or not yet."""
        run = analyses.of(planning.subject(row))
        if run is None:
            return None
        said = analyses.standing(run, SystemClock().now())
        return {
            "id": run.public_id, "answer": str(said.answer), "sentence": said.sentence,
            "remaining_seconds": said.remaining_seconds, "limit_hit": said.limit_hit,
            "problem": said.problem,
        }  # fmt: skip

    @extend_schema_field(LinksAnswer)
    def get_links(self, row: Rollout) -> dict[str, str | None]:
        """Return where to go on."""
        number = row.release_number
        return {
            "page": f"/rollouts/{row.public_id}",
            "events": f"/api/v1/rollouts/{row.public_id}/events",
            "release": f"/api/v1/releases/{number}" if number else None,
            "endpoint": f"/api/v1/endpoints/{row.endpoint.public_id}",
        }


def _in_force(row: Rollout) -> Trial | None:
    """Return what the proxy was last seen to do with this rollout's candidate."""
    seen = trials.from_json(row.endpoint.trial_seen)
    return seen if seen and seen.candidate == row.candidate.number else None


class RolloutEventAnswer(serializers.ModelSerializer[RolloutEvent]):
    """One thing that happened to a rollout."""

    facts = serializers.JSONField(help_text="What the sentence says, as values.")

    class Meta:
        """Which columns are shown."""

        model = RolloutEvent
        fields = ("at", "kind", "sentence", "actor", "reason", "facts")


class TemplateAnswer(serializers.ModelSerializer[StrategyTemplate]):
    """A strategy that people of one environment choose by name."""

    environment = serializers.CharField(source="environment.slug")
    document = serializers.JSONField(help_text="A strategy's document.")
    sentence = serializers.SerializerMethodField(help_text="The strategy in a sentence.")
    least_seconds = serializers.SerializerMethodField(
        help_text="How long its steps take at least."
    )

    class Meta:
        """Which columns are shown."""

        model = StrategyTemplate
        fields = (
            "name", "environment", "title", "document", "sentence", "least_seconds", "is_default",
            "edited_by", "created_at", "changed_at",
        )  # fmt: skip

    def get_sentence(self, row: StrategyTemplate) -> str:
        """Return what it does."""
        return words.sentence(document.parse(row.document))

    def get_least_seconds(self, row: StrategyTemplate) -> float:
        """Return the sum of its holds."""
        return least_time(compile_steps(document.parse(row.document))).total_seconds()


class NeededAnswer(serializers.Serializer[Needed]):
    """What a rollout takes besides what is live."""

    replicas = serializers.IntegerField()
    memory_mb = serializers.IntegerField(
        allow_null=True, help_text="Of all replicas; null while nothing was built."
    )
    gpus = serializers.IntegerField()
    outage_seconds = serializers.SerializerMethodField(
        help_text="For how long nobody answers, from earlier starts; null when somebody does."
    )
    sentence = serializers.CharField()

    def get_outage_seconds(self, needed: Needed) -> float | None:
        """Return it in seconds."""
        return needed.outage.total_seconds() if needed.outage else None


class PreviewAnswer(serializers.Serializer[Preview]):
    """What a strategy would do."""

    strategy = serializers.JSONField(source="document", help_text="With every default.")
    sentence = serializers.CharField()
    steps = serializers.SerializerMethodField()
    least_seconds = serializers.SerializerMethodField(help_text="The sum of its holds.")
    has_stable = serializers.BooleanField(
        help_text="Whether something is live that it takes over from; without, there is no step."
    )
    needed = NeededAnswer(
        allow_null=True, help_text="Null unless model, version and environment are named."
    )
    cost = serializers.CharField(help_text="Time and room, for a person.")

    @extend_schema_field(StepAnswer(many=True))
    def get_steps(self, shown: Preview) -> list[dict[str, Any]]:
        """Return the steps that it would go through."""
        return steps_of(shown.strategy, shown.steps)

    def get_least_seconds(self, shown: Preview) -> float:
        """Return it in seconds."""
        return float(shown.least.total_seconds())


class SayWhy(Command):
    """A verb that has to say why."""

    reason = serializers.CharField(max_length=2000)


class AskRehearsal(SayWhy):
    """What is rehearsed, and where."""

    model = serializers.CharField(max_length=128)
    version = serializers.IntegerField(
        min_value=1, max_value=2_147_483_647, help_text="It may be the one that is live."
    )
    environment = serializers.CharField(max_length=40, help_text="One that is not protected.")
    variant = serializers.CharField(
        max_length=30, required=False, allow_blank=True,
        help_text="The one that is live, or what a release would take, when left out.",
    )  # fmt: skip


class SaveTemplate(Command):
    """A template, whole: what is left out is as usual."""

    title = serializers.CharField(max_length=80)
    document = serializers.DictField(**DOCUMENT)
    is_default = serializers.BooleanField(
        default=False, help_text="Whether releases that name no strategy take it."
    )
    reason = serializers.CharField(max_length=2000, required=False, allow_blank=True)


class AskPreview(Command):
    """A strategy, and perhaps what would be served by it."""

    strategy = serializers.DictField(
        required=False,
        help_text='As a release takes it: a document, or {"template": "careful-canary"}; the '
        "environment's default when left out.",
    )
    environment = serializers.CharField(max_length=40, required=False)
    model = serializers.CharField(max_length=128, required=False)
    version = serializers.IntegerField(min_value=1, max_value=2_147_483_647, required=False)
    variant = serializers.CharField(max_length=30, required=False, allow_blank=True)
    runtime = serializers.CharField(max_length=20, required=False, allow_blank=True)
    replicas = serializers.IntegerField(min_value=1, max_value=1000, required=False)


def steps_of(strategy: Strategy, steps: tuple[Step, ...]) -> list[dict[str, Any]]:
    """Return steps as `StepAnswer` shows them."""
    return [
        {
            "name": step.name, "what": words.step_what(strategy, step), "weight": step.weight,
            "mirror": step.mirror, "preview": step.preview,
            "hold_seconds": step.hold.total_seconds(), "until": str(step.until), "ask": step.ask,
            "deadline_seconds": step.deadline.total_seconds() if step.deadline else None,
        }
        for step in steps
    ]  # fmt: skip
