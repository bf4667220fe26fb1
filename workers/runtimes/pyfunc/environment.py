"""The environment of one MLflow bundle: its locked packages, and the few that our server needs."""

import json
import re
from pathlib import Path

from workers.runtimes import environments
from workers.runtimes.oip import bundle
from workers.runtimes.oip.options import Options

HERE = Path(__file__).parent
MLFLOW = re.compile(r"^\s*mlflow(-skinny)?(\[[^\]]*\])?\s*([=<>~!;@#]|$)", re.MULTILINE)


def make(told: Options) -> Path:
    """Return the environment's folder, made if need be.

    Raises:
        Problem: The packages cannot be installed.
    """
    config = json.loads((told.bundle / bundle.CONFIG_NAME).read_bytes())
    lock = requirements_file(told.bundle, config.get("requirements"), config["entry"])
    requirements = [lock] if lock else []
    requirements.append(HERE / "requirements.txt")
    if lock is None or not MLFLOW.search(lock.read_text()):
        requirements.append(HERE / "requirements-mlflow.txt")
    return environments.make(told.home, name="pyfunc", requirements=requirements)


def requirements_file(folder: Path, locked: str | None, entry: str) -> Path | None:
    """Return the bundle's lock, or the list that MLflow keeps in the model's folder, if any."""
    candidates = [folder / locked] if locked else []
    candidates.append(folder / entry / "requirements.txt")
    return next((path for path in candidates if path.is_file()), None)
