"""REST of notifications."""

from typing import ClassVar

from rest_framework.request import Request
from rest_framework.response import Response

from apps.notifications import selectors, services
from apps.notifications.api.serializers import (
    ChannelAnswer,
    CreateChannel,
    DeliveryAnswer,
    EditChannel,
    MarkAllRead,
    MarkedAnswer,
    NewChannelAnswer,
    NotificationAnswer,
    PreferencesAnswer,
    SetPreferences,
)
from apps.notifications.domain.states import DeliveryState
from controlplane.http.api import Reasoned, Resource
from controlplane.http.openapi import describe
from controlplane.kernel.errors import Invalid


class Notifications(Resource):
    """What the actor was told."""

    query: ClassVar[tuple[str, ...]] = ("unread", "kind")

    @describe("List what you were told", answer=NotificationAnswer, many=True)
    def get(self, request: Request) -> Response:
        """Return it, what is unread first, then the newest first."""
        unread = _flag("unread", request.query_params.get("unread", ""))
        kind = request.query_params.get("kind", "")
        rows = selectors.notifications(self.actor, unread=unread, kind=kind)
        return self.page(rows, NotificationAnswer)


class NotificationsRead(Resource):
    """The end of everything that was unread."""

    @describe("Mark everything as read", command=MarkAllRead, answer=MarkedAnswer)
    def post(self, request: Request) -> Response:
        """Mark it, and say how much it was."""
        marked = services.mark_all_read(actor=self.actor, **self.command(MarkAllRead))
        return self.answer({"marked": marked})


class NotificationRead(Resource):
    """One thing that the actor was told."""

    @describe("Mark a notification as read", answer=NotificationAnswer)
    def post(self, request: Request, notification_id: str) -> Response:
        """Mark it; twice is no error."""
        row = services.mark_read(actor=self.actor, notification_id=notification_id)
        return self.answer(NotificationAnswer(row).data)


class Preferences(Resource):
    """How the actor hears of things."""

    @describe("Read how you hear of things", answer=PreferencesAnswer)
    def get(self, request: Request) -> Response:
        """Return the way of each kind."""
        return self._all()

    @describe("Choose how you hear of things", command=SetPreferences, answer=PreferencesAnswer)
    def patch(self, request: Request) -> Response:
        """Change the kinds that are named."""
        services.set_preferences(actor=self.actor, **self.command(SetPreferences))
        return self._all()

    def _all(self) -> Response:
        given = {"preferences": selectors.choices(self.actor)}
        return self.answer(PreferencesAnswer(given).data)


class Channels(Resource):
    """Where messages go, outside these pages."""

    query: ClassVar[tuple[str, ...]] = ("team",)
    shown_once: ClassVar[tuple[str, ...]] = ("secret",)

    @describe("List channels", answer=ChannelAnswer, many=True)
    def get(self, request: Request) -> Response:
        """Return the actor's own and their teams', by name."""
        team = request.query_params.get("team", "")
        return self.page(selectors.channels(self.actor, team=team), ChannelAnswer)

    @describe("Make a channel", command=CreateChannel, answer=NewChannelAnswer, status=201)
    def post(self, request: Request) -> Response:
        """Make one; a webhook's secret is in this answer and nowhere else."""
        row, secret = services.create_channel(actor=self.actor, **self.command(CreateChannel))
        data = NewChannelAnswer(row, context={"secret": secret}).data
        return self.answer(data, status=201)


class ChannelDetail(Resource):
    """One channel."""

    @describe("Read a channel", answer=ChannelAnswer)
    def get(self, request: Request, channel_id: str) -> Response:
        """Return it, without its secrets."""
        row = selectors.channel(self.actor, channel_id)
        return self.answer(ChannelAnswer(row).data, etag_of=row)

    @describe("Change a channel", command=EditChannel, answer=ChannelAnswer)
    def patch(self, request: Request, channel_id: str) -> Response:
        """Change what is given; with a new address it must be tested again."""
        row = services.edit_channel(
            actor=self.actor, channel_id=channel_id, **self.command(EditChannel)
        )
        return self.answer(ChannelAnswer(row).data, etag_of=row)

    @describe("Remove a channel", status=204)
    def delete(self, request: Request, channel_id: str) -> Response:
        """Remove it, with its deliveries."""
        services.remove_channel(actor=self.actor, channel_id=channel_id)
        return Response(status=204)


