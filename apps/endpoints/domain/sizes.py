"""How much memory a replica is expected to take. Pure."""

SERVER_MB = 110  # an empty model server; measured: 95 to 125 MB
LOADED = 2.0  # a loaded model against its files
HEADROOM = 1.1


def memory_mb(*, model_bytes: int, measured_mb: float | None) -> int:
    """Return an estimate for one replica.

    Args:
        model_bytes: Size of the model's files.
        measured_mb: What the proof sheet measured, where it did.
    """
    model_mb = model_bytes / 1024**2 * LOADED
    measured = measured_mb or 0
    return int(max(SERVER_MB + model_mb, measured * HEADROOM))
