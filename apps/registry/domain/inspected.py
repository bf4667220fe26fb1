"""What could be read from a version's files, as values."""

from dataclasses import asdict, dataclass, field
from typing import Any, TypedDict

from apps.registry.domain.kinds import Format


class Tensor(TypedDict):
    """One input or output, as the Open Inference Protocol describes it."""

    name: str
    datatype: str  # FP32, FP64, INT64, INT32, BOOL, BYTES, ...
    shape: list[int]  # -1 where it is free


@dataclass(frozen=True)
class Inspected:
    """What the files say about themselves.

    Attributes:
        format: How the bytes are written, found by content.
        framework: What wrote them ("scikit-learn 1.9.1").
        inputs: The tensors it takes; empty when the files do not say.
        outputs: The tensors it gives; empty when the files do not say.
        facts: Everything else, by name: opset, estimator, classes, requirements, ...
        run_id: The MLflow run that the files name.
    """

    format: Format
    framework: str = ""
    inputs: list[Tensor] = field(default_factory=list)
    outputs: list[Tensor] = field(default_factory=list)
    facts: dict[str, Any] = field(default_factory=dict)
    run_id: str = ""

    def as_dict(self) -> dict[str, Any]:
        """Return the value as JSON can hold it."""
        return {**asdict(self), "format": str(self.format)}

    @classmethod
    def from_dict(cls, value: dict[str, Any]) -> "Inspected":
        """Return what `as_dict` wrote."""
        return cls(**{**value, "format": Format(value["format"])})
