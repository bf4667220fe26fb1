"""Channels: made, tried, changed, disabled and removed by whoever owns them."""

import secrets
from collections.abc import Iterable
from typing import Any

from django.conf import settings
from django.db import IntegrityError, transaction

from apps.accounts import selectors as accounts
from apps.accounts.domain import access
from apps.audit import services as audit
from apps.notifications import vault
from apps.notifications.domain import addresses
from apps.notifications.domain.kinds import KINDS, TEST, Transport
from apps.notifications.domain.message import Message
from apps.notifications.models import Channel, Delivery
from apps.notifications.selectors import MANAGE
from controlplane.db.live import announce
from controlplane.kernel.actor import Actor
from controlplane.kernel.clock import SystemClock
from controlplane.kernel.errors import Conflict, Denied, Invalid, Missing

MOST = 50  # channels of one person or team
NAME = 80


@transaction.atomic
def create_channel(
    *,
    actor: Actor,
    name: str,
    transport: str,
    target: str,
    team: str = "",
    on_call: bool = False,
    kinds: Iterable[str] = (),
) -> tuple[Channel, str]:
    """Make a channel of the actor's own, or of a team.

    Args:
        actor: Who makes it.
        name: What people call it; unique among its owner's.
        transport: A `Transport`.
        target: A mail address, an Apprise address, or a webhook's.
        team: The slug of the team that owns it; "" for the actor.
        on_call: Whether it wakes somebody; only a team's can.
        kinds: The kinds it wants; none for every kind.

    Returns:
        The channel, and what a webhook's signatures are made with; "" for the others. It is
        shown this once.

    Raises:
        Denied: The actor may not.
        Invalid: A value is not allowed.
        Conflict: There is one of that name, or there are too many.
    """
    owner = _owner(actor, team)
    carried, wanted = _transport(transport), _kinds(kinds)
    _check_name(name)
    _check_on_call(on_call=on_call, team=team)
    addresses.check(carried, target, private=settings.NOTIFY_PRIVATE)
    if Channel.objects.filter(**owner).count() >= MOST:
        raise Conflict(
            f"There are {MOST} channels already.",
            remedy="Remove those that nobody needs.",
            code="channel.too_many",
        )
    secret = secrets.token_hex(32) if carried is Transport.WEBHOOK else ""
    row = Channel(
        name=name.strip(),
        transport=carried,
        target=vault.seal(target),
        shown=addresses.shown(carried, target),
        secret=vault.seal(secret) if secret else "",
        on_call=on_call,
        kinds=wanted,
        **owner,
    )
    _save(row)
    _record(actor, row, "create", after=_facts(row))
    return row, secret


@transaction.atomic
def edit_channel(
    *,
    actor: Actor,
    channel_id: str,
    name: str | None = None,
    target: str | None = None,
    on_call: bool | None = None,
    kinds: Iterable[str] | None = None,
    reason: str = "",
) -> Channel:
    """Change what is given. With a new address the channel must be tried again.

    Raises:
        Denied: The actor may not.
        Missing: There is no such channel, or it is somebody else's.
        Invalid: A value is not allowed.
        Conflict: There is one of that name.
    """
    row = _locked(actor, channel_id)
    before = _facts(row)
    if name is not None:
        _check_name(name)
        row.name = name.strip()
    if on_call is not None:
        _check_on_call(on_call=on_call, team=row.team.slug if row.team else "")
        row.on_call = on_call
    if kinds is not None:
        row.kinds = _kinds(kinds)
    if target:
        _retarget(row, target)
    _save(row)
    after = _facts(row)
    if target:
        after["target"] = f"{row.shown} (given anew)"
    if changed := {k: v for k, v in after.items() if before.get(k) != v}:
        was = {k: before.get(k) for k in changed}
        _record(actor, row, "edit", before=was, after=changed, reason=reason)
    return row


@transaction.atomic
def set_enabled(*, actor: Actor, channel_id: str, enabled: bool, reason: str = "") -> Channel:
    """Let messages through again, or stop them; what waits for a disabled channel is given up.

    Raises:
        Denied: The actor may not.
        Missing: There is no such channel, or it is somebody else's.
    """
    row = _locked(actor, channel_id)
    if (row.disabled_at is None) == enabled:
        return row
    row.disabled_at = None if enabled else SystemClock().now()
    _save(row)
    verb = "enable" if enabled else "disable"
    _record(actor, row, verb, before={"enabled": not enabled}, after={"enabled": enabled},
            reason=reason)  # fmt: skip
    return row


@transaction.atomic
def rotate_secret(*, actor: Actor, channel_id: str, reason: str = "") -> tuple[Channel, str]:
    """Give a webhook a new secret, and return it this once; the old one ends at once.

    Raises:
        Denied: The actor may not.
        Missing: There is no such channel, or it is somebody else's.
        Conflict: It is not a webhook.
    """
    row = _locked(actor, channel_id)
    if row.transport != Transport.WEBHOOK:
        raise Conflict(
            f"{row.name} is not a webhook: only those are signed.", code="channel.not_signed"
        )
    secret = secrets.token_hex(32)
    row.secret = vault.seal(secret)
    _save(row)
    _record(actor, row, "rotate", after={"secret": "made anew"}, reason=reason)
    return row, secret


