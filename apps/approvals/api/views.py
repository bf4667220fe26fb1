"""REST of approvals."""

from rest_framework.request import Request
from rest_framework.response import Response

from apps.accounts.domain import access
from apps.approvals import selectors, services
from apps.approvals.api import serializers as s
from controlplane.http.api import Reasoned, Resource
from controlplane.http.openapi import describe

SHOWN = 200


class Inbox(Resource):
    """What waits for the actor."""

    @describe("Show what waits for me", answer=s.InboxAnswer)
    def get(self, request: Request) -> Response:
        """Return the requests in which the actor could fill an empty seat, oldest first."""
        access.require(self.actor, "approvals.read")
        rows = selectors.waiting_for(self.actor)
        return self.answer(s.InboxAnswer({"count": len(rows), "results": rows[:SHOWN]}).data)


class Delegations(Resource):
    """Who stands in for whom."""

    @describe("List my delegations", answer=s.DelegationAnswer, many=True)
    def get(self, request: Request) -> Response:
        """Return those by and to the actor, soonest first."""
        return self.page(selectors.delegations(self.actor), s.DelegationAnswer)

    @describe("Delegate my approvals", command=s.Delegate, answer=s.DelegationAnswer, status=201)
    def post(self, request: Request) -> Response:
        """Let somebody stand in for a time."""
        row = services.delegate(actor=self.actor, **self.command(s.Delegate))
        return self.answer(s.DelegationAnswer(row).data, etag_of=row, status=201)


class DelegationEnd(Resource):
    """The end of a delegation."""

    @describe("End a delegation", command=Reasoned, answer=s.DelegationAnswer)
    def post(self, request: Request, delegation_id: str) -> Response:
        """Be back early."""
        given = self.command(Reasoned)
        row = services.end_delegation(actor=self.actor, delegation=delegation_id, **given)
        return self.answer(s.DelegationAnswer(row).data, etag_of=row)