class ChannelEnable(Resource):
    """Letting messages through again."""

    @describe("Enable a channel", command=Reasoned, answer=ChannelAnswer)
    def post(self, request: Request, channel_id: str) -> Response:
        """Enable it."""
        row = services.set_enabled(
            actor=self.actor, channel_id=channel_id, enabled=True, **self.command(Reasoned)
        )
        return self.answer(ChannelAnswer(row).data)


class ChannelDisable(Resource):
    """Stopping messages."""

    @describe("Disable a channel", command=Reasoned, answer=ChannelAnswer)
    def post(self, request: Request, channel_id: str) -> Response:
        """Disable it; what waits for it is given up."""
        row = services.set_enabled(
            actor=self.actor, channel_id=channel_id, enabled=False, **self.command(Reasoned)
        )
        return self.answer(ChannelAnswer(row).data)


class ChannelTest(Resource):
    """A try of a channel."""

    @describe("Send a test message", answer=DeliveryAnswer, status=202)
    def post(self, request: Request, channel_id: str) -> Response:
        """Send one; GET /deliveries/{id} says what the receiver answered."""
        sent = services.test_channel(actor=self.actor, channel_id=channel_id)
        return self.answer(
            DeliveryAnswer(sent).data, status=202, location=f"/api/v1/deliveries/{sent.public_id}"
        )


class ChannelSecret(Resource):
    """What a webhook's signatures are made with."""

    shown_once: ClassVar[tuple[str, ...]] = ("secret",)

    @describe("Make a webhook's secret anew", command=Reasoned, answer=NewChannelAnswer)
    def post(self, request: Request, channel_id: str) -> Response:
        """Return the new one, this once; the old one ends at once."""
        row, secret = services.rotate_secret(
            actor=self.actor, channel_id=channel_id, **self.command(Reasoned)
        )
        return self.answer(NewChannelAnswer(row, context={"secret": secret}).data)


class Deliveries(Resource):
    """The outbox."""

    query: ClassVar[tuple[str, ...]] = ("state", "kind", "channel")

    @describe("List deliveries", answer=DeliveryAnswer, many=True)
    def get(self, request: Request) -> Response:
        """Return them, newest first."""
        given = {name: request.query_params.get(name, "") for name in self.query}
        _check_state(given["state"])
        return self.page(selectors.deliveries(self.actor, **given), DeliveryAnswer)


class DeliveryDetail(Resource):
    """One message."""

    @describe("Read a delivery", answer=DeliveryAnswer)
    def get(self, request: Request, delivery_id: str) -> Response:
        """Return it, and what became of it."""
        return self.answer(DeliveryAnswer(selectors.delivery(self.actor, delivery_id)).data)


class DeliveryReplay(Resource):
    """Another go."""

    @describe("Send a delivery again", command=Reasoned, answer=DeliveryAnswer, status=202)
    def post(self, request: Request, delivery_id: str) -> Response:
        """Send it under its own id, with all its attempts before it again."""
        services.replay(actor=self.actor, delivery_id=delivery_id, **self.command(Reasoned))
        row = selectors.delivery(self.actor, delivery_id)
        return self.answer(DeliveryAnswer(row).data, status=202)


def _flag(name: str, value: str) -> bool | None:
    if value not in ("", "true", "false"):
        raise Invalid(
            f"{name}={value[:40]} is neither true nor false.", field=name, code="request.bad_flag"
        )
    return None if not value else value == "true"


def _check_state(state: str) -> None:
    if state and state not in list(DeliveryState):
        raise Invalid(
            f"{state[:40]!r} is not a state of a delivery; it is one of "
            f"{', '.join(DeliveryState)}.",
            field="state",
            code="delivery.bad_state",
        )
