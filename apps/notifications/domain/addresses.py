"""Where messages may go: which addresses are well formed and harmless, and how each is shown.

Nothing here looks a name up: whether a host is one of our own machines is seen when it is spoken
to (drivers/notices/places.py), because a name may mean another machine by then.
"""

import re
from urllib.parse import SplitResult, parse_qsl, urlsplit

from apps.notifications.domain.kinds import Transport
from controlplane.kernel.errors import Invalid

LONGEST = 2000
MAIL = re.compile(r"[^@\s<>,;:\"\\()\[\]]{1,64}@[A-Za-z0-9.-]{1,189}")

# Apprise knows over a hundred services. These speak HTTP to one of the service's own hosts ...
HOSTED = frozenset(
    {
        "slack", "msteams", "workflow", "workflows", "pagerduty", "opsgenie", "splunk",
        "victorops", "squadcast", "ilert", "incidentio", "firehydrant", "betterstack",
        "pagertree", "signl4", "spike", "xmatters", "discord", "gchat", "webex", "wxteams",
        "tgram", "zulip", "twist", "cliq", "zoom", "lark", "feishu", "dingtalk", "wecombot",
        "pover", "pbul", "twilio", "vonage", "jira", "ringc",
    }
)  # fmt: skip
# ... and these to a host that the address names.
SELF_HOSTED = frozenset(
    {
        "json", "jsons", "xml", "xmls", "form", "forms", "mmost", "mmosts", "rocket", "rockets",
        "ntfy", "ntfys", "gotify", "gotifys", "matrix", "matrixs", "goalert", "goalerts",
        "nctalk", "nctalks", "signal", "signals",
    }
)  # fmt: skip
PLAIN = frozenset({"json", "xml", "form", "mmost", "rocket", "gotify", "matrix", "goalert",
                   "nctalk", "signal"})  # fmt: skip
# Others make Apprise read files of ours ("template"), wait for ever ("rto") or trust anybody
# ("verify"), so what is not named here is refused.
OPTIONS = frozenset(
    {
        "to", "from", "token", "format", "mode", "footer", "image", "avatar", "priority",
        "region", "thread", "channel", "channels", "source", "component", "group", "class",
        "name", "id", "severity", "tags", "entity", "action", "region_name", "sound", "key",
        "workflow", "signature", "power", "ver", "version", "route", "event", "icon", "team",
    }
)  # fmt: skip


def check(transport: Transport, target: str, *, private: bool) -> None:
    """Refuse an address that cannot be one.

    Args:
        transport: What would carry messages there.
        target: The address.
        private: Whether the own machine and network are allowed, and so is speaking in the clear.

    Raises:
        Invalid: The sentence never repeats the address: it may hold a secret.
    """
    if not target or len(target) > LONGEST or not target.isprintable() or " " in target:
        raise _bad(
            f"The address is empty, longer than {LONGEST} characters, or has characters that "
            "no address has.",
            "Copy it again, without spaces around it.",
        )
    match transport:
        case Transport.MAIL:
            _check_mail(target)
        case Transport.WEBHOOK:
            _check_webhook(target, private=private)
        case Transport.APPRISE:
            _check_apprise(target, private=private)


def shown(transport: Transport, target: str) -> str:
    """Return what pages say instead of the address: no path, no name, no secret."""
    if transport is Transport.MAIL:
        return target[:120]
    parts = urlsplit(target)
    scheme = parts.scheme.lower()
    if transport is Transport.APPRISE and scheme not in SELF_HOSTED:
        return f"{scheme}://…"
    return f"{scheme}://{_host(target)}/…"[:120]


def _check_mail(target: str) -> None:
    if not MAIL.fullmatch(target):
        raise _bad(f"{target[:100]!r} is not a mail address.", "It is of the form name@host.")


def _check_webhook(target: str, *, private: bool) -> None:
    parts = _split(target)
    scheme = parts.scheme.lower() if parts and _has_good_port(parts) else ""
    if scheme == "http" and not private:
        raise _bad("A webhook in the clear (http://) could be read on its way.", "Use https://.")
    if scheme not in ("http", "https") or not _host(target):
        raise _bad(
            "The address of a webhook begins with https:// and names a host.",
            "It is of the form https://hooks.example.org/modelyard.",
        )
    if urlsplit(target).username or urlsplit(target).password:
        raise _bad(
            "The address of a webhook holds no name and no password.",
            "The receiver knows us by the signature: see docs/notifications.md.",
        )


def _check_apprise(target: str, *, private: bool) -> None:
    parts = _split(target)
    scheme = parts.scheme.lower() if parts else ""
    if parts is None or scheme not in HOSTED | SELF_HOSTED:
        known = "slack://, msteams://, pagerduty://, opsgenie://, discord://, json://"
        raise _bad(
            f"{scheme[:20] or 'That'} is not a service that Modelyard speaks to.",
            f"Among those it does are {known}; docs/notifications.md lists all.",
        )
    if scheme in PLAIN and not private:
        raise _bad(
            f"{scheme}:// is sent in the clear and could be read on its way.",
            f"Use {scheme}s://.",
        )
    unknown = sorted(k for k, _ in parse_qsl(parts.query, keep_blank_values=True)
                     if k.lower() not in OPTIONS)  # fmt: skip
    if unknown:
        raise _bad(
            f"The address has the option {unknown[0][:40]!r}, which is not allowed here.",
            "Leave it out.",
        )


def _split(target: str) -> SplitResult | None:
    try:
        return urlsplit(target)
    except ValueError:  # brackets that never close
        return None


def _has_good_port(parts: SplitResult) -> bool:
    try:
        return parts.port != 0
    except ValueError:
        return False


def _host(target: str) -> str:
    """Return the host and port that an address names, without a name or password before them."""
    parts = urlsplit(target)
    host = parts.hostname or ""
    try:
        port = f":{parts.port}" if parts.port else ""
    except ValueError:  # Apprise has addresses whose "port" is something else
        port = ""
    return f"{host}{port}"


def _bad(sentence: str, remedy: str) -> Invalid:
    return Invalid(sentence, remedy=remedy, field="target", code="channel.bad_target")
