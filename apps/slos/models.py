"""Rows of objectives."""

from typing import ClassVar

from django.db import models
from django.db.models import Q

from apps.environments.models import Environment
from apps.registry.models import RegisteredModel
from controlplane.db.base import Row


class ServiceObjective(Row):
    """What callers of one model in one environment may expect, and how much they will ask."""

    model = models.ForeignKey(RegisteredModel, on_delete=models.CASCADE, related_name="objectives")
    environment = models.ForeignKey(
        Environment, on_delete=models.CASCADE, related_name="objectives"
    )
    availability = models.FloatField(default=0.999)  # share of requests answered, in (0, 1)
    latency_ms = models.FloatField()  # a request counts as fast when it takes no longer
    latency_share = models.FloatField(default=0.99)  # share of requests that must be fast, (0, 1)
    window_days = models.PositiveSmallIntegerField(default=28)
    expected_peak_rps = models.FloatField()  # requests per second
    declared_by = models.CharField(max_length=200)

    class Meta:
        """Rules that hold whoever writes the row."""

        constraints: ClassVar = [
            models.UniqueConstraint(
                fields=["model", "environment"], name="objective_declared_once"
            ),
            models.CheckConstraint(
                condition=Q(availability__gt=0, availability__lt=1)
                & Q(latency_share__gt=0, latency_share__lt=1)
                & Q(latency_ms__gt=0, expected_peak_rps__gt=0, window_days__gt=0),
                name="objective_makes_sense",
            ),
        ]

    def __str__(self) -> str:
        """Name the objective by what it is about."""
        return f"objective of model {self.model_id} in environment {self.environment_id}"
