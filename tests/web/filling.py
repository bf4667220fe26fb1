"""A yard with something in it: models, versions, builds, endpoints and traffic, as many as asked.

For tests of pages at 1 and at 50 rows, and for looking at full pages.
"""

import random
from datetime import timedelta

from django.db import transaction

from apps.accounts.models import Team
from apps.audit import services as audit
from apps.builds.models import Build, BuildLogChunk, BuildStep, Variant
from apps.endpoints.models import Endpoint, Revision
from apps.environments.models import Environment
from apps.monitoring.domain import histogram, windows
from apps.monitoring.models import TrafficWindow
from apps.registry.models import Alias, ModelVersion, RegisteredModel
from controlplane.db.live import announce
from controlplane.kernel.actor import Actor, ActorKind, worker
from controlplane.kernel.clock import SystemClock
from tests import factories

INPUTS = [{"name": "X", "datatype": "FP32", "shape": [-1, 30]}]
OUTPUTS = [
    {"name": "label", "datatype": "INT64", "shape": [-1]},
    {"name": "probabilities", "datatype": "FP32", "shape": [-1, 2]},
]
EXAMPLE = [
    {
        "name": "X",
        "datatype": "FP32",
        "shape": [1, 30],
        "data": [round(0.37 * n, 2) for n in range(30)],
    }
]
CARD = """# Card fraud score

Scores one card payment between 0 and 1 **before** it is authorised.

## Intended use
- Payments in euro, in the shop and online.
- Not for refunds.

| Slice | PR-AUC |
|---|---|
| online | 0.871 |
| in the shop | 0.902 |

Ask the fraud team before using it elsewhere: `#fraud-ml`.
"""
VARIANTS = [
    # kind, state, difference, agreement, p50, throughput, size, verdict, reason
    ("native", "built", 0.0, 1.0, 4.81, 6_200.0, 1_834_112, "passed", ""),
    ("onnx", "built", 6.6e-7, 1.0, 0.021, 91_000.0, 742_310, "passed", ""),
    ("onnx-optimised", "built", 6.6e-7, 1.0, 0.019, 96_500.0, 741_200, "passed", ""),
    ("onnx-int8-dynamic", "built", 0.21, 0.93, 0.017, 99_000.0, 230_100, "too_lossy", ""),
    ("onnx-int8-static", "skipped", None, None, None, None, 0, "unknown",
     "Tree ensembles hold no weights that could be quantised."),
    ("tensorrt", "skipped", None, None, None, None, 0, "unknown",
     "Not built: no GPU worker is connected."),
]  # fmt: skip
STEPS = [
    ("scan", "1 file scanned, nothing unsafe", 0.4),
    ("package", "Native bundle written", 0.6),
    ("convert", "Converted to ONNX, opset 21", 2.1),
    ("optimise", "3 forms made, 2 left out", 1.7),
    ("prove", "256 inputs, 4 forms measured", 5.2),
]
BUILDER = worker("builds")
ADA = Actor(ActorKind.PERSON, "ada")


def environments() -> list[Environment]:
    """Return dev, staging and production."""
    made = [("dev", "Development", False), ("staging", "Staging", False)]
    return [
        Environment.objects.get_or_create(
            slug=slug, defaults={"title": title, "rank": rank, "protected": protected}
        )[0]
        for rank, (slug, title, protected) in enumerate(
            [*made, ("production", "Production", True)]
        )
    ]


def model(
    *, name: str, team: Team | None = None, versions: int = 1, **columns: object
) -> RegisteredModel:
    """Return a model with so many versions, the newest with aliases."""
    made = factories.model(name=name, team=team, **columns)
    for number in range(1, versions + 1):
        version(made, number)
    if versions > 1:
        newest = ModelVersion.objects.get(model=made, number=made.latest_number)
        Alias.objects.create(model=made, name="candidate", version=newest)
        Alias.objects.create(
            model=made, name="champion", version=ModelVersion.objects.get(model=made, number=1)
        )
    return made


def version(owner: RegisteredModel, number: int) -> ModelVersion:
    """Return the next version, with files, a signature, metrics and a ledger entry."""
    made = factories.version(
        model=owner,
        files={"model.joblib": f"{owner.name} {number}".encode() * 40, "requirements.txt": b"x"},
        state="validated",
        framework="scikit-learn 1.9.1",
        semver=f"1.{number}.0",
        inputs=INPUTS,
        outputs=OUTPUTS,
        metrics={"auc": 0.95 + number / 1000, "log_loss": 0.1, "accuracy": 0.93},
        params={"n_estimators": "100", "max_depth": "8"},
        git_commit="3e9a0d4c11",
        dataset="payments, August to October",
        dataset_digest="sha256:" + "5e" * 32,
        description="Retrained on October." if number > 1 else "",
        facts={"estimator": "RandomForestClassifier", "classes": [0, 1]},
    )
    _record(
        ADA, "registry.version.register", f"version/{made.public_id}", f"{owner.name} v{number}"
    )
    return made


