"""Analyses as JSON."""

from typing import Any

from drf_spectacular.utils import extend_schema_field
from rest_framework import serializers

from apps.analysis import selectors
from apps.analysis.domain import comparison
from apps.analysis.domain.ending import Standing
from apps.analysis.domain.states import AnalysisState
from apps.analysis.domain.values import Answer
from apps.analysis.models import AnalysisRun
from controlplane.kernel.clock import SystemClock

ANSWERS = [str(answer) for answer in Answer]
STATES = [str(state) for state in AnalysisState]


class AnalysisStandingAnswer(serializers.Serializer[Standing]):
    """What an analysis says now."""

    answer = serializers.ChoiceField(choices=ANSWERS)
    sentence = serializers.CharField()
    remaining_seconds = serializers.FloatField(
        allow_null=True, help_text="Until an answer at the present traffic; null when unknown."
    )
    limit_hit = serializers.CharField(help_text="The hard limit that the canary is beyond.")
    problem = serializers.CharField(help_text="Why it cannot look; empty when it can.")
    remedy = serializers.CharField()
    stale = serializers.BooleanField(help_text="Whether nobody has looked for a minute.")


class FindingAnswer(serializers.Serializer[Any]):
    """What is known of one metric."""

    metric = serializers.CharField()
    answer = serializers.ChoiceField(choices=ANSWERS)
    sentence = serializers.CharField()
    worse = serializers.FloatField(help_text="The e-value of “worse”.")
    not_worse = serializers.FloatField(help_text="The e-value of “not worse”.")
    worse_at = serializers.FloatField(help_text="From when on “worse” is proven.")
    not_worse_at = serializers.FloatField(help_text="From when on “not worse” is proven.")
    stable = serializers.FloatField(allow_null=True)
    canary = serializers.FloatField(allow_null=True)
    stable_total = serializers.FloatField(help_text="Observations of stable.")
    canary_total = serializers.FloatField(help_text="Observations of the canary.")
    allowed = serializers.FloatField(
        allow_null=True, help_text="The canary's value up to which it is within the margin."
    )
    low = serializers.FloatField(
        allow_null=True, help_text="Canary minus stable is between this and `high`."
    )
    high = serializers.FloatField(allow_null=True)
    remaining_seconds = serializers.FloatField(allow_null=True)


class DispersionAnswer(serializers.Serializer[Any]):
    """How much noisier than chance an endpoint is, as earlier rollouts have shown."""

    metric = serializers.CharField()
    value = serializers.FloatField(help_text="1 is chance.")
    known = serializers.CharField(help_text="From what it is known.")


class AnalysisRunAnswer(serializers.Serializer[AnalysisRun]):
    """The judging of one canary."""

    id = serializers.CharField(source="public_id")
    subject = serializers.CharField(help_text="What it is for: rollout/ID.")
    state = serializers.ChoiceField(choices=STATES)
    state_since = serializers.DateTimeField()
    started_at = serializers.DateTimeField()
    looked_at = serializers.DateTimeField(allow_null=True)
    ended_at = serializers.DateTimeField(allow_null=True)
    endpoint = serializers.CharField(source="candidate.endpoint.public_id")
    stable = serializers.IntegerField(
        source="stable.number", allow_null=True, default=None, help_text="A revision's number."
    )
    candidate = serializers.IntegerField(source="candidate.number")
    step = serializers.IntegerField(help_text="Of its rollout; what is proven is of this one.")
    standing = serializers.SerializerMethodField()
    findings = FindingAnswer(many=True)
    dispersion = serializers.SerializerMethodField()
    plan = serializers.JSONField()
    comparison = serializers.SerializerMethodField()

    @extend_schema_field(AnalysisStandingAnswer)
    def get_standing(self, run: AnalysisRun) -> Any:
        """Return what it says now."""
        return AnalysisStandingAnswer(selectors.standing(run, SystemClock().now())).data

    @extend_schema_field(DispersionAnswer(many=True))
    def get_dispersion(self, run: AnalysisRun) -> Any:
        """Return what it knows of the endpoint's noise, metric by metric."""
        return [
            {"metric": name, "value": known["value"], "known": known["from"]}
            for name, known in sorted(run.dispersion.items())
        ]

    def get_comparison(self, run: AnalysisRun) -> str:
        """Return what comparing answers to the same requests has come to, in words."""
        return comparison.sentence(comparison.from_json(run.comparison)) if run.comparison else ""


class LookAnswer(serializers.Serializer[Any]):
    """What was known of one metric at one time."""

    at = serializers.DateTimeField()
    step = serializers.IntegerField()
    worse = serializers.FloatField()
    not_worse = serializers.FloatField()
    stable = serializers.FloatField(allow_null=True)
    canary = serializers.FloatField(allow_null=True)
    stable_total = serializers.FloatField()
    canary_total = serializers.FloatField()
    low = serializers.FloatField(allow_null=True)
    high = serializers.FloatField(allow_null=True)


class LooksAnswer(serializers.Serializer[Any]):
    """The curve of one metric, oldest first; of a long one some looks are left out, evenly."""

    metric = serializers.CharField()
    looks = LookAnswer(many=True)
