"""Models and versions as JSON, from any row that has their columns.

REST framework's serializers and the quick reads both end here, so they cannot differ.
"""

from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Any


def model(row: Any, *, team: str, aliases: Mapping[str, int]) -> dict[str, Any]:
    """Return a registered model as JSON.

    Args:
        row: A `RegisteredModel`, or anything with its columns.
        team: The slug of the team that owns it.
        aliases: Version numbers by alias, by name.
    """
    return {
        "id": row.public_id,
        "name": row.name,
        "team": team,
        "risk_tier": row.risk_tier,
        "task": row.task,
        "description": row.description,
        "card": row.card,
        "tolerance": row.tolerance,
        "min_agreement": row.min_agreement,
        "version_count": row.version_count,
        "latest_version": row.latest_number,
        "aliases": dict(aliases),
        "archived": row.archived_at is not None,
        "created_by": row.created_by,
        "created_at": time(row.created_at),
        "changed_at": time(row.changed_at),
    }


def version(row: Any, *, model: str, aliases: Sequence[str]) -> dict[str, Any]:
    """Return a version as JSON.

    Args:
        row: A `ModelVersion`, or anything with its columns.
        model: The name of its model.
        aliases: The aliases that name it, by name.
    """
    return {
        "id": row.public_id,
        "model": model,
        "number": row.number,
        "semver": row.semver,
        "state": row.state,
        "door": row.door,
        "format": row.format,
        "framework": row.framework,
        "inputs": row.inputs,
        "outputs": row.outputs,
        "facts": row.facts,
        "metrics": {name: float(value) for name, value in row.metrics.items()},
        "params": row.params,
        "tags": row.tags,
        "aliases": list(aliases),
        "description": row.description,
        "dataset": row.dataset,
        "dataset_digest": row.dataset_digest,
        "trained_at": time(row.trained_at),
        "run_id": row.run_id,
        "git_commit": row.git_commit,
        "source": row.source,
        "digest": row.manifest_digest,
        "duplicate_of": row.duplicate_of,
        "size": row.size,
        "mirror": {"state": row.mirror_state, "problem": row.mirror_problem},
        "registered_by": row.registered_by,
        "created_at": time(row.created_at),
        "changed_at": time(row.changed_at),
    }


def time(moment: datetime | None) -> str | None:
    """Return a moment as RFC 3339 has it, in UTC."""
    return moment.isoformat().replace("+00:00", "Z") if moment is not None else None
