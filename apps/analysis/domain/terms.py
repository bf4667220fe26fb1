"""What a run judges by: its plan as a document, read. Pure."""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

from apps.analysis.domain import spec
from apps.analysis.domain.judge import Plan
from apps.analysis.domain.limits import Limits


@dataclass(frozen=True)
class Terms:
    """What a run judges by.

    Attributes:
        plan: What is compared, and how sure the judge has to be.
        limits: Beyond which nothing has to be proven.
    """

    plan: Plan
    limits: Limits


def read(document: Mapping[str, Any], *, dispersion: Mapping[str, float]) -> Terms:
    """Return what a run's plan says; one without metrics has only limits.

    Args:
        document: {"metrics": as `spec` reads it, "alpha": a share, "limits": {"page_share": a
            share, "least_errors": requests}}; the limits may say more, for others.
        dispersion: By metric, what earlier runs have shown.

    Raises:
        Invalid: The document is wrong; the field is named.
    """
    alpha = {"alpha": document["alpha"]} if "alpha" in document else {}
    metrics = document.get("metrics")
    plan = spec.parse_plan({"metrics": metrics, **alpha}) if metrics else Plan(())
    told = document.get("limits") or {}
    usual = Limits()
    return Terms(
        plan=replace(plan, dispersion=dict(dispersion)),
        limits=replace(
            usual,
            page_share=float(told.get("page_share", usual.page_share)),
            least_errors=int(told.get("least_errors", usual.least_errors)),
        ),
    )
