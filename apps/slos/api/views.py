"""REST of objectives."""

from rest_framework.request import Request
from rest_framework.response import Response

from apps.environments import selectors as environments
from apps.registry import selectors as registry
from apps.slos import selectors, services
from apps.slos.api.serializers import DeclareObjective, ObjectiveAnswer
from apps.slos.domain.objective import Objective
from controlplane.http.api import Resource
from controlplane.http.openapi import describe


class ObjectiveDetail(Resource):
    """What a model promises in an environment."""

    @describe("Read an objective", answer=ObjectiveAnswer)
    def get(self, request: Request, name: str, environment: str) -> Response:
        """Return it."""
        model = registry.model(self.actor, name)
        row = selectors.declared(self.actor, model, environments.by_slug(environment))
        return self.answer(ObjectiveAnswer(row).data, etag_of=row)

    @describe("Declare an objective", command=DeclareObjective, answer=ObjectiveAnswer)
    def put(self, request: Request, name: str, environment: str) -> Response:
        """Declare it, or declare it anew."""
        given = self.command(DeclareObjective)
        reason = given.pop("reason")
        row = services.declare(
            actor=self.actor,
            model=name,
            environment=environment,
            objective=Objective(**given),
            reason=reason,
        )
        return self.answer(ObjectiveAnswer(row).data, etag_of=row)
