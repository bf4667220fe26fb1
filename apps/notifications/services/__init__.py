"""What tells people, and what people may do about it: one function per verb."""

from apps.notifications.services.channels import (
    create_channel,
    edit_channel,
    remove_channel,
    rotate_secret,
    set_enabled,
    test_channel,
)
from apps.notifications.services.outbox import replay, send_digests, tidy
from apps.notifications.services.reading import mark_all_read, mark_read, set_preferences
from apps.notifications.services.telling import mail_is_set_up, notify

__all__ = [
    "create_channel",
    "edit_channel",
    "mail_is_set_up",
    "mark_all_read",
    "mark_read",
    "notify",
    "remove_channel",
    "replay",
    "rotate_secret",
    "send_digests",
    "set_enabled",
    "set_preferences",
    "test_channel",
    "tidy",
]
