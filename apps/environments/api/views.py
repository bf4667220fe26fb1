"""REST of environments."""

from rest_framework.request import Request
from rest_framework.response import Response

from apps.environments import selectors, services
from apps.environments.api.serializers import (
    CalendarAnswer,
    DeclareCalendar,
    EditEnvironment,
    EnvironmentAnswer,
    OpeningAnswer,
)
from apps.environments.domain.calendar import Kind
from controlplane.http.api import Reasoned, Resource
from controlplane.http.openapi import describe
from controlplane.kernel.clock import SystemClock


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


class EnvironmentOpening(Resource):
    """Whether an environment accepts rollouts now."""

    @describe("Say whether rollouts may start", answer=OpeningAnswer)
    def get(self, request: Request, slug: str) -> Response:
        """Return whether they may, why not, and until when."""
        selectors.environments(self.actor)
        opening = selectors.opening(selectors.by_slug(slug), SystemClock().now())
        return self.answer(OpeningAnswer(opening).data)


class Freezes(Resource):
    """Periods in which an environment accepts no rollout."""

    kind = Kind.FREEZE

    @describe("List freezes", answer=CalendarAnswer, many=True)
    def get(self, request: Request, slug: str) -> Response:
        """Return those in force first, then those that were ended."""
        return _listed(self, slug, self.kind)

    @describe("Freeze an environment", command=DeclareCalendar, answer=CalendarAnswer, status=201)
    def post(self, request: Request, slug: str) -> Response:
        """Declare a freeze; rollouts that have begun go on."""
        return _declared(self, slug, self.kind)


class FreezeDetail(Resource):
    """One freeze."""

    kind = Kind.FREEZE

    @describe("Read a freeze", answer=CalendarAnswer)
    def get(self, request: Request, slug: str, freeze_id: str) -> Response:
        """Return it."""
        return _read(self, slug, self.kind, freeze_id)

    @describe("End a freeze early", command=Reasoned, answer=CalendarAnswer)
    def delete(self, request: Request, slug: str, freeze_id: str) -> Response:
        """End it now; it stays readable."""
        return _ended(self, slug, self.kind, freeze_id)


class Windows(Resource):
    """Periods in which alone an environment accepts rollouts."""

    kind = Kind.WINDOW

    @describe("List change windows", answer=CalendarAnswer, many=True)
    def get(self, request: Request, slug: str) -> Response:
        """Return those in force first, then those that were ended."""
        return _listed(self, slug, self.kind)

    @describe(
        "Declare a change window", command=DeclareCalendar, answer=CalendarAnswer, status=201
    )
    def post(self, request: Request, slug: str) -> Response:
        """Declare a window; with the first one, the environment is shut outside of it."""
        return _declared(self, slug, self.kind)


class WindowDetail(Resource):
    """One change window."""

    kind = Kind.WINDOW

    @describe("Read a change window", answer=CalendarAnswer)
    def get(self, request: Request, slug: str, window_id: str) -> Response:
        """Return it."""
        return _read(self, slug, self.kind, window_id)

    @describe("End a change window", command=Reasoned, answer=CalendarAnswer)
    def delete(self, request: Request, slug: str, window_id: str) -> Response:
        """End it now; with the last one, the environment is open but for its freezes."""
        return _ended(self, slug, self.kind, window_id)


def _listed(resource: Resource, slug: str, kind: Kind) -> Response:
    selectors.environments(resource.actor)
    environment = selectors.by_slug(slug)
    return resource.page(selectors.calendars(resource.actor, environment, kind), CalendarAnswer)


def _declared(resource: Resource, slug: str, kind: Kind) -> Response:
    row = services.declare(
        actor=resource.actor, environment=slug, kind=kind, **resource.command(DeclareCalendar)
    )
    return resource.answer(CalendarAnswer(row).data, status=201)


def _read(resource: Resource, slug: str, kind: Kind, calendar_id: str) -> Response:
    selectors.environments(resource.actor)
    row = selectors.calendar_of(selectors.by_slug(slug), kind, calendar_id)
    return resource.answer(CalendarAnswer(row).data)


def _ended(resource: Resource, slug: str, kind: Kind, calendar_id: str) -> Response:
    given = resource.command(Reasoned)
    row = services.end(
        actor=resource.actor,
        environment=slug,
        kind=kind,
        public_id=calendar_id,
        reason=given.get("reason", ""),
    )
    return resource.answer(CalendarAnswer(row).data)
