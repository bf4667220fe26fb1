"""The secrets of channels: sealed on the way into a row, opened by whoever sends."""

from django.conf import settings

from apps.notifications.domain import sealing
from apps.notifications.models import Channel
from controlplane.kernel.errors import Permanent


def seal(text: str) -> str:
    """Return `text` as a row keeps it."""
    return sealing.seal(text, _keys())


def open_target(channel: Channel) -> str:
    """Return where a channel goes.

    Raises:
        Permanent: The server's key has changed since.
    """
    return _open(channel, channel.target)


def open_secret(channel: Channel) -> str:
    """Return what a channel's signatures are made with; "" when it has none.

    Raises:
        Permanent: The server's key has changed since.
    """
    return _open(channel, channel.secret) if channel.secret else ""


def _open(channel: Channel, sealed: str) -> str:
    try:
        return sealing.unseal(sealed, _keys())
    except sealing.Unreadable as error:
        raise Permanent(
            f"The address of the channel {channel.name} was sealed with another key.",
            remedy="MODELYARD_SECRET_KEY has changed; give the channel its address again.",
            code="channel.sealed",
        ) from error


def _keys() -> list[str]:
    return [str(key) for key in (settings.SECRET_KEY, *settings.SECRET_KEY_FALLBACKS)]
