"""What notifications need from outside: something that hands a message over."""

from dataclasses import dataclass
from datetime import datetime
from typing import Protocol

from apps.notifications.domain.message import Message


@dataclass(frozen=True)
class Parcel:
    """One message, addressed.

    Attributes:
        id: The same for every attempt and replay: receivers tell repeats by it.
        attempt: 1, 2, ...
        target: Where to: a mail address, an Apprise address, or a webhook's.
        secret: What a webhook's signature is made with; "" for the others.
        message: What is said.
        url: Where a browser looks at it.
        at: Now.
    """

    id: str
    attempt: int
    target: str
    secret: str
    message: Message
    url: str
    at: datetime


class Sender(Protocol):
    """Hands messages over; safe to share between threads, done within 20 seconds."""

    def send(self, parcel: Parcel) -> str:
        """Hand one message over and return what the receiver answered, in a few words.

        Raises:
            Transient: It may work later.
            Throttled: The receiver asked us to wait.
            Permanent: It cannot work without a change.
        """
        ...
