"""What a caller says about a version when registering it, parsed and bounded."""

import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime

from apps.registry.domain import names
from controlplane.kernel.errors import Invalid

MOST_ENTRIES = 500
LONGEST_VALUE = 8_000

Scalar = str | int | float | bool | None


@dataclass(frozen=True)
class Details:
    """What is known of a version besides its bytes.

    Attributes:
        metrics: Finite numbers by name ("auc": 0.97).
        params: Parameters of the training, by name.
        tags: Free words by name.
        trained_at: When the training ended; aware.
        git_commit: The commit of the training code.
        run_id: The MLflow run that made it.
        source: Where the bytes came from, for people ("runs:/abc/model").
    """

    semver: str = ""
    description: str = ""
    metrics: dict[str, float] = field(default_factory=dict)
    params: dict[str, str] = field(default_factory=dict)
    tags: dict[str, str] = field(default_factory=dict)
    dataset: str = ""
    dataset_digest: str = ""
    trained_at: datetime | None = None
    run_id: str = ""
    git_commit: str = ""
    source: str = ""

    def __post_init__(self) -> None:
        """Refuse what no row could hold.

        Raises:
            Invalid: With the field at fault.
        """
        names.semantic_version(self.semver)
        for name, longest in _LONGEST.items():
            if len(getattr(self, name)) > longest:
                raise Invalid(
                    f"{name} has more than {longest} characters.",
                    field=name,
                    code="registry.too_long",
                )


_LONGEST = {
    "description": 100_000,
    "dataset": 200,
    "dataset_digest": 80,
    "run_id": 64,
    "git_commit": 64,
    "source": 500,
}


def metrics(given: Mapping[str, object]) -> dict[str, float]:
    """Return `given` as finite numbers.

    Raises:
        Invalid: A value is no finite number; the code is `registry.metric_not_a_number`.
    """
    _bounded(given, "metrics")
    clean = {}
    for name, value in given.items():
        number = _number(value)
        if number is None:
            raise Invalid(
                f"The metric {name!r} is {str(value)[:60]!r}, which is not a finite number.",
                remedy="Send numbers; leave out what is NaN or infinite.",
                field=f"metrics.{name}",
                code="registry.metric_not_a_number",
            )
        clean[_key(name, "metrics")] = number
    return clean


def finite(given: Mapping[str, object]) -> dict[str, float]:
    """Return the finite numbers of `given`, leaving out the rest: runs may log NaN."""
    numbers = ((name, _number(value)) for name, value in list(given.items())[:MOST_ENTRIES])
    return {str(name)[:250]: number for name, number in numbers if number is not None}


def words(given: Mapping[str, object], where: str) -> dict[str, str]:
    """Return `given` (parameters or tags) as text by name.

    Raises:
        Invalid: A name or value is unusable.
    """
    _bounded(given, where)
    clean = {}
    for name, value in given.items():
        if isinstance(value, dict | list):
            raise Invalid(
                f"{where}.{name} is not a single value.",
                field=f"{where}.{name}",
                code="registry.not_a_scalar",
            )
        text = _text(value)
        if len(text) > LONGEST_VALUE or "\x00" in text:
            raise Invalid(
                f"{where}.{name} has more than {LONGEST_VALUE} characters or a null character.",
                field=f"{where}.{name}",
                code="registry.too_long",
            )
        clean[_key(name, where)] = text
    return clean


def _text(value: object) -> str:
    if isinstance(value, bool):
        return "true" if value else "false"
    return "" if value is None else str(value)


def _number(value: object) -> float | None:
    if isinstance(value, bool) or not isinstance(value, int | float):
        return None
    try:
        number = float(value)
    except OverflowError:
        return None
    return number if math.isfinite(number) else None


def _key(name: str, where: str) -> str:
    if not names.KEY.fullmatch(name):
        raise Invalid(
            f"{name[:60]!r} cannot be a name in {where}.",
            remedy="Use 1 to 250 printable characters.",
            field=where,
            code="registry.key_not_allowed",
        )
    return name


def _bounded(given: Mapping[str, object], where: str) -> None:
    if len(given) > MOST_ENTRIES:
        raise Invalid(
            f"{where} has {len(given)} entries; at most {MOST_ENTRIES} are kept.",
            field=where,
            code="registry.too_many_entries",
        )
