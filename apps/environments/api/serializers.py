"""Environments, and when they are open, as JSON."""

from datetime import datetime
from typing import Any

from rest_framework import serializers

from apps.environments.domain.calendar import NEVER, Listed, Once, Opening, Period, Weekly
from apps.environments.models import AliasDrift, Calendar, Environment
from controlplane.http.api import Command


class EnvironmentAnswer(serializers.ModelSerializer[Environment]):
    """Where requests are served."""

    class Meta:
        """Which columns are shown."""

        model = Environment
        fields = (
            "slug", "title", "rank", "cluster", "protected", "default_replicas", "max_replicas",
            "alias", "alias_drift", "time_zone",
        )  # fmt: skip


class EditEnvironment(Command):
    """Change an environment; what is left out stays."""

    title = serializers.CharField(max_length=80, required=False)
    protected = serializers.BooleanField(required=False)
    default_replicas = serializers.IntegerField(min_value=1, max_value=64, required=False)
    max_replicas = serializers.IntegerField(min_value=1, max_value=64, required=False)
    alias = serializers.CharField(max_length=80, allow_blank=True, required=False)
    alias_drift = serializers.ChoiceField(choices=AliasDrift.choices, required=False)
    time_zone = serializers.CharField(max_length=64, required=False)
    reason = serializers.CharField(max_length=2000, allow_blank=True, required=False)


DAYS = ("mon", "tue", "wed", "thu", "fri", "sat", "sun")


class WeeklyAnswer(serializers.Serializer[Any]):
    """The same hours on some days of every week, on the environment's clock."""

    days = serializers.ListField(
        child=serializers.ChoiceField(choices=DAYS), help_text="On which it starts."
    )
    start = serializers.CharField(help_text="HH:MM")
    end = serializers.CharField(help_text="HH:MM")
    days_later = serializers.IntegerField(help_text="How many days after its start it ends.")


class CalendarAnswer(serializers.ModelSerializer[Calendar]):
    """A freeze or a change window; one of `starts_at`, `weekly` and `events` says when."""

    id = serializers.CharField(source="public_id")
    environment = serializers.CharField(source="environment.slug")
    weekly = serializers.SerializerMethodField()
    events = serializers.SerializerMethodField()

    class Meta:
        """Which columns are shown."""

        model = Calendar
        fields = (
            "id", "environment", "kind", "title", "reason", "starts_at", "ends_at", "weekly",
            "events", "created_by", "created_at", "ended_at", "ended_by", "ended_because",
        )  # fmt: skip

    def get_weekly(self, row: Calendar) -> WeeklyAnswer | None:
        """Return the days by name."""
        if row.weekly is None:
            return None
        return {**row.weekly, "days": [DAYS[day] for day in row.weekly["days"]]}  # type: ignore[return-value]  # the document wants the serializer

    def get_events(self, row: Calendar) -> int | None:
        """Return how many events its iCalendar file holds; null when it has none."""
        return row.events if row.ics else None


class EveryWeek(Command):
    """The same hours on some days of every week."""

    days = serializers.ListField(
        child=serializers.ChoiceField(choices=DAYS), min_length=1, max_length=7
    )
    start = serializers.TimeField(input_formats=["%H:%M"])
    end = serializers.TimeField(input_formats=["%H:%M"])
    days_later = serializers.IntegerField(min_value=0, max_value=6, default=0)


class DeclareCalendar(Command):
    """A freeze or a change window: give `starts_at` (and `ends_at`), `weekly`, or `ics`."""

    title = serializers.CharField(max_length=120)
    reason = serializers.CharField(max_length=500, allow_blank=True, default="")
    starts_at = serializers.DateTimeField(required=False)
    ends_at = serializers.DateTimeField(required=False, allow_null=True)
    weekly = EveryWeek(required=False)
    ics = serializers.CharField(
        required=False, trim_whitespace=False, help_text="An iCalendar file (RFC 5545)."
    )

    def validate(self, attrs: dict[str, Any]) -> dict[str, Any]:
        """Turn what says when into one value."""
        ways = [name for name in ("starts_at", "weekly", "ics") if name in attrs]
        if len(ways) != 1:
            raise serializers.ValidationError(
                {"starts_at": ["Give exactly one of starts_at, weekly and ics."]}, code="when"
            )
        ends_at = attrs.pop("ends_at", None)
        return {
            "title": attrs["title"],
            "reason": attrs["reason"],
            "when": _when(ways[0], attrs[ways[0]], ends_at),
        }


class StandingAnswer(serializers.Serializer[Period]):
    """A freeze that stands."""

    title = serializers.CharField()
    reason = serializers.CharField(source="entry.reason")
    until = serializers.SerializerMethodField()

    def get_until(self, period: Period) -> datetime | None:
        """Return its end; null when it has none."""
        return None if period.end == NEVER else period.end


class OpeningAnswer(serializers.Serializer[Opening]):
    """Whether rollouts may start."""

    open = serializers.BooleanField()
    reason = serializers.CharField(help_text="What closes it.")
    until = serializers.DateTimeField(
        allow_null=True, help_text="When this answer changes; null when nothing declared does it."
    )
    next_opening = serializers.DateTimeField(allow_null=True)
    standing = StandingAnswer(many=True)


def _when(way: str, given: Any, ends_at: datetime | None) -> Once | Weekly | Listed:
    if way == "ics":
        return Listed(given)
    if way == "starts_at":
        return Once(given, ends_at)
    days = frozenset(DAYS.index(day) for day in given["days"])
    return Weekly(days, given["start"], given["end"], given["days_later"])
