"""What notifications look like as JSON: one read serializer a noun, one command a verb."""

from typing import Any

from rest_framework import serializers

from apps.notifications.domain.kinds import KINDS, Transport, Way
from apps.notifications.models import Channel, Delivery, Notification
from apps.notifications.selectors import Choice
from controlplane.http.api import Command

TRANSPORTS = [str(t) for t in Transport]
WAYS = [str(w) for w in Way]
TARGET = (
    "A mail address, an Apprise address (slack://, pagerduty://, ...), or https://. Kept sealed."
)
SUBSCRIBED = "The kinds it wants; empty for every kind."


class NotificationAnswer(serializers.ModelSerializer[Notification]):
    """Something that one person was told."""

    id = serializers.CharField(source="public_id")

    class Meta:
        """Which columns are shown."""

        model = Notification
        fields = ("id", "kind", "title", "body", "link", "urgent", "created_at", "read_at")


class MarkAllRead(Command):
    """Mark everything as read, or everything up to one notification."""

    up_to = serializers.CharField(
        max_length=12, required=False, help_text="The newest one that was seen."
    )


class MarkedAnswer(serializers.Serializer[Any]):
    """How much was marked as read."""

    marked = serializers.IntegerField()


class PreferenceAnswer(serializers.Serializer[Choice]):
    """How a person hears of one kind of thing."""

    kind = serializers.ChoiceField(choices=list(KINDS))
    title = serializers.CharField()
    way = serializers.ChoiceField(choices=WAYS)
    usual = serializers.ChoiceField(choices=WAYS, help_text="For whoever chose nothing.")


class PreferencesAnswer(serializers.Serializer[Any]):
    """How a person hears of everything."""

    preferences = PreferenceAnswer(many=True)


class SetPreferences(Command):
    """Choose how to hear of some kinds of things."""

    ways = serializers.DictField(
        child=serializers.ChoiceField(choices=WAYS),
        help_text='By kind: {"release.live": "digest"}. Those not named stay as they are.',
    )


class ChannelAnswer(serializers.ModelSerializer[Channel]):
    """A channel, without its secrets."""

    id = serializers.CharField(source="public_id")
    target = serializers.CharField(source="shown", help_text="Shortened: it may hold a secret.")
    team = serializers.CharField(source="team.slug", default=None, allow_null=True)
    person = serializers.CharField(source="person.username", default=None, allow_null=True)
    kinds = serializers.ListField(child=serializers.CharField(), help_text=SUBSCRIBED)

    class Meta:
        """Which columns are shown."""

        model = Channel
        fields = (
            "id", "name", "transport", "target", "team", "person", "on_call", "kinds",
            "verified_at", "disabled_at", "created_at", "changed_at",
        )  # fmt: skip


class NewChannelAnswer(ChannelAnswer):
    """A channel just made, or with a new secret; it is shown this once."""

    secret = serializers.SerializerMethodField(
        help_text="What a webhook's signatures are made with; empty for the others."
    )

    def get_secret(self, channel: Channel) -> str:
        """Return the secret."""
        return str(self.context.get("secret", ""))

    class Meta(ChannelAnswer.Meta):
        """Which columns are shown."""

        fields = (*ChannelAnswer.Meta.fields, "secret")  # type: ignore[assignment]


class CreateChannel(Command):
    """Make a channel."""

    name = serializers.CharField(max_length=80)
    transport = serializers.ChoiceField(choices=TRANSPORTS)
    target = serializers.CharField(max_length=2000, help_text=TARGET)
    team = serializers.CharField(
        max_length=40, required=False, allow_blank=True, help_text="A team's; else your own."
    )
    on_call = serializers.BooleanField(required=False)
    kinds = serializers.ListField(
        child=serializers.CharField(max_length=40), required=False, help_text=SUBSCRIBED
    )


class EditChannel(Command):
    """Change a channel; what is not given stays."""

    name = serializers.CharField(max_length=80, required=False)
    target = serializers.CharField(max_length=2000, required=False, help_text=TARGET)
    on_call = serializers.BooleanField(required=False)
    kinds = serializers.ListField(
        child=serializers.CharField(max_length=40), required=False, help_text=SUBSCRIBED
    )
    reason = serializers.CharField(max_length=2000, required=False, allow_blank=True)


class DeliveryAnswer(serializers.ModelSerializer[Delivery]):
    """One message, and what became of it."""

    id = serializers.CharField(source="public_id", help_text="What receivers tell repeats by.")
    title = serializers.CharField(source="payload.title")
    link = serializers.CharField(source="payload.link")
    channel = serializers.CharField(source="channel.public_id", default=None, allow_null=True)
    channel_name = serializers.CharField(source="channel.name", default=None, allow_null=True)
    person = serializers.CharField(
        source="person.username", default=None, allow_null=True, help_text="Told by mail."
    )
    attempts = serializers.IntegerField(source="tries", help_text="All of them.")
    next_attempt_at = serializers.DateTimeField(source="next_reconcile_at", allow_null=True)

    class Meta:
        """Which columns are shown."""

        model = Delivery
        fields = (
            "id", "kind", "title", "link", "channel", "channel_name", "person", "state",
            "attempts", "replays", "created_at", "last_attempt_at", "next_attempt_at",
            "delivered_at", "receipt", "problem", "remedy",
        )  # fmt: skip
