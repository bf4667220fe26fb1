"""REST of the ledger."""

from typing import ClassVar

from django.http.response import HttpResponseBase
from rest_framework.request import Request
from rest_framework.response import Response

from apps.accounts import ledger
from apps.accounts.api import ledger_serializers as shapes
from controlplane.http.api import Resource
from controlplane.http.openapi import describe
from controlplane.http.streaming import download
from controlplane.kernel.clock import SystemClock


class AuditEvents(Resource):
    """Everything that anybody changed."""

    query: ClassVar[tuple[str, ...]] = ledger.PARAMETERS

    @describe("Search the audit ledger", answer=shapes.AuditEventAnswer, many=True)
    def get(self, request: Request) -> Response:
        """Return events, newest first."""
        return self.page(ledger.events(self.actor, request.query_params), shapes.AuditEventAnswer)


class AuditExport(Resource):
    """The ledger as a file."""

    query: ClassVar[tuple[str, ...]] = (*ledger.PARAMETERS, "format")

    @describe("Download the audit ledger", tag="audit-events")
    def get(self, request: Request) -> HttpResponseBase:
        """Send it, oldest first: JSON Lines that can be verified, or `format=csv`."""
        made = ledger.export(self.actor, request.query_params, SystemClock().now())
        return download(
            request._request, made.lines, name=made.name, content_type=made.content_type
        )


class AuditCheckpoints(Resource):
    """Signed statements of the chain's end."""

    @describe(
        "List the checkpoints of the audit ledger", answer=shapes.CheckpointAnswer, many=True
    )
    def get(self, request: Request) -> Response:
        """Return checkpoints, newest first."""
        return self.page(ledger.checkpoints(self.actor), shapes.CheckpointAnswer)


class AuditHealth(Resource):
    """Whether the chain holds."""

    @describe("Show how much of the audit ledger is proven", answer=shapes.HealthAnswer)
    def get(self, request: Request) -> Response:
        """Return how far it is sealed, signed and checked."""
        found = ledger.health(self.actor, SystemClock().now())
        return self.answer(shapes.HealthAnswer(found).data)


class AuditKey(Resource):
    """The public keys."""

    @describe("Show the public keys of the ledger and of bundles", answer=shapes.KeysAnswer)
    def get(self, request: Request) -> Response:
        """Return what checkpoints, exports and bundles are checked with."""
        return self.answer(shapes.KeysAnswer({"keys": ledger.public_keys(self.actor)}).data)
