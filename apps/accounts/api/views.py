"""REST of accounts."""

from typing import ClassVar

from rest_framework.request import Request
from rest_framework.response import Response

from apps.accounts import selectors, services
from apps.accounts.api.serializers import (
    CreatePerson,
    CreateTeam,
    CreateToken,
    EditPerson,
    GiveRole,
    GrantAnswer,
    MeAnswer,
    NewPersonAnswer,
    NewTokenAnswer,
    PersonAnswer,
    TeamAnswer,
    TokenAnswer,
    shown,
)
from controlplane.http.api import Reasoned, Resource
from controlplane.http.openapi import describe
from controlplane.kernel.clock import SystemClock


class Me(Resource):
    """Whoever asks."""

    @describe("Say who asks, and what they may do", answer=MeAnswer)
    def get(self, request: Request) -> Response:
        """Return the actor."""
        return self.answer(MeAnswer(self.actor).data)


class Tokens(Resource):
    """The actor's own API tokens."""

    shown_once: ClassVar[tuple[str, ...]] = ("secret",)

    @describe("List your API tokens", answer=TokenAnswer, many=True)
    def get(self, request: Request) -> Response:
        """Return them, newest first."""
        return self.page(selectors.tokens(self.actor, now=SystemClock().now()), TokenAnswer)

    @describe("Create an API token", command=CreateToken, answer=NewTokenAnswer, status=201)
    def post(self, request: Request) -> Response:
        """Create one; its secret is in this answer and nowhere else."""
        token, secret = services.create_token(actor=self.actor, **self.command(CreateToken))
        data = NewTokenAnswer(token, context={"secret": secret}).data
        return self.answer(data, status=201)


class TokenRevoke(Resource):
    """The end of a token."""

    @describe("Revoke an API token", command=Reasoned, answer=TokenAnswer)
    def post(self, request: Request, token_id: str) -> Response:
        """Revoke it at once."""
        token = services.revoke_token(
            actor=self.actor, token_id=token_id, **self.command(Reasoned)
        )
        return self.answer(TokenAnswer(token).data)


class People(Resource):
    """Everybody who may sign in."""

    shown_once: ClassVar[tuple[str, ...]] = ("one_time_password",)

    @describe("List people", answer=PersonAnswer, many=True)
    def get(self, request: Request) -> Response:
        """Return them by name."""
        return self.page(selectors.people(self.actor), PersonAnswer)

    @describe("Create somebody", command=CreatePerson, answer=NewPersonAnswer, status=201)
    def post(self, request: Request) -> Response:
        """Create somebody with a password that works once."""
        person, password = services.create_person(actor=self.actor, **self.command(CreatePerson))
        data = NewPersonAnswer(person, context={"password": password}).data
        return self.answer(data, status=201)


class PersonDetail(Resource):
    """Somebody."""

    @describe("Read somebody", answer=PersonAnswer)
    def get(self, request: Request, username: str) -> Response:
        """Return them with their roles."""
        return self.answer(PersonAnswer(selectors.person(self.actor, username)).data)

    @describe("Let somebody in, or keep them out", command=EditPerson, answer=PersonAnswer)
    def patch(self, request: Request, username: str) -> Response:
        """Change whether they may sign in; their tokens follow."""
        services.set_active(actor=self.actor, username=username, **self.command(EditPerson))
        return self.answer(PersonAnswer(selectors.person(self.actor, username)).data)


class PersonPassword(Resource):
    """Somebody's password."""

    shown_once: ClassVar[tuple[str, ...]] = ("one_time_password",)

    @describe("Give somebody a new password", command=Reasoned, answer=NewPersonAnswer)
    def post(self, request: Request, username: str) -> Response:
        """Set a password that works once, and end their sessions."""
        person, password = services.reset_password(
            actor=self.actor, username=username, **self.command(Reasoned)
        )
        return self.answer(NewPersonAnswer(person, context={"password": password}).data)


class PersonGrants(Resource):
    """Somebody's roles."""

    @describe("Give somebody a role", command=GiveRole, answer=GrantAnswer, status=201)
    def post(self, request: Request, username: str) -> Response:
        """Give it; giving it twice changes nothing."""
        grant = services.grant_role(actor=self.actor, username=username, **self.command(GiveRole))
        return self.answer(shown(grant), status=201)


class GrantDetail(Resource):
    """One role that somebody holds."""

    @describe("Take a role away", status=204)
    def delete(self, request: Request, grant_id: str) -> Response:
        """Take it away."""
        services.revoke_role(actor=self.actor, grant_id=grant_id)
        return Response(status=204)


class Teams(Resource):
    """The teams."""

    @describe("List teams", answer=TeamAnswer, many=True)
    def get(self, request: Request) -> Response:
        """Return them by slug."""
        return self.page(selectors.teams(self.actor), TeamAnswer)

    @describe("Create a team", command=CreateTeam, answer=TeamAnswer, status=201)
    def post(self, request: Request) -> Response:
        """Create one."""
        team = services.create_team(actor=self.actor, **self.command(CreateTeam))
        return self.answer(TeamAnswer(team).data, status=201)
