"""A person's verbs on the registry: each is one transaction, one lock, one ledger entry.

Callers write `services.register_version(...)`; the modules below are how they are grouped.
"""

from apps.registry.services.adoption import adopt, complete_adoption, fail_adoption
from apps.registry.services.aliases import follow_live, move_alias, remove_alias
from apps.registry.services.drift import settle_drift
from apps.registry.services.models import (
    archive_model,
    create_model,
    edit_model,
    home_team,
    restore_model,
)
from apps.registry.services.registration import (
    Registered,
    UploadedPath,
    register_files,
    register_run,
    register_version,
)
from apps.registry.services.together import Candidate, register_together
from apps.registry.services.uploads import (
    abandon_upload,
    begin_upload,
    drop_expired,
    finish_upload,
    keep_uploaded_file,
    note_received,
    part_path,
)
from apps.registry.services.versions import (
    archive_version,
    edit_version,
    learn,
    reject,
    restore_version,
    validate,
)

__all__ = [
    "Candidate",
    "Registered",
    "UploadedPath",
    "abandon_upload",
    "adopt",
    "archive_model",
    "archive_version",
    "begin_upload",
    "complete_adoption",
    "create_model",
    "drop_expired",
    "edit_model",
    "edit_version",
    "fail_adoption",
    "finish_upload",
    "follow_live",
    "home_team",
    "keep_uploaded_file",
    "learn",
    "move_alias",
    "note_received",
    "part_path",
    "register_files",
    "register_run",
    "register_together",
    "register_version",
    "reject",
    "remove_alias",
    "restore_model",
    "restore_version",
    "settle_drift",
    "validate",
]
