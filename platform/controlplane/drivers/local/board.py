"""What a person sees of the stack: one line per part, and notices of what happened."""

import time
from collections.abc import Callable
from dataclasses import dataclass, field
from enum import StrEnum


class Phase(StrEnum):
    """How far a part is."""

    WAITING = "waiting"
    STARTING = "starting"
    READY = "ready"
    RESTARTING = "restarting"
    FAILED = "failed"
    STOPPING = "stopping"
    STOPPED = "stopped"


@dataclass
class Line:
    """One part on the board.

    Attributes:
        phase: How far it is.
        detail: What it waits for, where it listens, or what went wrong.
        began: When this start began, on the monotonic clock.
        took: How many seconds the last start took; None before the first.
    """

    phase: Phase = Phase.WAITING
    detail: str = ""
    began: float = 0.0
    took: float | None = None


@dataclass
class Board:
    """The lines by part, and whoever wants to hear of changes.

    Attributes:
        lines: By the part's name, in the order of their start.
        on_change: Called with the part's name after its phase changed.
        on_notice: Called with one sentence about something that happened.
    """

    lines: dict[str, Line] = field(default_factory=dict)
    on_change: Callable[[str], None] = lambda name: None
    on_notice: Callable[[str], None] = lambda sentence: None

    def show(self, name: str, phase: Phase, detail: str = "") -> None:
        """Move a part's line to a phase."""
        line = self.lines.setdefault(name, Line())
        line.detail = detail
        if line.phase == phase:
            return
        self._time(line, phase)
        line.phase = phase
        self.on_change(name)

    def notice(self, sentence: str) -> None:
        """Say what happened."""
        self.on_notice(sentence)

    def phase(self, name: str) -> Phase:
        """Return how far a part is."""
        return self.lines.setdefault(name, Line()).phase

    def all_ready(self, *, but: frozenset[str] = frozenset()) -> bool:
        """Return whether every part works, leaving out those in `but`."""
        return all(
            line.phase == Phase.READY for name, line in self.lines.items() if name not in but
        )

    def _time(self, line: Line, phase: Phase) -> None:
        if phase in (Phase.STARTING, Phase.RESTARTING, Phase.STOPPING):
            line.began = time.monotonic()
        elif phase == Phase.READY:
            line.took = time.monotonic() - line.began
