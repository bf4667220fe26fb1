"""REST of builds."""

from typing import ClassVar

from rest_framework.request import Request
from rest_framework.response import Response

from apps.builds import selectors, services
from apps.builds.api.serializers import BuildAnswer, LogAnswer, StartBuild
from apps.builds.domain.states import BuildState
from controlplane.http.api import Reasoned, Resource
from controlplane.http.openapi import describe
from controlplane.kernel.errors import Invalid


class VersionBuilds(Resource):
    """The builds of one version."""

    @describe("List the builds of a version", answer=BuildAnswer, many=True)
    def get(self, request: Request, name: str, number: int) -> Response:
        """Return them, newest first."""
        return self.page(selectors.builds(self.actor, model=name, version=number), BuildAnswer)

    @describe("Build a version", command=StartBuild, answer=BuildAnswer, status=202)
    def post(self, request: Request, name: str, number: int) -> Response:
        """Ask for a build; it runs in the background."""
        given = self.command(StartBuild)
        begun = services.start(actor=self.actor, model=name, number=number, **given)
        build = selectors.build(self.actor, begun.public_id)
        return self.answer(BuildAnswer(build).data, etag_of=build, status=202)


class Builds(Resource):
    """Every build that the actor may see."""

    query: ClassVar[tuple[str, ...]] = ("model", "version", "state")

    @describe("List builds", answer=BuildAnswer, many=True)
    def get(self, request: Request) -> Response:
        """Return them, newest first."""
        asked = request.query_params
        rows = selectors.builds(
            self.actor,
            model=asked.get("model", ""),
            version=_number(asked.get("version", ""), "version"),
            state=_state(asked.get("state", "")),
        )
        return self.page(rows, BuildAnswer)


class BuildDetail(Resource):
    """One build."""

    @describe("Show a build", answer=BuildAnswer)
    def get(self, request: Request, build_id: str) -> Response:
        """Return it with its steps, variants and problem."""
        build = selectors.build(self.actor, build_id)
        return self.answer(BuildAnswer(build).data, etag_of=build)


class BuildLog(Resource):
    """The log of a build."""

    query: ClassVar[tuple[str, ...]] = ("after",)

    @describe("Read a build's log", answer=LogAnswer)
    def get(self, request: Request, build_id: str) -> Response:
        """Return what follows `?after=`."""
        build = selectors.build(self.actor, build_id)
        after = _number(request.query_params.get("after", ""), "after") or 0
        return self.answer(LogAnswer(selectors.log(build, after=after)).data)


class BuildCancel(Resource):
    """The early end of a build."""

    @describe("Cancel a build", command=Reasoned, answer=BuildAnswer)
    def post(self, request: Request, build_id: str) -> Response:
        """Cancel it."""
        build = services.cancel(actor=self.actor, build=build_id, **self.command(Reasoned))
        return self.answer(BuildAnswer(build).data, etag_of=build)


class BuildRetry(Resource):
    """Another attempt."""

    @describe("Retry a build", command=Reasoned, answer=BuildAnswer, status=202)
    def post(self, request: Request, build_id: str) -> Response:
        """Run it again."""
        build = services.retry(actor=self.actor, build=build_id, **self.command(Reasoned))
        return self.answer(BuildAnswer(build).data, etag_of=build, status=202)


def _number(given: str, name: str) -> int | None:
    if not given:
        return None
    if not (given.isascii() and given.isdigit() and len(given) < 10):
        raise Invalid(f"{name}={given[:40]} is not a number.", field=name, code="request.number")
    return int(given)


def _state(given: str) -> str:
    known = ["active", *[str(state) for state in BuildState]]
    if given and given not in known:
        raise Invalid(
            f"state={given[:40]} is not the state of a build.",
            remedy=f"It is one of {', '.join(known)}.",
            field="state",
            code="build.unknown_state",
        )
    return given
