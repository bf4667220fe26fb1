"""A house in which releases are governed: people with roles, a version, a policy, and time."""

import itertools
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import Any

from apps.accounts.models import Person
from apps.builds.models import Variant
from apps.endpoints.models import Endpoint
from apps.endpoints.reconcile import EndpointReconciler
from apps.environments.models import Calendar, Environment
from apps.gates.models import Checklist, Evidence, GateResult, Policy
from apps.registry.models import ModelVersion, RegisteredModel
from apps.releases import selectors, services
from apps.releases.models import Release
from apps.releases.reconcile import ReleaseReconciler
from apps.releases.standing import Standing
from apps.rollouts.models import Rollout
from apps.rollouts.reconcile import RolloutReconciler
from controlplane.drivers.memory.capacity import MemoryCapacity
from controlplane.drivers.memory.serving import MemoryRouter, MemoryServers
from controlplane.kernel.actor import Actor, Role
from tests import factories
from workers import loop
from workers.loop import Kind

WHERE = "production"
_DIGESTS = itertools.count(1)
GATES = ("artifact.scanned", "artifact.digest")
SEATS = (
    {"title": "Owner's reviewer", "roles": ["reviewer"], "team": "owner"},
    {"title": "Operations", "roles": ["operator"], "team": None},
)


def document(
    *, gates: Sequence[str] = GATES, seats: Sequence[Mapping[str, Any]] = SEATS, **more: Any
) -> dict[str, Any]:
    """Return a policy's document."""
    return {
        "gates": [{"gate": gate} for gate in gates],
        "approvals": {"seats": list(seats)},
        "emergency": {"allowed": True},
        **more,
    }


@dataclass
class Governed:
    """One model with a version on its way to production, and everybody who has a say.

    `run` makes passes of the release's, the rollout's and the endpoint's loop until nothing moves
    any more, with servers and a router in memory and the clock of `now`.
    """

    model: RegisteredModel
    version: ModelVersion
    variant: Variant
    environment: Environment
    people: dict[str, Person]
    servers: MemoryServers = field(default_factory=lambda: MemoryServers(looks_to_ready=1))
    router: MemoryRouter = field(default_factory=MemoryRouter)
    now: datetime = field(default_factory=lambda: datetime.now(UTC) + timedelta(seconds=1))

    def actor(self, name: str) -> Actor:
        """Return somebody, with the roles they hold now."""
        return factories.actor_of(self.people[name])

    def propose(self, by: str = "maker", **more: Any) -> Release:
        """Return a fresh proposal."""
        asked = {
            "model": self.model.name,
            "version": self.version.number,
            "environment": WHERE,
            **more,
        }
        return services.propose(actor=self.actor(by), **asked)[0]

    def fresh(self, row: Release) -> Release:
        """Return the release as it is now."""
        return Release.objects.select_related(*selectors.WHOLE).get(pk=row.pk)

    def step(self, row: Release) -> None:
        """Run one pass over the release, its rollout and its endpoint, those that are due."""
        self.now += timedelta(seconds=1)
        self._pass(Kind(Release, ReleaseReconciler), row.pk)
        rollout, endpoint = Release.objects.values_list("rollout_id", "rollout__endpoint_id").get(
            pk=row.pk
        )
        if rollout is not None:
            reconciler = EndpointReconciler(self.servers, self.router)
            self._pass(Kind(Endpoint, lambda: reconciler), endpoint)
            self._pass(Kind(Rollout, lambda: RolloutReconciler(MemoryCapacity())), rollout)

    def run(
        self, row: Release, until: Callable[[Release], bool] | str = "", *, passes: int = 60
    ) -> Release:
        """Run passes until the release is in a state, or for a few when none is named."""
        is_so = until if callable(until) else lambda seen: seen.state == until
        for _ in range(passes if until else 6):
            self.step(row)
            seen = self.fresh(row)
            if until and is_so(seen):
                return seen
        seen = self.fresh(row)
        assert not until, f"{seen} is {seen.state}: {seen.problem}"
        return seen

    def pass_gates(self, row: Release) -> None:
        """Let every gate of a release's checklist be passed, by evidence of this moment."""
        checklist = self.fresh(row).checklist
        assert checklist is not None
        for result in checklist.results.order_by("id"):
            self.judge(checklist, result.gate, "passed")

    def judge(self, checklist: Checklist, gate: str, verdict: str) -> None:
        """Let one gate come to a verdict, by evidence of this moment."""
        found = Evidence.objects.create(
            key=gate, subject=self.variant.bundle_digest, version=checklist.version,
            verdict=verdict, sentence=f"It {verdict}.", source="measured",
            measured_at=self.now, recorded_by="factory", digest=f"sha256:{next(_DIGESTS):064d}",
        )  # fmt: skip
        GateResult.objects.filter(checklist=checklist, gate=gate).update(
            state=verdict, verdict=verdict, sentence=found.sentence, evidence=found,
            measured_at=self.now, expires_at=self.now + timedelta(days=30),
            state_since=self.now,
        )  # fmt: skip

    def digest(self, row: Release) -> str:
        """Return what somebody who looks at the release now would sign."""
        sealed = Standing(self.fresh(row), self.now).sealed
        return sealed.digest if sealed else ""

    def approve(self, row: Release, *names: str) -> None:
        """Let people approve what they see now."""
        for name in names:
            services.approve(
                actor=self.actor(name), number=row.number, digest=self.digest(row), reason="Good."
            )

    def waiting(self, **more: Any) -> Release:
        """Return a release that waits for approval, its gates passed."""
        row = self.propose(**more)
        self.run(row, lambda seen: seen.checklist_id is not None)
        self.pass_gates(row)
        return self.run(row, "awaiting_approval")

    def live(self, **more: Any) -> Release:
        """Return a release that was approved and is live."""
        row = self.waiting(**more)
        self.approve(row, "reviewer", "operator")
        return self.run(row, "live")

    def set_policy(self, **more: Any) -> Policy:
        """Put another version of the policy in force."""
        return put_policy(self.environment, self.model.risk_tier, **more)

    def freeze(self) -> Calendar:
        """Freeze production from before now until long after."""
        return Calendar.objects.create(
            environment=self.environment, kind="freeze", title="Year end", created_by="factory",
            starts_at=self.now - timedelta(days=1), ends_at=self.now + timedelta(days=60),
        )  # fmt: skip

    def next_version(self) -> "Governed":
        """Go on with another version of the same model."""
        self.version = factories.version(
            model=self.model, manifest_digest=f"sha256:{self.version.number + 1:064d}"
        )
        self.variant = factories.variant(version=self.version, kind="onnx")
        return self

    def _pass(self, kind: Kind, pk: int) -> None:
        due = kind.model._default_manager.filter(pk=pk, next_reconcile_at__lte=self.now)
        if due.exists():
            loop.reconcile_one(kind, pk, now=self.now)


