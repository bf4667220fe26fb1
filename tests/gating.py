"""A house whose checklists are measured: real bundles and files, servers and load in memory."""

import itertools
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

from apps.builds.models import BuildStep, Variant
from apps.endpoints.models import Revision
from apps.environments.models import Environment
from apps.gates import selectors, services
from apps.gates.models import Checklist, Evidence, GateResult, Policy
from apps.gates.programs.subject import World
from apps.gates.reconcile import ChecklistReconciler
from apps.gates.selectors import ChecklistStanding, GateView
from apps.registry.models import RegisteredModel
from apps.slos.models import ServiceObjective
from controlplane.drivers.memory.load import MemoryLoad
from controlplane.drivers.memory.serving import MemoryServers
from controlplane.drivers.oci.layout import OciLayout
from controlplane.drivers.oci.reading import BundleReader
from controlplane.kernel.actor import worker
from tests import factories
from workers import loop
from workers.loop import Kind

RELEASES = worker("releases")
LEASE = timedelta(minutes=2)
X = {"name": "x", "datatype": "FP32", "shape": [-1, 2]}
Y = {"name": "y", "datatype": "FP32", "shape": [-1, 1]}
_NUMBERS = itertools.count(1)
SHEET = {
    "not_finite": 0,
    "weights_not_finite": 0,
    "not_numbers": 0,
    "samples": {"rows": 128, "source": "given"},
    "scan": {"files": 1, "pickles": 0, "unvouched": []},
}


