"""The keys that the ledger signs with; each is made by whoever needs it first."""

from pathlib import Path

from django.conf import settings

from apps.audit.domain.signing import SEED_BYTES, Signer
from controlplane.kernel import secretfile


def signer() -> Signer:
    """Return what signs checkpoints and exports."""
    return Signer(secretfile.read_or_make(Path(settings.LEDGER_KEY), size=SEED_BYTES))