def build(owner: ModelVersion, *, number: int = 1, state: str = "succeeded") -> Build:
    """Return a build of a version: ended, under way at "convert", or failed there."""
    now = SystemClock().now()
    ended = state in ("succeeded", "failed", "cancelled")
    made = Build.objects.create(
        version=owner,
        number=number,
        state=state,
        requested_by="ada",
        started_at=now - timedelta(seconds=34),
        ended_at=now - timedelta(seconds=24) if ended else None,
        next_reconcile_at=now + timedelta(days=1),
        **(
            {
                "failed_step": "convert",
                "problem_code": "convert.unsupported_operator",
                "problem": "skl2onnx has no converter for TabularBlender.",
                "remedy": "Register a converter for it, or serve the native variant.",
            }
            if state == "failed"
            else {}
        ),
    )
    _steps(made, now)
    if state == "succeeded":
        _variants(made)
    _record(
        BUILDER, "builds.start", f"build/{made.public_id}", f"{owner.model.name} v{owner.number}"
    )
    return made


def endpoint(
    owner: ModelVersion,
    environment: Environment,
    *,
    state: str = "live",
    ready: int = 1,
    traffic: bool = True,
) -> Endpoint:
    """Return an endpoint that serves `owner`, in that state of its newest revision."""
    now = SystemClock().now()
    made = Endpoint.objects.create(
        model=owner.model,
        environment=environment,
        name=owner.model.name,
        next_reconcile_at=now + timedelta(days=1),
    )
    revision(made, owner, 1, state=state, ready=ready)
    if traffic:
        windows_of(made)
    return made


def revision(
    owner: Endpoint, served: ModelVersion, number: int, *, state: str = "live", ready: int = 1
) -> Revision:
    """Return a revision of an endpoint."""
    now = SystemClock().now()
    variant = Variant.objects.filter(version=served, kind="onnx-optimised").first()
    assert variant is not None, "build the version first"
    failed = state == "failed"
    return Revision.objects.create(
        endpoint=owner,
        number=number,
        version=served,
        variant=variant,
        bundle_digest=variant.bundle_digest,
        runtime="onnxruntime",
        state=state,
        state_since=now - timedelta(minutes=7),
        requested_by="ada",
        golden={"asked": 5, "answered": 5, "example": EXAMPLE},
        observed_weight=100 if state == "live" else 0,
        observed_replicas=[{"index": i, "state": "ready", "port": 4000 + i} for i in range(ready)],
        live_at=now - timedelta(minutes=7) if state == "live" else None,
        ended_at=now if failed else None,
        problem="ModuleNotFoundError: No module named 'lightgbm'" if failed else "",
        remedy="Add lightgbm to the requirements, and build again." if failed else "",
    )


def windows_of(owner: Endpoint, *, minutes: int = 14) -> None:
    """Let an endpoint have had requests, with a silent stretch in the middle."""
    noise = random.Random(owner.pk)
    now = windows.floor(SystemClock().now())
    live = owner.revisions.order_by("-number").first()
    assert live is not None
    rows = []
    for step in range(1, minutes * 6):
        if 30 <= step < 38:
            continue
        counts = histogram.empty()
        requests = int(220 + 60 * noise.random())
        for _ in range(requests):
            counts[histogram.bucket_of(abs(noise.gauss(2.6, 1.1)) + 0.4)] += 1
        rows.append(
            TrafficWindow(
                revision=live,
                starts_at=now - step * windows.WINDOW,
                requests=requests,
                errors_5xx=int(noise.random() * 3) if step < 20 else 0,
                latency=counts,
            )
        )
    TrafficWindow.objects.bulk_create(rows)


def _variants(build: Build) -> None:
    for place, (kind, state, difference, agreement, p50, rate, size, verdict, why) in enumerate(
        VARIANTS
    ):
        made = state == "built"
        Variant.objects.create(
            build=build,
            version=build.version,
            kind=kind,
            state=state,
            reason=why,
            bundle_digest=f"sha256:{build.pk:04x}{place:04x}{'a7c3' * 14}" if made else "",
            size=size,
            runtimes=["onnxruntime", "triton"] if made and kind != "native" else ["mlflow-pyfunc"],
            verdict=verdict,
            max_difference=difference,
            mean_difference=difference,
            agreement=agreement,
            p50_ms=p50,
            p95_ms=p50 and p50 * 1.4,
            p99_ms=p50 and p50 * 1.9,
            throughput=rate,
            memory_mb=91.0 if made else None,
            proof={"samples": {"rows": 256, "told": "256 rows drawn from the signature."}}
            if made
            else {},
        )


def _steps(build: Build, now: object) -> None:
    begin = build.started_at
    assert begin is not None
    offset = 0
    for place, (name, summary, seconds) in enumerate(STEPS):
        stopped = build.state != "succeeded" and place == 2
        state = build.state if stopped and build.state == "failed" else "succeeded"
        if stopped and build.ended_at is None:
            state = "running"
        end = begin + timedelta(seconds=seconds)
        BuildStep.objects.create(
            build=build,
            name=name,
            state=state,
            started_at=begin,
            ended_at=None if state == "running" else end,
            summary="" if stopped else summary,
        )
        text = f"{name}: begins\n{name}: {summary}\n"
        BuildLogChunk.objects.create(
            build=build, step=name, offset=offset, length=len(text), text=text
        )
        offset += len(text)
        if stopped:
            return
        begin = end


def _record(actor: Actor, verb: str, target: str, subject: str) -> None:
    with transaction.atomic():
        audit.record(actor=actor, verb=verb, target=target, subject=subject)
        announce("home")
