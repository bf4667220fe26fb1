"""Where a version came from, and which others share its origin."""

from dataclasses import dataclass

from apps.registry.models import ModelVersion
from apps.registry.selectors.visibility import visible_models
from controlplane.kernel.actor import Actor


@dataclass(frozen=True)
class Lineage:
    """Where a version came from, and what shares its origin.

    Attributes:
        run_id: The MLflow run, "" when unknown.
        git_commit: The training code.
        dataset: What it was trained on, with its digest.
        same_run: Other versions from the same run, in any visible model.
        same_dataset: Other versions from the same data, in any visible model.
        duplicates: Versions of the same model with the same bytes.
    """

    run_id: str
    git_commit: str
    dataset: str
    dataset_digest: str
    source: str
    same_run: list[ModelVersion]
    same_dataset: list[ModelVersion]
    duplicates: list[ModelVersion]


def lineage(actor: Actor, version_row: ModelVersion, *, limit: int = 20) -> Lineage:
    """Return where a version came from; at most `limit` relatives of each kind."""
    others = (
        ModelVersion.objects.select_related("model__team")
        .filter(model__in=visible_models(actor).values("id"))
        .exclude(pk=version_row.pk)
        .order_by("-id")
    )
    run, data = version_row.run_id, version_row.dataset_digest
    digest = version_row.manifest_digest
    return Lineage(
        run_id=run,
        git_commit=version_row.git_commit,
        dataset=version_row.dataset,
        dataset_digest=data,
        source=version_row.source,
        same_run=list(others.filter(run_id=run)[:limit]) if run else [],
        same_dataset=list(others.filter(dataset_digest=data)[:limit]) if data else [],
        duplicates=list(others.filter(model=version_row.model_id, manifest_digest=digest)[:limit])
        if digest
        else [],
    )
