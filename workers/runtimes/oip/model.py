"""The port between a server and the model in it."""

from typing import Protocol

from workers.runtimes.oip.batching import Arrays
from workers.runtimes.oip.protocol import TensorSpec


class Model(Protocol):
    """What the server needs of a model."""

    @property
    def platform(self) -> str:
        """What runs it, such as "onnxruntime"."""
        ...

    @property
    def inputs(self) -> tuple[TensorSpec, ...]:
        """What it takes."""
        ...

    @property
    def outputs(self) -> tuple[TensorSpec, ...]:
        """What it gives."""
        ...

    def run(self, inputs: Arrays) -> Arrays:
        """Return its outputs, by name.

        Raises:
            Refused: The inputs fit its signature, but it does not take them.
        """
        ...
