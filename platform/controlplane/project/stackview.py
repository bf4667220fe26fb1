"""How the stack's progress looks: a live table on a terminal, plain lines everywhere else."""

import time
from contextlib import AbstractContextManager, nullcontext
from datetime import datetime

from rich.console import Console
from rich.live import Live
from rich.table import Table
from rich.text import Text

from controlplane.drivers.local.board import Board, Line, Phase

LOOKS = {
    Phase.WAITING: ("·", "dim"),
    Phase.STARTING: ("◐", "cyan"),
    Phase.READY: ("●", "green"),
    Phase.RESTARTING: ("◑", "yellow"),
    Phase.FAILED: ("✕", "red"),
    Phase.STOPPING: ("◌", "cyan"),
    Phase.STOPPED: ("○", "dim"),
}


class StackView:
    """Shows a board on a console."""

    def __init__(self, board: Board, console: Console) -> None:
        """Listen to the board; on a terminal, prepare the live table."""
        self.board, self.console = board, console
        self._live = console.is_terminal
        if not self._live:
            board.on_change = self._print_line
        board.on_notice = self.say

    def shown(self) -> AbstractContextManager[object]:
        """Keep the table on the screen for as long as the context lasts."""
        if not self._live:
            return nullcontext()
        return Live(get_renderable=self._table, console=self.console, refresh_per_second=5)

    def say(self, sentence: str) -> None:
        """Print a sentence above the table."""
        self.console.print(f"[dim]{_clock()}[/dim]  {sentence}", highlight=False, soft_wrap=True)

    def _print_line(self, name: str) -> None:
        line = self.board.lines[name]
        words = f"{_clock()}  {name:<10} {_words(line)}  {line.detail}".rstrip()
        self.console.print(words, highlight=False, markup=False, soft_wrap=True)

    def _table(self) -> Table:
        table = Table(box=None, padding=(0, 2, 0, 0), show_header=False)
        for name, line in self.board.lines.items():
            sign, style = LOOKS[line.phase]
            table.add_row(
                Text(sign, style),
                Text(name),
                Text(_words(line), style),
                Text(line.detail, "dim", overflow="ellipsis", no_wrap=True),
            )
        return table


def _words(line: Line) -> str:
    if line.phase == Phase.READY and line.took is not None:
        return f"ready in {line.took:.1f} s"
    if line.phase in (Phase.STARTING, Phase.RESTARTING):
        return f"{line.phase.value} {time.monotonic() - line.began:.0f} s"
    return line.phase.value


def _clock() -> str:
    return datetime.now().astimezone().strftime("%H:%M:%S")
