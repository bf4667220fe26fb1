"""REST of environments."""

from rest_framework.request import Request
from rest_framework.response import Response

from apps.environments import selectors, services
from apps.environments.api.serializers import EditEnvironment, EnvironmentAnswer
from controlplane.http.api import Resource
from controlplane.http.openapi import describe


class Environments(Resource):
    """Every environment."""

    @describe("List environments", answer=EnvironmentAnswer, many=True)
    def get(self, request: Request) -> Response:
        """Return them in the order of promotion."""
        return self.page(selectors.environments(self.actor), EnvironmentAnswer)


class EnvironmentDetail(Resource):
    """One environment."""

    @describe("Read an environment", answer=EnvironmentAnswer)
    def get(self, request: Request, slug: str) -> Response:
        """Return it."""
        selectors.environments(self.actor)
        environment = selectors.by_slug(slug)
        return self.answer(EnvironmentAnswer(environment).data, etag_of=environment)

    @describe("Change an environment", command=EditEnvironment, answer=EnvironmentAnswer)
    def patch(self, request: Request, slug: str) -> Response:
        """Change its title, protection or limits."""
        selectors.environments(self.actor)
        self.match(selectors.by_slug(slug))
        environment = services.edit(actor=self.actor, slug=slug, **self.command(EditEnvironment))
        return self.answer(EnvironmentAnswer(environment).data, etag_of=environment)
