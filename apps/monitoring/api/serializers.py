"""Measurements as JSON."""

from typing import Any

from rest_framework import serializers

from apps.monitoring.domain import feedback
from controlplane.http.api import Command


class PointAnswer(serializers.Serializer[Any]):
    """A span of time; everything is null when no request came."""

    at = serializers.DateTimeField()
    requests = serializers.IntegerField(allow_null=True)
    requests_per_second = serializers.FloatField(allow_null=True)
    errors = serializers.FloatField(  # type: ignore[assignment]  # a field, not the property
        allow_null=True, help_text="Share of requests that failed on our side, 0-1."
    )
    p50_ms = serializers.FloatField(allow_null=True)
    p95_ms = serializers.FloatField(allow_null=True)
    p99_ms = serializers.FloatField(allow_null=True)


class SeriesAnswer(serializers.Serializer[Any]):
    """What one revision did."""

    revision = serializers.IntegerField()
    points = PointAnswer(many=True)
    total = PointAnswer()


class TrafficAnswer(serializers.Serializer[Any]):
    """What an endpoint's revisions did, the newest first."""

    since = serializers.DateTimeField()
    until = serializers.DateTimeField()
    step = serializers.IntegerField(help_text="Seconds from point to point.")
    series = SeriesAnswer(many=True)
    total = PointAnswer()


class TellOutcome(Command):
    """One number about one prediction."""

    request_id = serializers.CharField(
        max_length=128, help_text="The x-request-id of the prediction's answer."
    )
    revision = serializers.IntegerField(
        min_value=1, max_value=2**31 - 1, help_text="Its x-modelyard-revision."
    )
    metric = serializers.CharField(max_length=64, help_text="A slug, such as clicked.")
    value = serializers.FloatField(help_text="1 or 0 for yes or no.")
    segment = serializers.CharField(
        max_length=feedback.LONGEST_SEGMENT, required=False, allow_blank=True
    )
    at = serializers.DateTimeField(
        required=False, help_text="When the prediction was made, with its time zone."
    )


class TellFeedback(Command):
    """What came of predictions."""

    items = serializers.ListField(
        child=TellOutcome(), allow_empty=False, max_length=feedback.MOST_ITEMS
    )


class FeedbackAnswer(serializers.Serializer[Any]):
    """What was counted."""

    taken = serializers.IntegerField()
    repeated = serializers.IntegerField(help_text="Told before; not counted again.")
    unknown = serializers.IntegerField(
        help_text="Of revisions that the endpoint never had; not counted."
    )
    unknown_revisions = serializers.ListField(child=serializers.IntegerField())
