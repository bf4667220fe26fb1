"""A trial as an endpoint's row keeps it. Pure."""

from collections.abc import Mapping
from dataclasses import asdict
from typing import Any

from apps.endpoints.domain.values import Segment, Sticky, StickyBy, Trial


def to_json(trial: Trial) -> dict[str, Any]:
    """Return what a row keeps."""
    return asdict(trial)


def from_json(value: Mapping[str, Any] | None) -> Trial | None:
    """Return the trial that `to_json` kept; None for none."""
    if value is None:
        return None
    sticky = value["sticky"]
    return Trial(
        **{
            **value,
            "sticky": Sticky(StickyBy(sticky["by"]), sticky["name"]) if sticky else None,
            "segments": tuple(Segment(**segment) for segment in value["segments"]),
        }
    )
