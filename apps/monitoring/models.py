"""Rows of measurements."""

from typing import ClassVar

from django.db import models

from apps.endpoints.models import Revision


class TrafficWindow(models.Model):
    """What one revision did in one window of time, as the proxy saw it.

    Latency is a histogram of mergeable buckets, so percentiles over any union of windows are
    as exact as the buckets are.
    """

    revision = models.ForeignKey(Revision, on_delete=models.CASCADE, related_name="windows")
    starts_at = models.DateTimeField()
    seconds = models.PositiveSmallIntegerField(default=10)
    requests = models.PositiveIntegerField(default=0)
    errors_4xx = models.PositiveIntegerField(default=0)
    errors_5xx = models.PositiveIntegerField(default=0)
    # Cumulative-free counts per bucket; upper bounds in milliseconds stand in
    # apps.monitoring.domain.histogram.BOUNDS_MS, with one more for what is above the last.
    latency = models.JSONField(default=list)

    class Meta:
        """Rules that hold whoever writes the row."""

        constraints: ClassVar = [
            models.UniqueConstraint(fields=["revision", "starts_at"], name="window_measured_once")
        ]
        indexes: ClassVar = [models.Index(fields=["starts_at"], name="window_by_time")]

    def __str__(self) -> str:
        """Name the window uniquely."""
        return f"revision {self.revision_id} at {self.starts_at:%H:%M:%S}"