def put_policy(environment: Environment, risk_tier: str, **more: Any) -> Policy:
    """Write the next version of a policy."""
    rows = Policy.objects.filter(environment=environment, risk_tier=risk_tier)
    newest = rows.order_by("-number").first()
    return Policy.objects.create(
        environment=environment, risk_tier=risk_tier,
        number=newest.number + 1 if newest else 1,
        document=document(**more), created_by="factory",
    )  # fmt: skip


def house(**policy: Any) -> Governed:
    """Return a fresh house; `policy` as in `document`."""
    environment, _ = Environment.objects.get_or_create(
        slug=WHERE, defaults={"title": "Production", "rank": 30, "protected": True}
    )
    team = factories.team(slug="fraud")
    model = factories.model(team=team)
    author = factories.person(username="author")
    version = factories.version(model=model, manifest_digest=f"sha256:{1:064d}")
    ModelVersion.objects.filter(pk=version.pk).update(registered_by="author/ci")
    version.refresh_from_db()
    variant = factories.variant(version=version, kind="onnx")
    people = {"author": author}
    factories.grant(person=author, role=Role.REVIEWER, team=team)
    for name, role in (
        ("maker", Role.CONTRIBUTOR), ("reviewer", Role.REVIEWER), ("second", Role.REVIEWER),
        ("operator", Role.OPERATOR), ("viewer", Role.VIEWER), ("boss", Role.ADMIN),
    ):  # fmt: skip
        people[name] = factories.person(username=name)
        factories.grant(
            person=people[name], role=role, team=team if role == Role.REVIEWER else None
        )
    made = Governed(model, version, variant, environment, people)
    put_policy(environment, model.risk_tier, **policy)
    return made
