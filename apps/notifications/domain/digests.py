"""When the daily mail goes out."""

from datetime import UTC, datetime, time, timedelta
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

MORNING = time(8)


def next_digest(now: datetime, time_zone: str) -> datetime:
    """Return the next eight o'clock of a person's own morning, in UTC.

    Args:
        now: Aware.
        time_zone: A name of the IANA database; one that is unknown counts as UTC.
    """
    try:
        zone = ZoneInfo(time_zone)
    except (ZoneInfoNotFoundError, ValueError, OSError):
        zone = ZoneInfo("UTC")
    here = now.astimezone(zone)
    day = here.date() if here.time() < MORNING else here.date() + timedelta(days=1)
    return datetime.combine(day, MORNING, zone).astimezone(UTC)
