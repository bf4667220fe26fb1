"""Rows that the web keeps for itself."""

from typing import ClassVar

from django.db import models


class StoredAnswer(models.Model):
    """The answer to a request that carried an Idempotency-Key, kept to be given again."""

    actor = models.CharField(max_length=220)  # "person:ada"; a key means nothing to anybody else
    key_hash = models.CharField(max_length=64)
    request = models.CharField(max_length=500)  # "POST /api/v1/models?..."
    body_digest = models.CharField(max_length=71)
    status = models.PositiveSmallIntegerField()
    headers = models.JSONField(default=dict)
    body = models.BinaryField()
    created_at = models.DateTimeField()
    expires_at = models.DateTimeField(db_index=True)

    class Meta:
        """Rules that hold whoever writes the row."""

        constraints: ClassVar = [
            models.UniqueConstraint(fields=["actor", "key_hash"], name="one_answer_per_key")
        ]

    def __str__(self) -> str:
        """Name the row uniquely."""
        return f"{self.request} for {self.actor}"
