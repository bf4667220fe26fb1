"""The form of one objective. People write percentages; the product keeps shares."""

from decimal import Decimal
from typing import Any

from django import forms

from apps.slos.domain.objective import Objective

# Fields of the form by fields of the objective, where they differ.
PERCENT = {"availability": "availability_percent", "latency_share": "latency_percent"}


class ObjectiveForm(forms.Form):
    """What a model promises in one environment."""

    availability_percent = forms.DecimalField(
        label="Answered, %",
        initial=Decimal("99.9"),
        max_digits=10,
        help_text="Of all requests, so many get an answer. 99.9 lets 1 of 1,000 fail.",
    )
    latency_ms = forms.FloatField(
        label="Fast means, ms",
        help_text="A request is fast when it takes no longer than this.",
    )
    latency_percent = forms.DecimalField(
        label="Fast, %",
        initial=Decimal("99"),
        max_digits=10,
        help_text="Of all requests, so many are fast. 99 lets 1 of 100 be slow.",
    )
    window_days = forms.IntegerField(
        label="Counted over, days",
        initial=28,
        help_text="Four whole weeks hold as many Mondays as Sundays.",
    )
    expected_peak_rps = forms.FloatField(
        label="Expected peak, requests/s",
        help_text="In the busiest minute. A load test asks for half as much again.",
    )
    reason = forms.CharField(label="Why", required=False, max_length=500)

    def objective(self) -> Objective:
        """Return what was typed."""
        given: dict[str, Any] = self.cleaned_data
        return Objective(
            availability=float(given["availability_percent"] / 100),
            latency_ms=given["latency_ms"],
            latency_share=float(given["latency_percent"] / 100),
            window_days=given["window_days"],
            expected_peak_rps=given["expected_peak_rps"],
        )


def shown(objective: Objective) -> dict[str, Any]:
    """Return an objective as the form's initial values."""
    return {
        "availability_percent": percent(objective.availability),
        "latency_ms": f"{objective.latency_ms:g}",
        "latency_percent": percent(objective.latency_share),
        "window_days": objective.window_days,
        "expected_peak_rps": f"{objective.expected_peak_rps:g}",
    }


def percent(share: float) -> str:
    """Return a share as people write it: 0.999 as "99.9"."""
    return f"{Decimal(repr(share)) * 100:f}".rstrip("0").rstrip(".")
