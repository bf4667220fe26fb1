"""Rows of what people are told, and of what is on its way to them."""

from typing import ClassVar

from django.db import models
from django.db.models import Q

from apps.accounts.models import Person, Team
from apps.notifications.domain.kinds import Transport, Way
from apps.notifications.domain.states import DELIVERY, DeliveryState
from controlplane.db.base import Row, state_is_known
from controlplane.db.reconcile import Reconcilable


class Notification(Row):
    """Something one person is told, as their page lists it."""

    person = models.ForeignKey(Person, on_delete=models.CASCADE, related_name="notifications")
    kind = models.CharField(max_length=40)
    title = models.CharField(max_length=200)
    body = models.TextField(blank=True)
    link = models.CharField(max_length=300)  # a path of ours: "/releases/12"
    urgent = models.BooleanField(default=False)
    dedupe = models.CharField(max_length=150, blank=True)  # told once to a person; "" for always
    read_at = models.DateTimeField(null=True, blank=True)
    digest_at = models.DateTimeField(null=True, blank=True)  # waits for the daily mail of then

    class Meta:
        """Rules that hold whoever writes the row."""

        constraints: ClassVar = [
            models.UniqueConstraint(
                fields=["person", "dedupe"], condition=~Q(dedupe=""), name="person_told_once"
            )
        ]
        indexes: ClassVar = [
            models.Index(fields=["person", "-id"], name="notification_newest"),
            models.Index(fields=["person"], condition=Q(read_at=None), name="notification_unread"),
            models.Index(
                fields=["digest_at"],
                condition=Q(digest_at__isnull=False),
                name="notification_digest",
            ),
        ]

    def __str__(self) -> str:
        """Name what is told."""
        return f"{self.kind} for person {self.person_id}: {self.title}"


class Preference(models.Model):
    """How one person wants to hear of one kind of thing."""

    person = models.ForeignKey(
        Person, on_delete=models.CASCADE, related_name="notification_preferences"
    )
    kind = models.CharField(max_length=40)
    way = models.CharField(max_length=8)

    class Meta:
        """Rules that hold whoever writes the row."""

        constraints: ClassVar = [
            models.UniqueConstraint(fields=["person", "kind"], name="preference_stated_once"),
            models.CheckConstraint(
                condition=Q(way__in=[str(w) for w in Way]), name="preference_way_is_known"
            ),
        ]

    def __str__(self) -> str:
        """Name the choice."""
        return f"{self.kind} by {self.way} for person {self.person_id}"


class Channel(Row):
    """Where messages for one person or one team go, outside these pages.

    `target` and `secret` are sealed (domain/sealing.py) and never shown whole again; `shown` is
    what pages say instead.
    """

    name = models.CharField(max_length=80)
    transport = models.CharField(max_length=8)
    target = models.TextField()  # sealed: a mail address, an Apprise address, an https address
    shown = models.CharField(max_length=120)  # "slack://…", "https://hooks.example.org/…"
    secret = models.TextField(blank=True)  # sealed: what a webhook's signatures are made with
    person = models.ForeignKey(
        Person, null=True, blank=True, on_delete=models.CASCADE, related_name="channels"
    )
    team = models.ForeignKey(
        Team, null=True, blank=True, on_delete=models.CASCADE, related_name="channels"
    )
    on_call = models.BooleanField(default=False)
    kinds = models.JSONField(default=list)  # the kinds it wants; [] for every kind
    verified_at = models.DateTimeField(null=True, blank=True)  # a test message arrived
    disabled_at = models.DateTimeField(null=True, blank=True)

    class Meta:
        """Rules that hold whoever writes the row."""

        constraints: ClassVar = [
            models.UniqueConstraint(
                fields=["person", "team", "name"],
                name="channel_named_once",
                nulls_distinct=False,
            ),
            models.CheckConstraint(
                condition=Q(person__isnull=True) ^ Q(team__isnull=True),
                name="channel_has_one_owner",
            ),
            models.CheckConstraint(
                condition=Q(on_call=False) | Q(team__isnull=False),
                name="channel_on_call_is_a_teams",
            ),
            models.CheckConstraint(
                condition=Q(transport__in=[str(t) for t in Transport]),
                name="channel_transport_is_known",
            ),
        ]

    def __str__(self) -> str:
        """Name the channel as the ledger does."""
        return self.name


class Delivery(Row, Reconcilable):
    """One message on its way to one channel, or to one person's own mail address.

    `public_id` is what receivers tell repeated messages by: it stays over attempts and replays.
    `attempts` counts the failures since it was last made due; `tries` all attempts there were.
    """

    channel = models.ForeignKey(
        Channel, null=True, blank=True, on_delete=models.CASCADE, related_name="deliveries"
    )
    person = models.ForeignKey(
        Person, null=True, blank=True, on_delete=models.CASCADE, related_name="deliveries"
    )
    address = models.CharField(max_length=254, blank=True)  # of `person`, when it was written
    kind = models.CharField(max_length=40)
    payload = models.JSONField()  # domain/message.py: Message
    dedupe = models.CharField(max_length=150, blank=True)
    state = models.CharField(max_length=9, default=DELIVERY.initial)
    tries = models.PositiveIntegerField(default=0)
    replays = models.PositiveIntegerField(default=0)
    last_attempt_at = models.DateTimeField(null=True, blank=True)
    delivered_at = models.DateTimeField(null=True, blank=True)
    problem = models.TextField(blank=True)  # one sentence: why the last attempt failed
    remedy = models.TextField(blank=True)  # one sentence: what to do
    receipt = models.CharField(max_length=200, blank=True)  # what the receiver answered

    class Meta:
        """Rules that hold whoever writes the row."""

        constraints: ClassVar = [
            state_is_known(list(DeliveryState), "delivery"),
            models.CheckConstraint(
                condition=Q(channel__isnull=False, person__isnull=True, address="")
                | (Q(channel__isnull=True, person__isnull=False) & ~Q(address="")),
                name="delivery_has_one_target",
            ),
            models.UniqueConstraint(
                fields=["channel", "dedupe"],
                condition=~Q(dedupe="") & Q(channel__isnull=False),
                name="channel_told_once",
            ),
            models.UniqueConstraint(
                fields=["person", "dedupe"],
                condition=~Q(dedupe="") & Q(person__isnull=False),
                name="address_told_once",
            ),
        ]
        indexes: ClassVar = [models.Index(fields=["state", "-id"], name="delivery_newest")]

    def __str__(self) -> str:
        """Name the delivery uniquely."""
        return f"{self.kind} {self.public_id} ({self.state})"
