"""What a gate's program is given, and what it is."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta
from functools import cached_property
from typing import Any

from apps.builds.models import Build, Variant
from apps.endpoints import selectors as endpoints
from apps.endpoints.models import Revision
from apps.environments.models import Environment
from apps.gates.domain.catalogue import Scope, gate
from apps.gates.domain.finding import Finding, Source
from apps.gates.domain.load import LoadPlan, LoadResult
from apps.gates.domain.policy import GateRule, PolicyDocument
from apps.gates.models import Checklist, Evidence
from apps.gates.ports import BundleBytes, Servers
from apps.registry.models import ModelVersion, RegisteredModel
from apps.slos import selectors as slos
from apps.slos.models import ServiceObjective


@dataclass(frozen=True)
class World:
    """What lies outside the database."""

    bundles: BundleBytes
    servers: Servers


@dataclass(frozen=True)
class Subject:
    """What one gate is judged about.

    Attributes:
        checklist: With its version, model, team, variant, build and environment.
        rule: What the policy says of the gate.
        document: The whole policy.
        now: The moment of judging.
    """

    checklist: Checklist
    rule: GateRule
    document: PolicyDocument
    now: datetime

    @property
    def version(self) -> ModelVersion:
        """Return the version that would be served."""
        return self.checklist.version

    @property
    def model(self) -> RegisteredModel:
        """Return its model."""
        return self.version.model

    @property
    def variant(self) -> Variant:
        """Return the variant that would be served."""
        return self.checklist.variant

    @property
    def build(self) -> Build:
        """Return the build that made it."""
        return self.variant.build

    @property
    def environment(self) -> Environment:
        """Return where it would be served."""
        return self.checklist.environment

    @property
    def bundle(self) -> str:
        """Return the digest of the bytes that would be served."""
        return self.variant.bundle_digest

    @cached_property
    def live(self) -> Revision | None:
        """Return what is live there now."""
        return endpoints.live_in(self.model.pk, self.environment.pk)

    @cached_property
    def objective(self) -> ServiceObjective | None:
        """Return what was promised to callers there."""
        return slos.objective(self.model.pk, self.environment.pk)

    def number(self, name: str, default: float) -> float:
        """Return a number of the policy's parameters; the default where it is no number."""
        value = self.rule.parameters.get(name)
        usable = isinstance(value, int | float) and not isinstance(value, bool)
        return float(value) if usable else default  # type: ignore[arg-type]  # it is a number

    def words(self, name: str, default: tuple[str, ...] = ()) -> tuple[str, ...]:
        """Return a list of words of the policy's parameters."""
        value = self.rule.parameters.get(name)
        return tuple(str(word) for word in value) if isinstance(value, list) else default

    def sent(self, *sources: Source) -> Evidence | None:
        """Return the newest evidence that somebody sent for this gate, if it still counts."""
        about = (self.version.manifest_digest, self.bundle, self.version.dataset_digest)
        rows = Evidence.objects.filter(
            version=self.version,
            key=self.rule.gate,
            subject__in=[digest for digest in about if digest],
            source__in=sources or (Source.CI,),
            measured_at__gt=self.now - self.max_age,
        ).exclude(expires_at__lte=self.now)
        here = rows.filter(environment=self.environment) | rows.filter(environment=None)
        return here.order_by("-measured_at", "-id").first()

    @property
    def max_age(self) -> timedelta:
        """Return how old a finding may be."""
        return self.rule.max_age or gate(self.rule.gate).max_age


Conditions = Callable[[Subject], Mapping[str, Any]]


def nothing_else(subject: Subject) -> Mapping[str, Any]:
    """Say that a finding hangs on the bytes and the policy's parameters alone."""
    return {}


@dataclass(frozen=True)
class Reading:
    """A program that reads our own records.

    Attributes:
        name: Of its gate.
        run: Judges.
        conditions: What the finding hangs on besides the bytes and the policy's parameters.
    """

    name: str
    run: Callable[[Subject], Finding]
    conditions: Conditions = nothing_else


@dataclass(frozen=True)
class Asking:
    """A program that asks the world once, and waits for the answer.

    Attributes:
        name: Of its gate.
        run: Asks and judges.
        conditions: As in `Reading`.
        cheap: Whether it costs so little that it is asked every few minutes.
    """

    name: str
    run: Callable[[Subject, World], Finding]
    conditions: Conditions = nothing_else
    cheap: bool = False


@dataclass(frozen=True)
class Testing:
    """A program that takes its time, in a process of its own.

    Attributes:
        name: Of its gate.
        plan: What is to be done; a finding where it cannot be.
        judge: From what was seen to a finding.
        conditions: As in `Reading`.
    """

    name: str
    plan: Callable[[Subject], LoadPlan | Finding]
    judge: Callable[[Subject, LoadResult], Finding]
    conditions: Conditions = nothing_else


Program = Reading | Asking | Testing


def is_bound_to_place(name: str) -> bool:
    """Return whether a gate's findings hold in one environment only."""
    return gate(name).scope is Scope.PLACE
