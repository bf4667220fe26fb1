"""What tells people, and what people may do about it: one function per verb."""

from apps.notifications.services.telling import notify

__all__ = ["notify"]
