"""Opening, changing and closing checklists.

These are consequences of a release's moves: `releases` has checked who may make them.
"""

from collections.abc import Mapping
from datetime import datetime
from typing import Any

from django.db import transaction

from apps.audit import services as audit
from apps.builds.models import Variant
from apps.environments.models import Environment
from apps.gates import selectors
from apps.gates.domain.states import GateState
from apps.gates.listing import KIND, relist, wake
from apps.gates.models import Checklist, GateResult, Waiver
from apps.registry.models import ModelVersion
from controlplane.db.live import announce
from controlplane.db.nudge import nudge
from controlplane.db.reconcile import commanding
from controlplane.kernel.actor import Actor
from controlplane.kernel.clock import SystemClock
from controlplane.kernel.errors import Conflict, Invalid

# What a result is before anything is known of it.
BLANK: dict[str, Any] = {
    "state": GateState.PENDING,
    "verdict": "",
    "sentence": "",
    "remedy": "",
    "evidence": None,
    "waiver": None,
    "measured_at": None,
    "expires_at": None,
    "handle": "",
}


@transaction.atomic
def open_checklist(
    *,
    actor: Actor,
    version: ModelVersion,
    variant: Variant,
    environment: Environment,
    configuration: Mapping[str, Any],
    proposer_id: int | None,
) -> Checklist:
    """List the gates that a variant must pass in an environment, and have them measured.

    Args:
        actor: Who asks.
        version: With its model.
        variant: One of the version's, with a bundle.
        environment: Where it would be served.
        configuration: What would be served: {"runtime", "replicas", "settings"}.
        proposer_id: The person who may not waive its gates.

    Raises:
        Invalid: The variant is another version's, or has no bundle.
        Conflict: The environment has no policy for the model's risk tier.
    """
    _refuse_foreign(version, variant)
    policy = selectors.policy_in_force(environment, version.model.risk_tier)
    now = SystemClock().now()
    checklist = Checklist.objects.create(
        version=version,
        variant=variant,
        environment=environment,
        policy=policy,
        configuration=dict(configuration),
        proposer_id=proposer_id,
        proposed_by=actor.name,
        next_reconcile_at=now,
    )
    relist(checklist, selectors.rules(policy), now)
    _tell(actor, "gates.checklist.open", checklist, after=_said(checklist))
    return checklist


@transaction.atomic
def reconfigure(
    *, actor: Actor, checklist: Checklist, variant: Variant, configuration: Mapping[str, Any]
) -> Checklist:
    """Have a checklist judge another variant or another configuration.

    For another variant everything is looked for anew and its waivers end: they were about other
    bytes. For another configuration what hangs on it is.

    Raises:
        Invalid: The variant is another version's, or has no bundle.
        Conflict: The checklist is closed.
    """
    _refuse_foreign(checklist.version, variant)
    now = SystemClock().now()
    with commanding(Checklist, checklist.pk, now=now) as row:
        _refuse_closed(row)
        before = _said(row)
        other = row.variant_id != variant.pk
        row.variant, row.configuration = variant, dict(configuration)
        if before == _said(row):
            return row
        if other:
            _end_waivers(row, now)
            GateResult.objects.filter(checklist=row).update(**BLANK, due_at=now, state_since=now)
        else:
            GateResult.objects.filter(checklist=row).update(due_at=now)
        _tell(actor, "gates.checklist.change", row, before=before, after=_said(row))
    return row


@transaction.atomic
def close_checklist(*, actor: Actor, checklist: Checklist) -> Checklist:
    """Stop measuring: nobody needs it any more. It stays readable as it stood."""
    now = SystemClock().now()
    with commanding(Checklist, checklist.pk, now=now) as row:
        if row.closed_at is None:
            row.closed_at = now
            _tell(actor, "gates.checklist.close", row)
    return row


def wake_checklists(*, environment_id: int, risk_tier: str) -> None:
    """Have the open checklists of a policy that changed look at it again; in a transaction."""
    rows = Checklist.objects.filter(
        closed_at=None, environment_id=environment_id, version__model__risk_tier=risk_tier
    )
    wake(list(rows.values_list("pk", flat=True)), SystemClock().now())


def _end_waivers(checklist: Checklist, now: datetime) -> None:
    open_ones = Waiver.objects.filter(checklist=checklist, withdrawn_at=None, lapsed_at=None)
    open_ones.update(lapsed_at=now, changed_at=now)


def _said(checklist: Checklist) -> dict[str, Any]:
    return {
        "variant": checklist.variant.kind,
        "bundle_digest": checklist.variant.bundle_digest,
        "configuration": checklist.configuration,
    }


def _refuse_foreign(version: ModelVersion, variant: Variant) -> None:
    if variant.version_id != version.pk or not variant.bundle_digest:
        raise Invalid(
            f"The variant {variant.kind} cannot be checked: it is not this version's, "
            "or was never built.",
            remedy="Choose a variant that the version's build made.",
            field="variant",
            code="gates.variant",
        )


def _refuse_closed(checklist: Checklist) -> None:
    if checklist.closed_at is not None:
        raise Conflict(
            "This checklist is closed: its release has ended.",
            remedy="Propose a new release.",
            code="gates.checklist_closed",
        )


def _tell(actor: Actor, verb: str, checklist: Checklist, **what: Any) -> None:
    version = checklist.version
    audit.record(
        actor=actor,
        verb=verb,
        target=f"checklist/{checklist.public_id}",
        subject=f"{version.model.name} v{version.number} in {checklist.environment.slug}",
        **what,
    )
    announce(f"checklist/{checklist.public_id}")
    nudge(KIND, checklist.pk)
