"""REST of measurements."""

from typing import ClassVar

from rest_framework.request import Request
from rest_framework.response import Response

from apps.endpoints import selectors as endpoints
from apps.monitoring import selectors, services
from apps.monitoring.api.serializers import FeedbackAnswer, TellFeedback, TrafficAnswer
from apps.monitoring.domain.feedback import Outcome
from controlplane.http.api import Resource
from controlplane.http.openapi import describe
from controlplane.kernel.clock import SystemClock
from controlplane.kernel.errors import Invalid

LONGEST = 1440  # minutes


class EndpointTraffic(Resource):
    """What an endpoint's revisions did lately."""

    query: ClassVar[tuple[str, ...]] = ("minutes",)

    @describe("Read an endpoint's traffic", answer=TrafficAnswer)
    def get(self, request: Request, endpoint_id: str) -> Response:
        """Return requests, errors and latency per revision, over `?minutes=` (15)."""
        minutes = _minutes(request.query_params.get("minutes", "15"))
        row = endpoints.endpoint(self.actor, endpoint_id)
        traffic = selectors.traffic(self.actor, row, minutes=minutes, now=SystemClock().now())
        return self.answer(TrafficAnswer(traffic).data)


class EndpointFeedback(Resource):
    """What came of an endpoint's predictions."""

    @describe("Tell outcomes of predictions", command=TellFeedback, answer=FeedbackAnswer)
    def post(self, request: Request, endpoint_id: str) -> Response:
        """Count rewards, outcomes or late labels, each metric of each request once."""
        taken = services.record_feedback(
            actor=self.actor,
            endpoint=endpoint_id,
            items=[Outcome(**item) for item in self.command(TellFeedback)["items"]],
            now=SystemClock().now(),
        )
        return self.answer(FeedbackAnswer(taken).data)


def _minutes(given: str) -> int:
    if given.isascii() and given.isdigit() and 1 <= int(given[:5]) <= LONGEST:
        return int(given)
    raise Invalid(
        f"{given[:20]!r} is not a number of minutes.",
        remedy=f"Give a whole number from 1 to {LONGEST}.",
        field="minutes",
        code="monitoring.minutes",
    )
