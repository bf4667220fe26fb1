"""Rows of environments."""

from typing import ClassVar

from django.db import models
from django.db.models import Q

from apps.environments.domain.calendar import Kind
from controlplane.db.base import Row


class AliasDrift(models.TextChoices):
    """What happens to an environment's alias that somebody moved behind our back."""

    PUT_BACK = "put_back", "Put it back"
    ADOPT = "adopt", "Keep where it was moved to"


class Environment(Row):
    """Where requests are served: a cluster, a namespace, a policy."""

    slug = models.SlugField(max_length=40, unique=True)
    title = models.CharField(max_length=80)
    rank = models.PositiveSmallIntegerField(default=0)  # the order of promotion: dev, staging, ...
    cluster = models.CharField(max_length=40, default="embedded")
    protected = models.BooleanField(default=False)  # serving here needs an operator
    default_replicas = models.PositiveSmallIntegerField(default=1)
    max_replicas = models.PositiveSmallIntegerField(default=4)  # per endpoint
    # The alias of every model that names the version live here, and that only a release moves;
    # "" for none. Lower case: MLflow on some databases cannot tell champion from Champion.
    alias = models.SlugField(max_length=80, blank=True, db_index=False)
    alias_drift = models.CharField(
        max_length=8, choices=AliasDrift.choices, default=AliasDrift.PUT_BACK
    )

    time_zone = models.CharField(
        max_length=64, default="UTC"
    )  # of its calendars ("Europe/Berlin")

    class Meta:
        """Rules that hold whoever writes the row."""

        constraints: ClassVar = [
            models.UniqueConstraint(
                fields=["alias"], condition=~Q(alias=""), name="environment_alias_used_once"
            ),
            models.CheckConstraint(
                condition=Q(alias_drift__in=AliasDrift.values), name="alias_drift_is_known"
            ),
        ]

    def __str__(self) -> str:
        """Name the environment."""
        return self.slug


class Calendar(Row):
    """A freeze or a change window of an environment: once, every week, or by iCalendar.

    Exactly one of `starts_at`, `weekly` and `ics` says when.
    """

    environment = models.ForeignKey(
        Environment, on_delete=models.CASCADE, related_name="calendars"
    )
    kind = models.CharField(max_length=6, choices=[(str(k), str(k)) for k in Kind])
    title = models.CharField(max_length=120)
    reason = models.CharField(max_length=500, blank=True)
    starts_at = models.DateTimeField(null=True, blank=True)
    ends_at = models.DateTimeField(null=True, blank=True)  # null: until somebody ends it
    # {"days": [0, 4], "start": "16:00", "end": "08:00", "days_later": 3}; 0 is Monday
    weekly = models.JSONField(null=True, blank=True)
    ics = models.TextField(blank=True)
    events = models.PositiveIntegerField(default=0)  # how many `ics` holds
    created_by = models.CharField(max_length=200)
    ended_at = models.DateTimeField(null=True, blank=True)
    ended_by = models.CharField(max_length=200, blank=True)
    ended_because = models.CharField(max_length=500, blank=True)

    class Meta:
        """Rules that hold whoever writes the row."""

        constraints: ClassVar = [
            models.CheckConstraint(
                condition=Q(kind__in=[str(k) for k in Kind]), name="calendar_kind_is_known"
            ),
            models.CheckConstraint(
                condition=Q(starts_at__isnull=False, weekly=None, ics="")
                | Q(starts_at=None, ends_at=None, weekly__isnull=False, ics="")
                | (Q(starts_at=None, ends_at=None, weekly=None) & ~Q(ics="")),
                name="calendar_says_when_once",
            ),
            models.CheckConstraint(
                condition=Q(ends_at=None) | Q(ends_at__gt=models.F("starts_at")),
                name="calendar_ends_after_it_starts",
            ),
        ]
        indexes: ClassVar = [
            models.Index(
                fields=["environment", "kind"],
                condition=Q(ended_at=None),
                name="calendar_in_force",
            )
        ]

    def __str__(self) -> str:
        """Name the calendar."""
        return f"{self.kind} {self.title}"
