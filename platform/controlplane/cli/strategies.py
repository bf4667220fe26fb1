"""Naming a strategy on the command line: a kind, a template, or a file with a document."""

from pathlib import Path
from typing import Any

import click
import yaml

from apps.rollouts.domain.strategy import StrategyKind


def strategy_of(text: str) -> dict[str, Any]:
    """Return what the API takes as a strategy.

    Args:
        text: A kind ("canary"), the name of a template of the environment ("careful-canary"), or
            "@" and a file of JSON or YAML.

    Raises:
        UsageError: The file cannot be read, or holds no object.
    """
    if text.startswith("@"):
        return _document(Path(text[1:]))
    return {"kind": text} if text in list(StrategyKind) else {"template": text}


def _document(file: Path) -> dict[str, Any]:
    try:
        found = yaml.safe_load(file.read_text(encoding="utf-8"))  # JSON is YAML, too
    except (OSError, UnicodeDecodeError) as error:
        raise click.UsageError(f"{file} cannot be read: {error}.") from error
    except yaml.YAMLError as error:
        raise click.UsageError(f"{file} is neither JSON nor YAML: {error}.") from error
    if not isinstance(found, dict):
        raise click.UsageError(f"{file} holds no object, such as: kind: canary.")
    return found
