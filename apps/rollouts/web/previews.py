"""A strategy that nothing runs by yet, as pages draw it: its steps, and what each waits for."""

from dataclasses import dataclass

from apps.endpoints.domain.values import WHOLE
from apps.rollouts.domain import words
from apps.rollouts.domain.steps import Step
from apps.rollouts.previewing import Preview

MOST_DRAWN = 8  # steps that have room for words of their own
LEAST_HEIGHT = 3  # percent, so that a step without requests is seen


@dataclass(frozen=True)
class Rung:
    """One step of the drawing.

    Attributes:
        name: "25 %", "Shadow", "Preview".
        height: Of its bar, in percent.
        is_mirror: Whether nobody gets the answers.
        goes_on: What it waits for.
    """

    name: str
    height: int
    is_mirror: bool = False
    goes_on: str = ""

    @property
    def top(self) -> int:
        """Return where its bar begins, in percent from above."""
        return WHOLE - self.height


@dataclass(frozen=True)
class Drawn:
    """A preview, ready to print.

    Attributes:
        rungs: In order; the last one is everything.
        has_words: Whether there is room for words at each.
    """

    preview: Preview
    rungs: list[Rung]
    has_words: bool


def drawn(preview: Preview) -> Drawn:
    """Return the drawing of a preview."""
    rungs = [
        _rung(step, line.goes_on) for step, line in zip(preview.steps, preview.lines, strict=False)
    ]
    whole = Rung(words.percent(WHOLE), WHOLE)
    return Drawn(preview, [*rungs, whole], len(rungs) < MOST_DRAWN)


def _rung(step: Step, goes_on: str) -> Rung:
    if step.mirror:
        return Rung("Shadow", step.mirror, is_mirror=True, goes_on=goes_on)
    name = "Preview" if step.preview else words.percent(step.weight)
    return Rung(name, step.weight or LEAST_HEIGHT, goes_on=goes_on)
