"""Measurements as JSON."""

from typing import Any

from rest_framework import serializers


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
