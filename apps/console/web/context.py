"""What every page's frame needs: where one may go, who one is, which theme was chosen.

Runs for every rendered page, so it costs nothing: whatever needs a row is lazy, and the places are
resolved from the URL table, so that the yard line never shows a link that leads nowhere.
"""

from dataclasses import dataclass
from functools import cache, cached_property
from importlib.metadata import PackageNotFoundError, version
from typing import Any

from django.conf import settings
from django.db import DatabaseError
from django.http import HttpRequest
from django.urls import Resolver404, resolve

from apps.approvals import waiting
from controlplane.kernel.actor import ANONYMOUS, Actor, ActorKind

THEMES = ("light", "dark")
INBOX = "/inbox"
ROLLOUTS = "/rollouts"
SECTIONS: tuple[tuple[str, tuple[tuple[str, str], ...]], ...] = (
    (
        "",
        (
            ("Home", "/"),
            ("Inbox", INBOX),
            ("Models", "/models"),
            ("Builds", "/builds"),
            ("Releases", "/releases"),
            ("Rollouts", ROLLOUTS),
            ("Endpoints", "/endpoints"),
        ),
    ),
    (
        "Keep it running",
        (
            ("Policies", "/policies"),
            ("Strategies", "/strategies"),
            ("Freezes", "/freezes"),
            ("Deliveries", "/deliveries"),
            ("Audit", "/audit"),
            ("People", "/people"),
            ("Tokens", "/tokens"),
        ),
    ),
)


@dataclass(frozen=True)
class Place:
    """One station of the yard line.

    Attributes:
        title: What it is called.
        href: Where it is.
        here: Whether it holds this page.
        counted: Whether what waits for the reader is counted beside it.
    """

    title: str
    href: str
    here: bool

    @property
    def counted(self) -> bool:
        """Return whether it is the inbox."""
        return self.href == INBOX

    @property
    def running(self) -> bool:
        """Return whether it is the rollouts, whose number is fetched after the page."""
        return self.href == ROLLOUTS


@dataclass(frozen=True)
class Section:
    """Some stations under one heading; the first has none."""

    title: str
    places: tuple[Place, ...]


@dataclass(frozen=True)
class Me:
    """The reader, as the top bar shows them.

    Attributes:
        name: What they are called.
        title: Name and roles in one line.
        roles: What they may be, in words.
        person: Their key, which names what they are told live; None for a program.
        tokens: Where they manage their tokens; "" where there is no such page.
    """

    name: str
    title: str
    roles: str
    person: int | None
    tokens: str


class Frame:
    """What `base.html` reads; every part is made when it is asked for."""

    def __init__(self, request: HttpRequest) -> None:
        """Keep the request."""
        self._request = request
        self.version = product_version()

    @property
    def theme(self) -> str:
        """Return the chosen theme, or "" to follow the reader's system."""
        chosen = self._request.COOKIES.get("theme", "")
        return chosen if chosen in THEMES else ""

    @property
    def nav(self) -> list[Section]:
        """Return the yard line, with the place that holds this page marked."""
        path = self._request.path
        sections = [
            Section(title, tuple(Place(t, h, _holds(h, path)) for t, h in places if _leads(h)))
            for title, places in SECTIONS
        ]
        if settings.MLFLOW_URL:
            last = sections[-1]
            sections[-1] = Section(last.title, (*last.places, Place("MLflow", "/mlflow/", False)))
        return [s for s in sections if s.places]

    @cached_property
    def waiting(self) -> int:
        """Return how many decisions wait for the reader, by one query.

        A page that says that the database does not answer is shown without.
        """
        actor: Actor = getattr(self._request, "actor", ANONYMOUS)
        try:
            return waiting.count(actor)
        except DatabaseError:
            return 0

    @property
    def me(self) -> Me | None:
        """Return the reader, or None before they sign in."""
        actor: Actor = getattr(self._request, "actor", ANONYMOUS)
        if actor.kind is ActorKind.ANONYMOUS:
            return None
        name = _display_name(self._request) or actor.name
        roles = ", ".join(sorted({g.role.value for g in actor.grants})) or "no role yet"
        tokens = "/tokens" if _leads("/tokens") else ""
        return Me(name, f"{name}, {roles}", roles, actor.person_id, tokens)


def frame(request: HttpRequest) -> dict[str, Any]:
    """Return the context processor's variables: `frame`."""
    return {"frame": Frame(request)}


@cache
def product_version() -> str:
    """Return the installed version of Modelyard."""
    try:
        return version("modelyard")
    except PackageNotFoundError:
        return "from source"


@cache
def _leads(href: str) -> bool:
    try:
        resolve(href)
    except Resolver404:
        return False
    return True


def _holds(href: str, path: str) -> bool:
    return path == "/" if href == "/" else path == href or path.startswith(f"{href}/")


def _display_name(request: HttpRequest) -> str:
    user = getattr(request, "user", None)
    if user is None or not user.is_authenticated:
        return ""
    return str(user.display_name or user.get_username())