@dataclass
class Gated:
    """A world for gates, and a clock that jumps to what is due next.

    Attributes:
        bundles: A real layout on disk.
        servers: In memory.
        load: In memory.
        now: The clock.
    """

    bundles: OciLayout
    servers: MemoryServers = field(default_factory=MemoryServers)
    load: MemoryLoad = field(default_factory=MemoryLoad)
    now: datetime = field(default_factory=lambda: datetime.now(UTC) + timedelta(seconds=1))

    @property
    def kind(self) -> Kind:
        """Return checklists, as the loop drives them."""
        world = World(BundleReader(self.bundles), self.servers)
        reconciler = ChecklistReconciler(world, self.load)
        return Kind(Checklist, lambda: reconciler, lease=LEASE)

    def variant(
        self, *, model: RegisteredModel | None = None, kind: str = "onnx", **columns: Any
    ) -> Variant:
        """Return a variant of a fresh version, with its bundle on disk and its scan done."""
        number = next(_NUMBERS)
        content = f"the model {number}".encode()
        made = {"trained_at": self.now - timedelta(days=3), "inputs": [X], "outputs": [Y]}
        version = factories.version(
            model=model, files={"model.onnx": content}, format="onnx",
            **{**made, **columns.pop("version", {})},
        )  # fmt: skip
        build = factories.build(version=version)
        BuildStep.objects.create(
            build=build, name="scan", state="succeeded", started_at=self.now,
            summary="1 file scanned, no pickle among them.",
        )  # fmt: skip
        return factories.variant(
            build=build, kind=kind, bundle_digest=self.bundle(content), proof=SHEET, **columns
        )

    def bundle(self, content: bytes, **config: Any) -> str:
        """Return the digest of a real bundle on disk."""
        folder = self.bundles.root.parent / f"made{next(_NUMBERS)}"
        folder.mkdir(parents=True)
        (folder / "model.onnx").write_bytes(content)
        (folder / "golden.json").write_text('{"cases": [{"outputs": [{"data": [0.5]}]}]}')
        files = {name: folder / name for name in ("model.onnx", "golden.json")}
        told = {"schema": 1, "requirements": None, "golden": "golden.json", **config}
        return self.bundles.write(files, told)

    def serve(self, variant: Variant, environment: str = "staging", **columns: Any) -> Revision:
        """Return a live revision of just this variant."""
        model = variant.version.model
        found = model.endpoints.filter(environment__slug=environment).first()
        endpoint = found or factories.endpoint(model=model, environment=environment)
        endpoint.revisions.filter(state="live").update(state="retired", ended_at=self.now)
        golden = {"example": [{"name": "x", "datatype": "FP32", "shape": [1, 2], "data": [1, 2]}]}
        return factories.revision(endpoint=endpoint, variant=variant, golden=golden, **columns)

    def promise(self, model: RegisteredModel, **columns: Any) -> ServiceObjective:
        """Return what was promised to callers in production."""
        return ServiceObjective.objects.create(
            model=model,
            environment=Environment.objects.get(slug="production"),
            declared_by="factory",
            **{"latency_ms": 50.0, "expected_peak_rps": 40.0, "availability": 0.99, **columns},
        )

    def open(
        self,
        variant: Variant,
        *gates: str | dict[str, Any],
        environment: str = "production",
        replicas: int = 1,
        proposer_id: int | None = None,
    ) -> Checklist:
        """Return a checklist of just these gates."""
        rules = [{"gate": gate} if isinstance(gate, str) else gate for gate in gates]
        put_policy(environment, variant.version.model.risk_tier, rules)
        return services.open_checklist(
            actor=RELEASES,
            version=variant.version,
            variant=variant,
            environment=Environment.objects.get(slug=environment),
            configuration={"runtime": "onnxruntime", "replicas": replicas, "settings": {}},
            proposer_id=proposer_id,
        )

    def step(self, checklist: Checklist) -> bool:
        """Run the pass that is due next; return False when none ever is."""
        row = Checklist.objects.get(pk=checklist.pk)
        if row.next_reconcile_at is None:
            return False
        held = row.lease_expires_at if row.lease_token else None
        self.now = max(self.now, row.next_reconcile_at, held or self.now)
        self.now += timedelta(milliseconds=1)
        loop.reconcile_one(self.kind, row.pk, now=self.now)
        return True

    def settle(self, checklist: Checklist, *, passes: int = 40) -> ChecklistStanding:
        """Run passes until nothing is left to do for a while, and return how it stands."""
        for _ in range(passes):
            row = Checklist.objects.get(pk=checklist.pk)
            due = row.next_reconcile_at
            if due is None or due - self.now > timedelta(seconds=20):
                return self.standing(checklist)
            self.step(checklist)
        raise AssertionError(f"still busy: {self.states(checklist)}")

    def standing(self, checklist: Checklist) -> ChecklistStanding:
        """Return how a checklist stands, read anew."""
        return selectors.standing(Checklist.objects.get(pk=checklist.pk), now=self.now)

    def gate(self, checklist: Checklist, name: str) -> GateView:
        """Return one gate of a checklist as it stands."""
        return next(g for g in self.standing(checklist).gates if g.gate == name)

    def states(self, checklist: Checklist) -> dict[str, str]:
        """Return the state of every gate, as it is stored."""
        rows = GateResult.objects.filter(checklist=checklist).order_by("position")
        return dict(rows.values_list("gate", "state"))


def gated(folder: Path) -> Gated:
    """Return a world below `folder`."""
    return Gated(OciLayout(folder / "bundles"))


def put_policy(
    environment: str, risk_tier: str, gates: list[dict[str, Any]], **more: Any
) -> Policy:
    """Put another version of a policy in force."""
    where = Environment.objects.get(slug=environment)
    rows = Policy.objects.filter(environment=where, risk_tier=risk_tier).order_by("-number")
    newest = rows.first()
    return Policy.objects.create(
        environment=where,
        risk_tier=risk_tier,
        number=newest.number + 1 if newest else 1,
        document={"gates": gates, "approvals": {"seats": []}, **more},
        created_by="factory",
    )


def evidence_count(gate: str) -> int:
    """Return how many pieces of evidence there are for a gate."""
    return Evidence.objects.filter(key=gate).count()
