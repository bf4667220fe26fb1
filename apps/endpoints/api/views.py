"""REST of endpoints."""

from typing import ClassVar

import structlog
from rest_framework.request import Request
from rest_framework.response import Response

from apps.endpoints import selectors, services, trial
from apps.endpoints.api import serializers as s
from controlplane.http.api import Resource
from controlplane.http.openapi import describe
from controlplane.kernel.clock import SystemClock


class Endpoints(Resource):
    """Every endpoint that the actor may see."""

    query: ClassVar[tuple[str, ...]] = ("environment", "model", "q", "retired")

    @describe("List endpoints", answer=s.EndpointAnswer, many=True)
    def get(self, request: Request) -> Response:
        """Return them, newest first; `?retired=true` lists those that were retired."""
        asked = request.query_params
        rows = selectors.endpoints(
            self.actor,
            environment=asked.get("environment", ""),
            model=asked.get("model", ""),
            q=asked.get("q", ""),
            retired=asked.get("retired", "").lower() in ("1", "true", "yes"),
        )
        return self.page(rows, s.EndpointAnswer)


class ServeVersion(Resource):
    """Have a version answer."""

    @describe("Serve a version", command=s.Serve, answer=s.ServedAnswer, status=202, also=[200])
    def post(self, request: Request) -> Response:
        """Ask for a revision; it comes up in the background. 200 when it is so already."""
        served = services.serve(actor=self.actor, **self.command(s.Serve))
        row = selectors.endpoint(self.actor, served.endpoint.public_id)
        answer = {
            "endpoint": s.EndpointAnswer(row).data,
            "revision": s.RevisionAnswer(served.revision).data,
            "created": served.created,
        }
        return self.answer(answer, status=202 if served.created else 200)


class EndpointDetail(Resource):
    """One endpoint."""

    @describe("Show an endpoint", answer=s.EndpointDetailAnswer)
    def get(self, request: Request, endpoint_id: str) -> Response:
        """Return it with its revisions and how to ask it."""
        row = selectors.endpoint(self.actor, endpoint_id)
        return self.answer(s.EndpointDetailAnswer(row).data, etag_of=row)


class RetireEndpoint(Resource):
    """Stop answering."""

    @describe("Retire an endpoint", command=s.Retire, answer=s.EndpointAnswer, status=202)
    def post(self, request: Request, endpoint_id: str) -> Response:
        """Stop answering, and stop the servers, in the background."""
        given = self.command(s.Retire)
        row = services.retire(actor=self.actor, endpoint=endpoint_id, **given)
        return self.answer(s.EndpointAnswer(row).data, etag_of=row, status=202)


class ScaleEndpoint(Resource):
    """Change the number of replicas."""

    @describe("Scale an endpoint", command=s.Scale, answer=s.EndpointAnswer, status=202)
    def post(self, request: Request, endpoint_id: str) -> Response:
        """Ask for more or fewer replicas; they come and go in the background."""
        given = self.command(s.Scale)
        row = services.scale(actor=self.actor, endpoint=endpoint_id, **given)
        return self.answer(s.EndpointAnswer(row).data, etag_of=row, status=202)


class EndpointKeys(Resource):
    """The keys of an endpoint."""

    shown_once: ClassVar[tuple[str, ...]] = ("secret",)

    @describe("List an endpoint's keys", answer=s.KeyAnswer, many=True)
    def get(self, request: Request, endpoint_id: str) -> Response:
        """Return them, newest first, revoked ones too."""
        row = selectors.endpoint(self.actor, endpoint_id)
        return self.page(selectors.keys(self.actor, row), s.KeyAnswer)

    @describe(
        "Create a key of an endpoint", command=s.CreateKey, answer=s.NewKeyAnswer, status=201
    )
    def post(self, request: Request, endpoint_id: str) -> Response:
        """Return a new key, once. From the first on, callers need one."""
        given = self.command(s.CreateKey)
        key, secret = services.create_key(actor=self.actor, endpoint=endpoint_id, **given)
        return self.answer({**s.KeyAnswer(key).data, "secret": secret}, status=201)


class RevokeEndpointKey(Resource):
    """Let nobody in by a key any more."""

    @describe("Revoke a key of an endpoint", command=s.RevokeKey, answer=s.KeyAnswer)
    def post(self, request: Request, endpoint_id: str, key_id: str) -> Response:
        """Revoke it; the proxy refuses it within moments."""
        given = self.command(s.RevokeKey)
        key = services.revoke_key(actor=self.actor, endpoint=endpoint_id, key=key_id, **given)
        return self.answer(s.KeyAnswer(key).data)


class OpenEndpoint(Resource):
    """Let callers in without a key again."""

    @describe(
        "Let callers in without a key", command=s.OpenToAll, answer=s.EndpointAnswer, status=202
    )
    def post(self, request: Request, endpoint_id: str) -> Response:
        """Ask for no key any more; the proxy follows within moments."""
        given = self.command(s.OpenToAll)
        row = services.open_to_all(actor=self.actor, endpoint=endpoint_id, **given)
        return self.answer(s.EndpointAnswer(row).data, etag_of=row, status=202)


class PredictAtEndpoint(Resource):
    """Try an endpoint."""

    @describe("Try an endpoint", command=s.Predict, answer=s.PredictionAnswer)
    def post(self, request: Request, endpoint_id: str) -> Response:
        """Send one request through the proxy, as any caller would, and return the answer."""
        row = selectors.endpoint(self.actor, endpoint_id)
        prediction = trial.predict(
            actor=self.actor,
            endpoint=row,
            body=self.command(s.Predict),
            request_id=str(structlog.contextvars.get_contextvars().get("request_id", "")),
            now=SystemClock().now(),
        )
        return self.answer(
            {
                "response": prediction.body,
                "milliseconds": round(prediction.milliseconds, 3),
                "revision": prediction.revision,
                "request_id": prediction.request_id,
            }
        )
