"""The loaded native model, as the steps see it whatever library made it."""

from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from workers.toolchain.tensors import Arrays, Signature

MATRIX = "input"  # what one table of numbers is called
LABEL, PROBABILITIES, PREDICTION = "label", "probabilities", "prediction"


@dataclass
class Native:
    """A loaded model.

    Attributes:
        raw: The object itself.
        flavor: sklearn, xgboost, lightgbm, onnx, torch or pyfunc: how it can be converted.
        inputs: What it takes.
        answer: Its outputs by name, for a dictionary of arrays whose first axis is the batch.
        served: The outputs a server of the native variant gives; a part of `answer`'s, or all.
        libraries: The modules it needs to be loaded, for the lock file.
        names: The columns it was trained on, in order; empty when it does not know them.
        classes: The labels of a classifier, in the order of its probabilities.
        path: The file to convert from, where the format has one.
        facts: What else loading it taught.
    """

    raw: Any
    flavor: str
    inputs: Signature
    answer: Callable[[Arrays], Arrays]
    served: tuple[str, ...] = ()
    libraries: tuple[str, ...] = ("numpy",)
    names: tuple[str, ...] = ()
    classes: tuple[Any, ...] = ()
    path: Path | None = None
    facts: dict[str, Any] = field(default_factory=dict)

    @property
    def columns(self) -> bool:
        """Whether it takes one input for each column instead of one table."""
        return len(self.inputs) > 1
