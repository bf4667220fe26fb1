"""A release with everything on its page: gates of every kind, a discussion, a live version.

For looking at full pages, for their query counts, and for the bench.
"""

from datetime import timedelta
from typing import Any

from apps.approvals.domain import digestset
from apps.approvals.models import ApprovalRequest
from apps.endpoints.models import Revision
from apps.gates.domain import catalogue
from apps.gates.models import Evidence, GateResult, Waiver
from apps.registry.models import ModelVersion, RegisteredModel
from apps.releases import services
from apps.releases.models import Comment, Release
from controlplane.kernel import digests
from tests import database, factories, governed
from tests.governed import Governed
from tests.web import filling

SUMMARY = "Retrained on October, with the new merchant features. Please look at prepaid cards."
SAID = (
    ("second", "Prepaid cards drop half a point. Is that noise, or do we decline people we "
               "accepted last month? @maker"),
    ("maker", "Noise, as far as 9,412 prepaid payments can say: the interval runs from −0.014 to "
              "+0.004. `slices.json` of the evaluation has all of them."),
)  # fmt: skip


def scene(*, gates: int = 0) -> Governed:
    """Return a house whose model is live in version 1, with traffic, before anything is proposed.

    Args:
        gates: How many gates the policy lists; 0 for the whole catalogue.
    """
    listed = (
        tuple(catalogue.CATALOGUE) if not gates else tuple(f"made.up_{n}" for n in range(gates))
    )
    house = governed.house(gates=listed, waivers={"longest_days": 14})
    RegisteredModel.objects.filter(pk=house.model.pk).update(
        name="card-fraud-score", risk_tier=house.model.risk_tier
    )
    house.model.refresh_from_db()
    for name, title in (
        ("maker", "Mina Okafor"), ("reviewer", "Rosa Weber"), ("second", "Sam Lindqvist"),
        ("operator", "Omar Haddad"), ("author", "Ada Ruiz"), ("boss", "Bea Novak"),
    ):  # fmt: skip
        house.people[name].display_name = title
        house.people[name].save(update_fields=["display_name"])
    _describe(house.version, auc=0.8634, rows=("onnxruntime==1.30.2", "category-encoders==2.6"))
    _live(house)
    return house


def proposed(house: Governed, **more: Any) -> Release:
    """Return a release of the next version, its gates listed and all passed."""
    house.next_version()
    _describe(house.version, auc=0.8698, rows=("onnxruntime==1.31.1",), more_inputs=True)
    house.variant.p95_ms, house.variant.p50_ms, house.variant.p99_ms = 0.17, 0.09, 0.26
    house.variant.memory_mb, house.variant.throughput, house.variant.size = 62.0, 1180.0, 812_000
    house.variant.save()
    row = house.propose(summary=SUMMARY, **more)
    row = house.run(row, lambda seen: seen.checklist_id is not None)
    pass_all(house, row)
    return row


def pass_all(house: Governed, row: Release) -> None:
    """Let every gate be passed, with evidence that looks like some."""
    checklist = house.fresh(row).checklist
    assert checklist is not None
    results = list(checklist.results.order_by("position"))
    made = Evidence.objects.bulk_create(
        Evidence(
            key=r.gate, subject=house.variant.bundle_digest, version=checklist.version,
            verdict="passed", sentence=_sentence(r.gate), source="measured", facts=_facts(r.gate),
            measured_at=house.now - timedelta(hours=5 + n), recorded_by="worker:gates",
            digest=digests.of_bytes(f"{row.pk} {r.gate} {house.now}".encode()),
        )
        for n, r in enumerate(results)
    )  # fmt: skip
    for result, evidence in zip(results, made, strict=True):
        result.state = result.verdict = "passed"
        result.sentence, result.evidence = evidence.sentence, evidence
        result.measured_at, result.state_since = evidence.measured_at, house.now
        result.expires_at = house.now + timedelta(days=27)
    GateResult.objects.bulk_update(
        results,
        ["state", "verdict", "sentence", "evidence", "measured_at", "state_since", "expires_at"],
    )


def trouble(house: Governed, row: Release) -> None:
    """Let one gate be unknown as advice, one failed as advice, and one waived."""
    checklist = house.fresh(row).checklist
    assert checklist is not None
    names = list(checklist.results.order_by("position").values_list("gate", flat=True))
    GateResult.objects.filter(checklist=checklist, gate=names[-1]).update(
        state="unknown", verdict="unknown", required=False, evidence=None,
        sentence="The comparison has not reported since 06:10: its job lost its node.",
        remedy="It runs again at 15:00.",
    )  # fmt: skip
    waiver = Waiver.objects.create(
        gate=names[-2], model=house.model, checklist=checklist, granted_by=house.people["second"],
        reason="The last rehearsal was 34 days ago, 1.3 s. The next one is booked for Tuesday.",
        expires_at=house.now + timedelta(days=2),
    )  # fmt: skip
    GateResult.objects.filter(checklist=checklist, gate=names[-2]).update(
        state="waived", verdict="unknown", waiver=waiver, evidence=None,
        sentence="No rehearsal within 30 days.",
    )  # fmt: skip


