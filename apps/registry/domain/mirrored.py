"""How words travel between a version here and a version in MLflow."""

import re
from collections.abc import Mapping
from typing import Any

from apps.registry.domain.details import LONGEST_VALUE, MOST_ENTRIES

KEY = re.compile(r"[\w.\- /]{1,250}")  # what MLflow allows in the name of a tag
LONGEST_IN_MLFLOW = 5_000
DISTRIBUTIONS = {"pytorch": "torch", "sklearn": "scikit-learn"}


def tags(given: Mapping[str, str]) -> dict[str, str]:
    """Return the tags that MLflow takes, their values no longer than it takes."""
    return {
        key: value[:LONGEST_IN_MLFLOW]
        for key, value in given.items()
        if KEY.fullmatch(key) and not key.startswith(("/", "mlflow.")) and ".." not in key
    }


def of_people(given: Mapping[str, str]) -> dict[str, str]:
    """Return the tags that people set, without those that MLflow keeps for itself."""
    return {key: value for key, value in given.items() if not key.startswith("mlflow.")}


def words(given: Mapping[str, str]) -> dict[str, str]:
    """Return `given` within the registry's bounds, cut where it is longer."""
    clean = {key[:250]: value[:LONGEST_VALUE].replace("\x00", "") for key, value in given.items()}
    return dict(list(clean.items())[:MOST_ENTRIES])


def requirements(facts: Mapping[str, Any], framework: str) -> list[str]:
    """Return pip lines for a version: those its files name, or its framework's own.

    Args:
        facts: What was read from the files; "requirements" where they say.
        framework: As the registry writes it ("scikit-learn 1.9.1").
    """
    named = facts.get("requirements")
    if isinstance(named, list) and named:
        return [str(line) for line in named]
    name, _, version = framework.strip().partition(" ")
    name = DISTRIBUTIONS.get(name.lower(), name.lower())
    if not re.fullmatch(r"[a-z0-9._-]+", name) or not re.fullmatch(r"[0-9][0-9a-z.+!]*", version):
        return []
    return [f"{name}=={version}"]
