"""What may be done about checklists, evidence and waivers."""

from apps.gates.services.checklists import (
    close_checklist,
    open_checklist,
    reconfigure,
    wake_checklists,
)

__all__ = ["close_checklist", "open_checklist", "reconfigure", "wake_checklists"]
