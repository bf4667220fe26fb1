"""Two versions of a model side by side."""

from apps.registry.domain import compare as comparing
from apps.registry.domain.compare import Comparison, Side
from apps.registry.models import ModelVersion
from apps.registry.selectors.contents import manifest
from apps.registry.selectors.model_versions import version
from controlplane.kernel.actor import Actor


def compare(actor: Actor, model_name: str, left: int, right: int) -> Comparison:
    """Return what differs between two versions of a model.

    Raises:
        Missing: One of them is missing.
    """
    sides = [version(actor, model_name, number) for number in (left, right)]
    return comparing.compare(*[_side(row) for row in sides])


def _side(row: ModelVersion) -> Side:
    return Side(
        number=row.number,
        semver=row.semver,
        state=row.state,
        format=row.format,
        framework=row.framework,
        metrics=row.metrics,
        params=row.params,
        inputs=row.inputs,
        outputs=row.outputs,
        files=tuple(manifest(row.pk)),
        size=row.size,
        manifest_digest=row.manifest_digest or "",
        lineage={
            "run": row.run_id,
            "commit": row.git_commit,
            "dataset": row.dataset,
            "dataset digest": row.dataset_digest,
            "trained at": row.trained_at.isoformat() if row.trained_at else "",
            "source": row.source,
        },
    )
