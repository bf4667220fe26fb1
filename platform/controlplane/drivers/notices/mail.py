"""Mail, through the server that the settings name."""

import smtplib
import ssl
from dataclasses import dataclass
from email.message import EmailMessage
from email.utils import format_datetime, parseaddr
from urllib.parse import SplitResult, unquote, urlsplit

from apps.notifications.ports import Parcel
from controlplane.kernel.errors import Permanent, Transient

SECONDS = 8.0  # for each line that the server says
HERE = frozenset({"localhost", "127.0.0.1", "::1"})


@dataclass(frozen=True)
class MailSender:
    """Implements `apps.notifications.ports.Sender`.

    Attributes:
        server: "smtp://NAME:PASSWORD@HOST:PORT" or smtps://; "" when there is none.
        sender: Whom mail is from: "Modelyard <modelyard@example.org>".
    """

    server: str
    sender: str

    def send(self, parcel: Parcel) -> str:
        """Implement `Sender.send`."""
        if not self.server:
            raise Permanent(
                "No mail server is set, so nothing can be sent by mail.",
                remedy="Set SMTP_URL, for example smtp://mail.example.org:587, and replay.",
                code="mail.no_server",
            )
        try:
            return self._hand_over(parcel)
        except smtplib.SMTPResponseException as error:
            raise _refused(error.smtp_code, _text(error.smtp_error)) from error
        except smtplib.SMTPRecipientsRefused as error:
            raise _refused(*_first(error)) from error
        except smtplib.SMTPNotSupportedError as error:
            raise Permanent(
                f"The mail server cannot do what SMTP_URL asks for: {error}.",
                remedy="Look at SMTP_URL in docs/settings.md.",
                code="mail.unsupported",
            ) from error
        except (smtplib.SMTPException, OSError) as error:
            raise Transient(
                f"The mail server does not answer: {error or type(error).__name__}.",
                remedy="It is tried again by itself; check SMTP_URL.",
                code="mail.unreachable",
            ) from error

    def _hand_over(self, parcel: Parcel) -> str:
        at = urlsplit(self.server)
        with _connected(at) as server:
            _make_private(server, at)
            if at.username:
                server.login(unquote(at.username), unquote(at.password or ""))
            refused = server.send_message(letter(parcel, sender=self.sender))
            del refused  # of several receivers, some; there is one, and its refusal raises
            return f"accepted by {at.hostname}"


def letter(parcel: Parcel, *, sender: str) -> EmailMessage:
    """Return the mail of one message, in plain text."""
    message = parcel.message
    host = parseaddr(sender)[1].rpartition("@")[2]
    mail = EmailMessage()
    mail["From"] = sender
    mail["To"] = parcel.target
    mail["Subject"] = f"{'[urgent] ' if message.urgent else ''}{message.title}"
    mail["Date"] = format_datetime(parcel.at)
    mail["Message-ID"] = f"<{parcel.id}@{host}>"  # the same for every attempt
    mail["Auto-Submitted"] = "auto-generated"  # nobody's holiday answers it
    if message.urgent:
        mail["Importance"] = "high"
    parts = [
        message.title,
        message.body,
        parcel.url,
        f"-- \nHow you hear of things: {_mine(parcel)}",
    ]
    mail.set_content("\n\n".join(part for part in parts if part) + "\n")
    return mail


def _mine(parcel: Parcel) -> str:
    """Return the address of the page on which a person chooses."""
    return parcel.url.removesuffix(parcel.message.link) + "/settings/notifications"


def _connected(at: SplitResult) -> smtplib.SMTP:
    host = at.hostname or ""
    if at.scheme == "smtps":
        context = ssl.create_default_context()
        return smtplib.SMTP_SSL(host, at.port or 465, timeout=SECONDS, context=context)
    return smtplib.SMTP(host, at.port or 25, timeout=SECONDS)


def _make_private(server: smtplib.SMTP, at: SplitResult) -> None:
    """Speak in secret where the server can; never say a password in the clear."""
    if at.scheme == "smtps":
        return
    server.ehlo()
    if server.has_extn("starttls"):
        server.starttls(context=ssl.create_default_context())
        server.ehlo()
    elif at.username and at.hostname not in HERE:
        raise Permanent(
            f"{at.hostname} does not offer TLS, and a password would travel in the clear.",
            remedy="Use smtps://, or a server that offers STARTTLS.",
            code="mail.in_the_clear",
        )


def _refused(code: int, words: str) -> Transient | Permanent:
    """Return what an answer of SMTP means: 4xx is for now, 5xx for ever."""
    said = f"The mail server answered {code}: {words}"
    if code == 535:
        return Permanent(said, remedy="Check name and password in SMTP_URL.", code="mail.login")
    if 400 <= code < 500 or code < 0:
        return Transient(said, remedy="It is tried again by itself.", code="mail.busy")
    return Permanent(said, remedy="Check the address.", code="mail.refused")


def _first(error: smtplib.SMTPRecipientsRefused) -> tuple[int, str]:
    code, words = next(iter(error.recipients.values()))
    return code, _text(words)


def _text(words: bytes | str) -> str:
    text = words.decode("utf-8", "replace") if isinstance(words, bytes) else words
    return " ".join(text.split())[:300]
