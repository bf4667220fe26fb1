"""One object of each kind, for tests that walk every address."""

import io
import re
from dataclasses import dataclass
from datetime import timedelta

from apps.accounts.models import Person, Team
from apps.analysis.models import AnalysisRun
from apps.approvals.models import Delegation
from apps.builds.models import Build
from apps.endpoints.models import Endpoint, EndpointKey
from apps.environments.models import Calendar, Environment
from apps.gates import services
from apps.gates.models import Checklist, Evidence, Waiver
from apps.notifications.domain.message import Message
from apps.notifications.models import Channel, Delivery, Notification
from apps.registry import blobs
from apps.registry.models import Alias, ModelVersion, Upload
from apps.releases.models import Comment, Release
from apps.rollouts.models import Rollout, RolloutEvent
from controlplane.kernel.actor import worker
from controlplane.kernel.clock import SystemClock
from tests import factories

TEAM, ENVIRONMENT = "fraud", "dev"
CHECKLIST = "check0000001"
MARK = "only-for-the-eyes-of-fraud"


@dataclass(frozen=True)
class House:
    """One object of each kind, of team fraud, in dev."""

    values: dict[str, str]

    def path(self, address: str, person: Person | None) -> str:
        """Return `address` with its parts filled in; tokens and uploads are the reader's own."""
        values = dict(self.values)
        if person is not None and "<str:token_id>" in address:
            values["token_id"] = factories.token(owner=person)[0].public_id
        if person is not None and "<str:upload_id>" in address:
            values["upload_id"] = an_upload(person).public_id
        if person is not None and "<str:notification_id>" in address:
            values["notification_id"] = a_notification(person).public_id
        if address.startswith("endpoints/<str:environment>"):
            values["name"] = "a-model"
        return "/" + re.sub(r"<\w+:(\w+)>", lambda found: values[found[1]], address)


def an_upload(person: Person | None) -> Upload:
    later = SystemClock().now() + timedelta(days=1)
    return Upload.objects.create(owner=person, filename="m.onnx", size=3, expires_at=later)


def a_notification(person: Person) -> Notification:
    return Notification.objects.create(
        person=person, kind="release.live", title="Live", link="/releases/1"
    )


def a_channel(team: Team) -> Channel:
    made = Channel.objects.create(
        name=MARK, team=team, transport="webhook", target="sealed", secret="sealed", shown="x"
    )
    message = Message("release.live", MARK, "", "/releases/1", False, "2026-01-01T00:00:00+00:00")
    Delivery.objects.create(
        channel=made, kind=message.kind, payload=message.as_payload(), state="dead"
    )
    return made


def a_checklist(version: ModelVersion, environment: Environment, granted_by: Person) -> Waiver:
    """Return a waiver of one gate of an open checklist, and have some evidence."""
    variant = factories.variant(version=version)
    checklist = services.open_checklist(
        actor=worker("releases"), version=version, variant=variant, environment=environment,
        configuration={"runtime": "onnxruntime", "replicas": 1, "settings": {}}, proposer_id=None,
    )  # fmt: skip
    Checklist.objects.filter(pk=checklist.pk).update(public_id=CHECKLIST)
    report = blobs.put_stream(io.BytesIO(MARK.encode()), path="report.txt")
    Evidence.objects.create(
        key="mltest.data-1", subject=version.manifest_digest or "", version=version,
        verdict="passed", sentence=MARK, source="ci", measured_at=SystemClock().now(),
        files=[{"name": report.path, "sha256": report.sha256, "size": report.size}],
        recorded_by="factory", digest="sha256:house",
    )  # fmt: skip
    return Waiver.objects.create(
        gate="card.complete", model=version.model, checklist=checklist, reason=MARK,
        granted_by=granted_by, expires_at=SystemClock().now() + timedelta(days=9),
    )  # fmt: skip


