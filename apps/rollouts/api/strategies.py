"""REST of strategies: the templates of an environment, and what a strategy would do."""

from rest_framework.request import Request
from rest_framework.response import Response

from apps.environments import selectors as environments
from apps.environments.models import Environment
from apps.rollouts import previewing, selectors, templates
from apps.rollouts.api import serializers as s
from controlplane.http.api import Reasoned, Resource
from controlplane.http.openapi import describe
from controlplane.kernel.errors import Missing


class StrategyTemplates(Resource):
    """The templates of an environment."""

    @describe("List strategy templates", answer=s.TemplateAnswer, many=True)
    def get(self, request: Request, slug: str) -> Response:
        """Return them, the default one first."""
        return self.page(selectors.templates_of(_place(self, slug)), s.TemplateAnswer)


class StrategyTemplateDetail(Resource):
    """One template of an environment."""

    @describe("Read a strategy template", answer=s.TemplateAnswer)
    def get(self, request: Request, slug: str, template: str) -> Response:
        """Return it."""
        row = selectors.template(_place(self, slug), template)
        return self.answer(s.TemplateAnswer(row).data, etag_of=row)

    @describe(
        "Write a strategy template", command=s.SaveTemplate, answer=s.TemplateAnswer, also=[201]
    )
    def put(self, request: Request, slug: str, template: str) -> Response:
        """Write it; releases that were proposed with it keep what it said. 201 when it is new."""
        place = _place(self, slug)
        given = self.command(s.SaveTemplate)
        known = self._matched(place, template)
        row = templates.save(actor=self.actor, environment=place, name=template, **given)
        status = 200 if known else 201
        return self.answer(s.TemplateAnswer(row).data, etag_of=row, status=status)

    @describe("Remove a strategy template", command=Reasoned, status=204)
    def delete(self, request: Request, slug: str, template: str) -> Response:
        """Remove it; releases that were proposed with it keep what it said."""
        place = _place(self, slug)
        given = self.command(Reasoned)
        self._matched(place, template)
        templates.remove(actor=self.actor, environment=place, name=template, **given)
        return Response(status=204)

    def _matched(self, place: Environment, template: str) -> bool:
        """Return whether there is such a template, once it is the one that If-Match names."""
        try:
            self.match(selectors.template(place, template))
        except Missing:
            return False
        return True


class StrategyPreview(Resource):
    """What a strategy would do."""

    @describe("Preview a strategy", command=s.AskPreview, answer=s.PreviewAnswer)
    def post(self, request: Request) -> Response:
        """Say what it would do, how long that takes and what it needs. It changes nothing.

        It is a POST because a strategy is a document of its own.
        """
        shown = previewing.asked(self.actor, **self.command(s.AskPreview))
        return self.answer(s.PreviewAnswer(shown).data)


def _place(resource: Resource, slug: str) -> Environment:
    selectors.rollouts(resource.actor)  # asks whether they may read at all
    return environments.by_slug(slug)
