"""Rows of measurements."""

from typing import ClassVar

from django.db import models

from apps.endpoints.models import Endpoint, Revision


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


class FeedbackWindow(models.Model):
    """What callers told of one revision's predictions in one window of time, by arrival.

    By arrival, and not by when the prediction was made: a window that has passed never grows, so
    a sequential test may read each one once, however late labels come.
    """

    revision = models.ForeignKey(Revision, on_delete=models.CASCADE, related_name="feedback")
    metric = models.CharField(max_length=64)
    segment = models.CharField(max_length=64, blank=True)  # "" for what was told of no segment
    starts_at = models.DateTimeField()
    count = models.FloatField()
    total = models.FloatField()
    squares = models.FloatField()

    class Meta:
        """Rules that hold whoever writes the row."""

        constraints: ClassVar = [
            # In the order in which windows are looked for: one metric over a span of time.
            models.UniqueConstraint(
                fields=["revision", "metric", "starts_at", "segment"], name="feedback_summed_once"
            )
        ]
        indexes: ClassVar = [models.Index(fields=["starts_at"], name="feedback_by_time")]

    def __str__(self) -> str:
        """Name the window uniquely."""
        where = f" in {self.segment}" if self.segment else ""
        return f"{self.metric}{where} of revision {self.revision_id} at {self.starts_at:%H:%M:%S}"


class FeedbackSeen(models.Model):
    """That a metric of a prediction was told, so that it counts once however often it is sent."""

    endpoint = models.ForeignKey(Endpoint, on_delete=models.CASCADE, related_name="feedback_seen")
    request_id = models.CharField(max_length=128)
    metric = models.CharField(max_length=64)
    seen_at = models.DateTimeField()

    class Meta:
        """Rules that hold whoever writes the row."""

        constraints: ClassVar = [
            models.UniqueConstraint(
                fields=["endpoint", "request_id", "metric"], name="feedback_counts_once"
            )
        ]
        indexes: ClassVar = [models.Index(fields=["seen_at"], name="feedback_seen_by_time")]

    def __str__(self) -> str:
        """Name what was told."""
        return f"{self.metric} of request {self.request_id}"


class FeedbackSender(models.Model):
    """Who told of an endpoint's predictions on which day: one entry of the ledger each."""

    endpoint = models.ForeignKey(Endpoint, on_delete=models.CASCADE, related_name="senders")
    actor = models.CharField(max_length=210)  # kind and name, as in the ledger
    day = models.DateField()

    class Meta:
        """Rules that hold whoever writes the row."""

        constraints: ClassVar = [
            models.UniqueConstraint(
                fields=["endpoint", "actor", "day"], name="feedback_sender_told_once_a_day"
            )
        ]

    def __str__(self) -> str:
        """Name the sender."""
        return f"{self.actor} on {self.day:%Y-%m-%d}"
