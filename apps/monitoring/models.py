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


class TrafficCounter(models.Model):
    """What the proxy had counted for one revision when it was last read.

    The proxy's counters only grow, until it is restarted; windows hold the differences.
    """

    revision = models.OneToOneField(Revision, on_delete=models.CASCADE, related_name="counter")
    started_at = models.DateTimeField()  # when the proxy that counted was started
    requests = models.PositiveBigIntegerField(default=0)
    errors_4xx = models.PositiveBigIntegerField(default=0)
    errors_5xx = models.PositiveBigIntegerField(default=0)
    latency = models.JSONField(default=list)  # counts per bucket, as in a window

    def __str__(self) -> str:
        """Name the counter by what it counts."""
        return f"counter of revision {self.revision_id}"


class LastReading(models.Model):
    """When the proxy was last read, whoever had traffic; one row."""

    read_at = models.DateTimeField()

    def __str__(self) -> str:
        """Tell the time."""
        return f"{self.read_at:%H:%M:%S}"