@transaction.atomic
def remove_channel(*, actor: Actor, channel_id: str, reason: str = "") -> None:
    """Remove a channel, with what waits for it and what became of the rest.

    Raises:
        Denied: The actor may not.
        Missing: There is no such channel, or it is somebody else's.
    """
    row = _locked(actor, channel_id)
    _record(actor, row, "remove", before=_facts(row), reason=reason)
    row.delete()


@transaction.atomic
def test_channel(*, actor: Actor, channel_id: str) -> Delivery:
    """Send a test message; what the receiver answers stands on the delivery, seconds later.

    It is tried once: whoever presses the button looks at the answer, and presses again.

    Raises:
        Denied: The actor may not.
        Missing: There is no such channel, or it is somebody else's.
        Conflict: It is disabled.
    """
    row = _locked(actor, channel_id)
    if row.disabled_at is not None:
        raise Conflict(
            f"{row.name} is disabled.", remedy="Enable it first.", code="channel.disabled"
        )
    now = SystemClock().now()
    message = Message(
        kind=TEST,
        title=f"A test of the channel {row.name}",
        body=f"{actor.name} asked for it. Nothing needs to be done.",
        link="/settings/notifications",
        urgent=False,
        at=now.isoformat(),
    )
    made = Delivery.objects.create(
        channel=row, kind=TEST, payload=message.as_payload(), next_reconcile_at=now
    )
    _record(actor, row, "test", after={"delivery": made.public_id})
    announce("deliveries")
    return made


def _owner(actor: Actor, team: str) -> dict[str, Any]:
    """Return whose a new channel will be, as columns."""
    if team:
        access.require(actor, MANAGE, team=team)
        return {"team": accounts.team(team), "person": None}
    access.require(actor, "notifications.follow")
    if actor.person_id is None:
        raise Denied("Only people and teams own channels.", code="channel.no_owner")
    return {"person_id": actor.person_id, "team": None}


def _locked(actor: Actor, channel_id: str) -> Channel:
    """Lock a channel that the actor may change."""
    row = (
        Channel.objects.select_for_update(of=("self",), no_key=True)
        .select_related("team")
        .filter(public_id=channel_id)
        .first()
    )
    if row is not None and row.team is not None:
        access.require(actor, MANAGE, team=row.team.slug)
        return row
    access.require(actor, "notifications.follow")
    if row is None or row.person_id != actor.person_id:
        raise Missing(
            "There is no such channel.",
            remedy="GET /api/v1/notification-channels lists those that you may see.",
            code="channel.missing",
        )
    return row


def _retarget(row: Channel, target: str) -> None:
    transport = Transport(row.transport)
    addresses.check(transport, target, private=settings.NOTIFY_PRIVATE)
    row.target, row.shown = vault.seal(target), addresses.shown(transport, target)
    row.verified_at = None


def _save(row: Channel) -> None:
    try:
        with transaction.atomic():
            row.save()
    except IntegrityError as error:
        raise Conflict(
            f"There is a channel {row.name} already.",
            remedy="Choose another name.",
            field="name",
            code="channel.name_taken",
        ) from error


def _record(actor: Actor, row: Channel, what: str, **facts: Any) -> None:
    audit.record(
        actor=actor,
        verb=f"notifications.channel.{what}",
        target=f"channel/{row.public_id}",
        subject=f"the channel {row.name}",
        **facts,
    )


def _facts(row: Channel) -> dict[str, Any]:
    """Return what the ledger keeps of a channel: everything but its secrets."""
    return {
        "name": row.name,
        "transport": row.transport,
        "target": row.shown,
        "team": row.team.slug if row.team else None,
        "on_call": row.on_call,
        "kinds": row.kinds,
    }


def _transport(transport: str) -> Transport:
    try:
        return Transport(transport)
    except ValueError as error:
        raise Invalid(
            f"{transport[:40]!r} is not a transport; it is one of {', '.join(Transport)}.",
            field="transport",
            code="channel.bad_transport",
        ) from error


def _kinds(kinds: Iterable[str]) -> list[str]:
    wanted = sorted(set(kinds))
    unknown = [kind for kind in wanted if kind not in KINDS]
    if unknown:
        raise Invalid(
            f"{unknown[0][:40]!r} is not a kind of notification.",
            remedy="GET /api/v1/notification-preferences lists them.",
            field="kinds",
            code="channel.bad_kind",
        )
    return wanted


def _check_name(name: str) -> None:
    if not name.strip() or len(name) > NAME or not name.isprintable():
        raise Invalid(
            f"The name of a channel has 1 to {NAME} printable characters.",
            field="name",
            code="channel.bad_name",
        )


def _check_on_call(*, on_call: bool, team: str) -> None:
    if on_call and not team:
        raise Invalid(
            "Only a channel of a team can be on call: on call is a duty of the team.",
            remedy="Give the channel to a team.",
            field="on_call",
            code="channel.on_call_of_nobody",
        )