def a_rollout(endpoint: Endpoint, version: ModelVersion) -> Rollout:
    """Return a rollout that stands still at its first step."""
    now = SystemClock().now()
    candidate = factories.revision(
        endpoint=endpoint, variant=factories.variant(version=version), state="shifting"
    )
    made = factories.rollout(
        candidate=candidate, state="paused", pause="person", pause_reason=MARK, started_by=MARK
    )
    RolloutEvent.objects.create(rollout=made, at=now, kind="paused", sentence=MARK, actor="x")
    return made


def an_analysis(rollout: Rollout) -> AnalysisRun:
    """Return the analysis of a rollout."""
    now = SystemClock().now()
    return AnalysisRun.objects.create(
        subject=f"rollout/{rollout.public_id}", candidate=rollout.candidate, started_at=now,
        plan={"metrics": [{"name": "errors"}]}, state_since=now, step_at=now, consumed_until=now,
        sentence=MARK,
    )  # fmt: skip


def build() -> House:
    """Return a house that was just built."""
    team = factories.team(slug=TEAM)
    model = factories.model(name="a-model", team=team, description=MARK)
    version = factories.version(model=model, files={"m.pkl": MARK.encode()}, description=MARK)
    factories.version(model=model, files={"m.pkl": b"other bytes"})
    Alias.objects.create(model=model, name="candidate", version=version)
    a_build = Build.objects.create(version=version, number=1, requested_by=MARK, state="cancelled")
    dev = Environment.objects.get(slug=ENVIRONMENT)
    endpoint = Endpoint.objects.create(model=model, environment=dev, name=model.name)
    key = EndpointKey.objects.create(endpoint=endpoint, name=MARK, created_by="x")
    freeze, window = (
        Calendar.objects.create(
            environment=dev, kind=kind, title="A calendar", starts_at=SystemClock().now() + ahead
        )
        for kind, ahead in (("freeze", timedelta(days=99)), ("window", timedelta(days=-99)))
    )
    a_release = Release.objects.create(
        number=1, version=version, environment=dev, strategy={"kind": "all_at_once"},
        state_since=SystemClock().now(), summary=MARK, proposed_by="factory",
        expires_at=SystemClock().now() + timedelta(days=9),
    )  # fmt: skip
    Comment.objects.create(release=a_release, by="factory", text=MARK)
    factories.person(role="admin")  # so that nobody in the test is the last admin
    somebody = factories.person(username="somebody")
    grant = factories.grant(person=somebody, team=team, environment=ENVIRONMENT)
    delegation = Delegation.objects.create(
        person=somebody, substitute=factories.person(), starts_at=SystemClock().now(),
        ends_at=SystemClock().now() + timedelta(days=9),
    )  # fmt: skip
    channel = a_channel(team)
    waiver = a_checklist(version, dev, somebody)
    rollout = a_rollout(endpoint, version)
    return House(
        {
            "checklist_id": CHECKLIST,
            "gate": "artifact.scanned",
            "waiver_id": waiver.public_id,
            "evidence_id": version.evidence.get().public_id,
            "filename": "report.txt",
            "rollout_id": rollout.public_id,
            "analysis_id": an_analysis(rollout).public_id,
            "template": "careful-canary",
            "channel_id": channel.public_id,
            "delivery_id": channel.deliveries.get().public_id,
            "notification_id": a_notification(somebody).public_id,
            "delegation_id": delegation.public_id,
            "name": model.name,
            "number": str(version.number),
            "alias": "candidate",
            "path": "m.pkl",
            "upload_id": an_upload(None).public_id,
            "build_id": a_build.public_id,
            "public_id": a_build.public_id,
            "endpoint_id": endpoint.public_id,
            "key_id": key.public_id,
            "key": key.public_id,
            "environment": ENVIRONMENT,
            "tier": "medium",
            "slug": ENVIRONMENT,
            "username": somebody.username,
            "grant_id": grant.public_id,
            "freeze_id": freeze.public_id,
            "window_id": window.public_id,
            "token_id": factories.token(owner=somebody)[0].public_id,
        }
    )
