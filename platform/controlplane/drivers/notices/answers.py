"""What the answer of a receiver means."""

from collections.abc import Mapping
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime

from controlplane.kernel.errors import ControlPlaneError, Permanent, Throttled, Transient

# Asking again cannot help: the address, the signature or the message is at fault.
FINAL = frozenset({400, 401, 403, 404, 405, 406, 410, 411, 413, 414, 415, 422, 501})
REDIRECTS = range(300, 400)


def fault(status: int, words: str, headers: Mapping[str, str]) -> ControlPlaneError:
    """Return the error that an answer other than 2xx means.

    Args:
        status: Of HTTP.
        words: What the receiver said, for a person.
        headers: Of the answer; `Retry-After` is listened to.
    """
    said = f"The receiver answered {status}" + (f": {words}" if words else ".")
    if status in REDIRECTS:
        return Permanent(
            f"The receiver answered {status}: it has moved.",
            remedy="Give the new address; redirects are not followed.",
            code="notice.moved",
        )
    if status in FINAL:
        return Permanent(said, remedy="Check the channel's address.", code="notice.refused")
    wait = retry_after(headers.get("retry-after", ""), now=datetime.now(UTC))
    if wait is not None:
        return Throttled(
            said,
            wait_seconds=wait,
            remedy="It asked us to wait, and is tried again then.",
            code="notice.throttled",
        )
    return Transient(said, remedy="It is tried again by itself.", code="notice.unavailable")


def retry_after(value: str, *, now: datetime) -> int | None:
    """Return the seconds that a `Retry-After` asks for; None when it says nothing."""
    if value.strip().isdigit():
        return min(int(value), 86_400)
    try:
        at = parsedate_to_datetime(value)
    except (ValueError, TypeError):
        return None
    if at.tzinfo is None:
        at = at.replace(tzinfo=UTC)
    return min(max(0, int((at - now).total_seconds())), 86_400)