def discussed(house: Governed, row: Release, *, comments: int = 0) -> None:
    """Let people talk about it; `comments` more besides what they say."""
    for name, text in SAID:
        services.comment(actor=house.actor(name), number=row.number, text=text)
    Comment.objects.bulk_create(
        Comment(release=row, person=house.people["second"], by="second", text=f"Point **{n}**.")
        for n in range(comments)
    )


def many(house: Governed, row: Release, count: int) -> None:
    """Let `count` more releases wait for approval, each about bytes of its own."""
    now = house.now
    sealed = digestset.seal({"manifest": {"digest": "sha256:0"}})
    asked = ApprovalRequest.objects.bulk_create(
        ApprovalRequest(
            subject=f"release/made{n}", title=f"R-{n}", environment=house.environment,
            team=house.model.team, seats=row.request.seats, content=dict(sealed.content),
            digest_set=dict(sealed.parts), digest=sealed.digest, excluded=[],
            proposed_by="maker", expires_at=now + timedelta(hours=n + 1),
        )
        for n in range(count)
    )  # fmt: skip
    Release.objects.bulk_create(
        Release(
            number=10_000 + n, public_id=f"made{n}", version=house.version, request=request,
            environment=house.environment, variant=house.variant, strategy={"kind": "all_at_once"},
            state="awaiting_approval", state_since=now, proposed_by="maker",
            expires_at=now + timedelta(days=9), next_reconcile_at=now + timedelta(days=9),
        )
        for n, request in enumerate(asked)
    )  # fmt: skip
    database.analyse()


def _describe(
    version: ModelVersion, *, auc: float, rows: tuple[str, ...], more_inputs: bool = False
) -> None:
    inputs = [{"name": "X", "datatype": "FP32", "shape": [-1, 30]}]
    outputs = [{"name": "label", "datatype": "INT64", "shape": [-1]}]
    if more_inputs:
        outputs.append({"name": "score", "datatype": "FP32", "shape": [-1]})
    ModelVersion.objects.filter(pk=version.pk).update(
        inputs=inputs, outputs=outputs, metrics={"pr_auc": auc, "log_loss": 0.11},
        git_commit="3e9a0d4c11", dataset="payments, August to October",
        dataset_digest=f"sha256:{version.number:064d}", facts={"requirements": list(rows)},
        size=900_000,
    )  # fmt: skip
    version.refresh_from_db()
    Evidence.objects.create(
        key="model.better", subject=version.manifest_digest or "", version=version,
        verdict="passed", sentence="Measured on 214,330 held-out payments.", source="ci",
        facts={"metric": "pr_auc", "value": auc, "low": auc - 0.0021, "high": auc + 0.0019},
        measured_at=version.created_at, recorded_by="maker/ci",
        digest=digests.of_bytes(f"interval {version.pk}".encode()),
    )  # fmt: skip


def _live(house: Governed) -> None:
    endpoint = factories.endpoint(model=house.model, environment=governed.WHERE)
    endpoint.next_reconcile_at = house.now + timedelta(days=1)
    endpoint.save(update_fields=["next_reconcile_at"])
    revision = factories.revision(endpoint=endpoint, variant=house.variant)
    Revision.objects.filter(pk=revision.pk).update(
        live_at=house.now - timedelta(days=50), replicas=1
    )
    filling.windows_of(endpoint)


def _sentence(gate: str) -> str:
    known = catalogue.CATALOGUE.get(gate)
    return f"{known.title if known else gate}: looked at, and so it is."


def _facts(gate: str) -> dict[str, Any]:
    if not gate.startswith("load."):
        return {"looked_at": 214330, "limit": 0.02, "largest": 0.011}
    return {
        "goal": {"rate": 510.0, "availability": 0.999, "latency_ms": 8.0, "latency_share": 0.99},
        "planned": 10200, "sent": 10200, "answered": 10200, "p95_ms": 3.62, "p99_ms": 6.9,
        "by_second": [
            {"second": n, "offered": 510, "answered": 510, "p95_ms": 3.2 + (n * 7 % 5) / 6}
            for n in range(20)
        ],
    }  # fmt: skip
