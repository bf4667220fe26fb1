"""REST of rollouts: reading them, and a person's verbs."""

from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime
from typing import Any, ClassVar

from rest_framework.request import Request
from rest_framework.response import Response

from apps.rollouts import rehearsals, selectors, services
from apps.rollouts.api import serializers as s
from apps.rollouts.domain.states import RolloutState
from apps.rollouts.models import Rollout
from controlplane.http.api import Reasoned, Resource
from controlplane.http.openapi import describe
from controlplane.kernel.errors import Invalid


@dataclass
class Stamp:
    """What an entity tag of a rollout is made of.

    A worker's pass leaves `changed_at` as it is, and whoever skips a step means the one they saw:
    so where the rollout stands is part of the tag.
    """

    pk: str
    changed_at: datetime


class Rollouts(Resource):
    """Every rollout that the actor may see."""

    query: ClassVar[tuple[str, ...]] = ("model", "environment", "state", "active")

    @describe("List rollouts", answer=s.RolloutAnswer, many=True)
    def get(self, request: Request) -> Response:
        """Return them, newest first; `?active=true` those that have not ended."""
        asked = request.query_params
        rows = selectors.listed(
            self.actor,
            model=asked.get("model", ""),
            environment=asked.get("environment", ""),
            state=_state(asked.get("state", "")),
            active=_active(asked.get("active", "")),
        )
        return self.page(rows, s.RolloutAnswer)


class Rehearse(Resource):
    """A rollout that is made to go wrong, to see that it is noticed and goes back."""

    @describe("Rehearse going back", command=s.AskRehearsal, answer=s.RolloutWhole, status=201)
    def post(self, request: Request) -> Response:
        """Bring a version up beside what is live, make requests fail, and watch it go back.

        Only where nothing is protected. A tenth of the callers' requests goes to the version
        meanwhile; those that fail are ours, at its preview address. What is seen becomes evidence
        for the gates rollback.rehearsed and monitoring.proven.
        """
        given = self.command(s.AskRehearsal)
        row = rehearsals.rehearse(actor=self.actor, **given)
        whole = selectors.rollout(self.actor, row.public_id)
        return self.answer(s.RolloutWhole(whole).data, status=201, etag_of=_stamp(whole))


class RolloutDetail(Resource):
    """One rollout."""

    @describe("Show a rollout", answer=s.RolloutWhole)
    def get(self, request: Request, rollout_id: str) -> Response:
        """Return it with its steps, what is in force, and what the judge says."""
        return _whole(self, selectors.rollout(self.actor, rollout_id))


class RolloutEvents(Resource):
    """The log of a rollout."""

    @describe("Read the log of a rollout", answer=s.RolloutEventAnswer, many=True)
    def get(self, request: Request, rollout_id: str) -> Response:
        """Return what happened, in sentences, newest first."""
        row = selectors.rollout(self.actor, rollout_id)
        return self.page(selectors.log(row), s.RolloutEventAnswer)


class _Verb(Resource):
    """One verb on one rollout."""

    verb: ClassVar[Callable[..., Rollout]]
    body: ClassVar[type[Any]] = s.SayWhy

    def act(self, rollout_id: str) -> Response:
        """Do it, and return the rollout as it is then."""
        self.match(_stamp(selectors.rollout(self.actor, rollout_id)))
        given = self.command(self.body)
        return _whole(self, type(self).verb(actor=self.actor, rollout=rollout_id, **given))


class Pause(_Verb):
    """A stop on the way."""

    verb = staticmethod(services.pause)

    @describe("Pause a rollout", command=s.SayWhy, answer=s.RolloutWhole)
    def post(self, request: Request, rollout_id: str) -> Response:
        """Keep the traffic as it is until somebody resumes."""
        return self.act(rollout_id)


class Resume(_Verb):
    """The end of a stop."""

    verb, body = staticmethod(services.resume), Reasoned

    @describe("Resume a rollout", command=Reasoned, answer=s.RolloutWhole)
    def post(self, request: Request, rollout_id: str) -> Response:
        """Go on; where a person was asked, this says that the step is good enough."""
        return self.act(rollout_id)


class Skip(_Verb):
    """The next step, early."""

    verb = staticmethod(services.skip)

    @describe("Skip a step of a rollout", command=s.SayWhy, answer=s.RolloutWhole)
    def post(self, request: Request, rollout_id: str) -> Response:
        """Go on to the next step now. Send If-Match to skip the step that you saw and no other."""
        return self.act(rollout_id)


class Promote(_Verb):
    """The end, early."""

    verb = staticmethod(services.promote)

    @describe("Promote a rollout", command=s.SayWhy, answer=s.RolloutWhole)
    def post(self, request: Request, rollout_id: str) -> Response:
        """Let the new revision answer everything now, without the steps that are left."""
        return self.act(rollout_id)


class Abort(_Verb):
    """The way back."""

    verb = staticmethod(services.abort)

    @describe("Abort a rollout", command=s.SayWhy, answer=s.RolloutWhole)
    def post(self, request: Request, rollout_id: str) -> Response:
        """Send everything back to the stable revision; before the start, just end it."""
        return self.act(rollout_id)


def _whole(resource: Resource, row: Rollout) -> Response:
    return resource.answer(s.RolloutWhole(row).data, etag_of=_stamp(row))


def _stamp(row: Rollout) -> Stamp:
    return Stamp(f"{row.pk}/{row.state}/{row.step}/{row.pause}", row.changed_at)


def _state(given: str) -> str:
    if given and given not in s.STATES:
        raise Invalid(
            f"state={given[:40]} is not the state of a rollout.",
            remedy=f"It is one of {', '.join(RolloutState)}.",
            field="state",
            code="rollout.unknown_state",
        )
    return given


def _active(given: str) -> bool:
    if given not in ("", "true", "false"):
        raise Invalid(
            f"active={given[:40]} is neither true nor false.",
            remedy="Write active=true for those that have not ended, or leave it out.",
            field="active",
            code="rollout.unknown_active",
        )
    return given == "true"
