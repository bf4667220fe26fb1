"""REST of releases."""

from collections.abc import Callable
from typing import Any, ClassVar

from rest_framework.request import Request
from rest_framework.response import Response

from apps.releases import selectors, services
from apps.releases.api import serializers as s
from apps.releases.domain.states import ReleaseState
from apps.releases.models import Release
from controlplane.http.api import Reasoned, Resource
from controlplane.http.openapi import describe
from controlplane.kernel.errors import Invalid


class Releases(Resource):
    """Every release that the actor may see."""

    query: ClassVar[tuple[str, ...]] = ("state", "model", "environment", "q", "waiting")

    @describe("List releases", answer=s.ReleaseAnswer, many=True)
    def get(self, request: Request) -> Response:
        """Return them, newest first; `?waiting=me` those that wait for the actor's decision."""
        asked = request.query_params
        rows = selectors.releases(
            self.actor,
            state=_state(asked.get("state", "")),
            model=asked.get("model", ""),
            environment=asked.get("environment", ""),
            q=asked.get("q", ""),
        )
        if _waiting(asked.get("waiting", "")):
            rows = rows.filter(pk__in=[row.pk for row in selectors.waiting_for(self.actor)])
        return self.page(rows, s.ReleaseAnswer)

    @describe("Propose a release", command=s.Propose, answer=s.ReleaseWhole, status=201)
    def post(self, request: Request) -> Response:
        """Propose it; 200 with the open one when just this is proposed already."""
        row, created = services.propose(actor=self.actor, **self.command(s.Propose))
        return self._whole(selectors.release(self.actor, row.number), 201 if created else 200)

    def _whole(self, row: Release, status: int) -> Response:
        return self.answer(s.ReleaseWhole(row).data, etag_of=row, status=status)


class ReleaseDetail(Resource):
    """One release."""

    @describe("Show a release", answer=s.ReleaseWhole)
    def get(self, request: Request, number: int) -> Response:
        """Return it with its gates, its seats and what is missing."""
        row = selectors.release(self.actor, number)
        return self.answer(s.ReleaseWhole(row).data, etag_of=row)

    @describe("Revise a release", command=s.Revise, answer=s.ReleaseWhole)
    def patch(self, request: Request, number: int) -> Response:
        """Change what it would ship."""
        self.match(selectors.release(self.actor, number))
        given = self.command(s.Revise)
        row = services.revise(actor=self.actor, number=number, **given)
        return self.answer(s.ReleaseWhole(row).data, etag_of=row)


class _Verb(Resource):
    """One verb on one release."""

    verb: ClassVar[Callable[..., Release]]
    body: ClassVar[type[Any]]

    def act(self, number: int) -> Response:
        """Do it, and return the release as it is then."""
        row = type(self).verb(actor=self.actor, number=number, **self.command(self.body))
        return self.answer(s.ReleaseWhole(row).data, etag_of=row)


class Approve(_Verb):
    """The yes to a release."""

    verb, body = staticmethod(services.approve), s.Decide

    @describe("Approve a release", command=s.Decide, answer=s.ReleaseWhole)
    def post(self, request: Request, number: int) -> Response:
        """Say yes to exactly the digest that was shown."""
        return self.act(number)


class RequestChanges(_Verb):
    """A wish for changes."""

    verb, body = staticmethod(services.request_changes), s.DecideAgainst

    @describe("Ask for changes to a release", command=s.DecideAgainst, answer=s.ReleaseWhole)
    def post(self, request: Request, number: int) -> Response:
        """Hold it until they are made, or taken back."""
        return self.act(number)


class Decline(_Verb):
    """The no to a release."""

    verb, body = staticmethod(services.decline), s.DecideAgainst

    @describe("Decline a release", command=s.DecideAgainst, answer=s.ReleaseWhole)
    def post(self, request: Request, number: int) -> Response:
        """Say no, for good."""
        return self.act(number)


class TakeBack(_Verb):
    """The end of one's own decision."""

    verb, body = staticmethod(services.take_back), Reasoned

    @describe("Take back a decision", command=Reasoned, answer=s.ReleaseWhole)
    def post(self, request: Request, number: int) -> Response:
        """Take it back, while nothing has begun by it."""
        return self.act(number)


class Withdraw(_Verb):
    """The early end of a release."""

    verb, body = staticmethod(services.withdraw), Reasoned

    @describe("Withdraw a release", command=Reasoned, answer=s.ReleaseWhole)
    def post(self, request: Request, number: int) -> Response:
        """Take it back before it moves traffic."""
        return self.act(number)


class BreakGlass(_Verb):
    """An emergency."""

    verb, body = staticmethod(services.break_glass), s.Needed

    @describe("Ship past gates and approvals", command=s.Needed, answer=s.ReleaseWhole)
    def post(self, request: Request, number: int) -> Response:
        """Ship it at once, loudly; a review is owed."""
        return self.act(number)


class WriteReview(_Verb):
    """The review of an emergency."""

    verb, body = staticmethod(services.review), s.Review

    @describe("Review an emergency release", command=s.Review, answer=s.ReleaseWhole)
    def post(self, request: Request, number: int) -> Response:
        """Write it."""
        return self.act(number)


class Comments(Resource):
    """The discussion of a release."""

    @describe("List what was said about a release", answer=s.CommentAnswer, many=True)
    def get(self, request: Request, number: int) -> Response:
        """Return it, oldest first."""
        return self.page(selectors.comments(self.actor, number), s.CommentAnswer)

    @describe("Comment on a release", command=s.Say, answer=s.CommentAnswer, status=201)
    def post(self, request: Request, number: int) -> Response:
        """Say something; @name tells that person."""
        said = services.comment(actor=self.actor, number=number, **self.command(s.Say))
        return self.answer(s.CommentAnswer(said).data, status=201)


class Promote(Resource):
    """The same in another environment."""

    @describe("Promote a release", command=s.Promote, answer=s.ReleaseWhole, status=201)
    def post(self, request: Request, number: int) -> Response:
        """Propose there what is shipped here."""
        row, created = services.promote(actor=self.actor, number=number, **self.command(s.Promote))
        whole = selectors.release(self.actor, row.number)
        status = 201 if created else 200
        return self.answer(s.ReleaseWhole(whole).data, etag_of=whole, status=status)


class RollBack(Resource):
    """The way back."""

    @describe("Roll back to an approved release", command=s.RollBack, answer=s.ReleaseWhole,
              status=201)  # fmt: skip
    def post(self, request: Request) -> Response:
        """Go back; it needs nobody's approval."""
        row = services.roll_back(actor=self.actor, **self.command(s.RollBack))
        whole = selectors.release(self.actor, row.number)
        return self.answer(s.ReleaseWhole(whole).data, etag_of=whole, status=201)


def _state(given: str) -> str:
    known = ["open", "ended", *[str(state) for state in ReleaseState]]
    if given and given not in known:
        raise Invalid(
            f"state={given[:40]} is not the state of a release.",
            remedy=f"It is one of {', '.join(known)}.",
            field="state",
            code="releases.unknown_state",
        )
    return given


def _waiting(given: str) -> bool:
    if given not in ("", "me"):
        raise Invalid(
            f"waiting={given[:40]} is not known.",
            remedy="Write waiting=me, or leave it out.",
            field="waiting",
            code="releases.unknown_waiting",
        )
    return bool(given)
