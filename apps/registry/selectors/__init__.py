"""Reading the registry. Other apps read its rows through these functions only.

Everything that a person may not see is missing, not forbidden: its name is not given away.
Callers write `selectors.version(...)`; the modules below are how they are grouped.
"""

from apps.registry.selectors.comparison import compare
from apps.registry.selectors.contents import file, files, manifest, manifests
from apps.registry.selectors.model_versions import (
    known_digests,
    version,
    version_by_alias,
    version_by_id,
    version_by_public_id,
    version_by_reference,
    version_for_update,
    version_of,
    version_with_digest,
    version_with_source,
)
from apps.registry.selectors.origin import Lineage, lineage
from apps.registry.selectors.registered_models import (
    aliases,
    model,
    model_for_update,
    model_to_extend,
    model_with_aliases,
    models,
    search_models,
)
from apps.registry.selectors.uploads import upload, uploads_by_id
from apps.registry.selectors.version_lists import recent_versions, search_versions, versions
from apps.registry.selectors.visibility import visible_models

__all__ = [
    "Lineage",
    "aliases",
    "compare",
    "file",
    "files",
    "known_digests",
    "lineage",
    "manifest",
    "manifests",
    "model",
    "model_for_update",
    "model_to_extend",
    "model_with_aliases",
    "models",
    "recent_versions",
    "search_models",
    "search_versions",
    "upload",
    "uploads_by_id",
    "version",
    "version_by_alias",
    "version_by_id",
    "version_by_public_id",
    "version_by_reference",
    "version_for_update",
    "version_of",
    "version_with_digest",
    "version_with_source",
    "versions",
    "visible_models",
]
