"""REST of the ledger."""

from typing import ClassVar

from rest_framework.request import Request
from rest_framework.response import Response

from apps.accounts import ledger
from apps.accounts.api.ledger_serializers import AuditEventAnswer
from controlplane.http.api import Resource
from controlplane.http.openapi import describe


class AuditEvents(Resource):
    """Everything that anybody changed."""

    query: ClassVar[tuple[str, ...]] = ledger.PARAMETERS

    @describe("Search the audit ledger", answer=AuditEventAnswer, many=True)
    def get(self, request: Request) -> Response:
        """Return events, newest first."""
        return self.page(ledger.events(self.actor, request.query_params), AuditEventAnswer)
