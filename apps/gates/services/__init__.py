"""What may be done about checklists, evidence and waivers."""

from apps.gates.services.checklists import (
    close_checklist,
    open_checklist,
    reconfigure,
    wake_checklists,
)
from apps.gates.services.evidence import (
    Recorded,
    keep_file,
    record_evidence,
    record_measured,
    run_gate_again,
)
from apps.gates.services.waivers import grant_waiver, withdraw_waiver

__all__ = [
    "Recorded",
    "close_checklist",
    "grant_waiver",
    "keep_file",
    "open_checklist",
    "reconfigure",
    "record_evidence",
    "record_measured",
    "run_gate_again",
    "wake_checklists",
    "withdraw_waiver",
]
