"""Kept answers in a dictionary: for pure logic and for faults."""

from collections import defaultdict
from collections.abc import Collection, Mapping
from dataclasses import dataclass, field, replace

from apps.analysis.domain.answers import AnswersRead, Kept, ServerAnswers
from controlplane.kernel.errors import Transient


@dataclass
class MemoryAnswers:
    """Implements `apps.analysis.ports.AnswerLog`.

    Attributes:
        room: How many answers a server keeps.
        silent: Ports of servers that keep none.
        down: Ports where nobody answers.
    """

    room: int = 4096
    silent: set[int] = field(default_factory=set)
    down: set[int] = field(default_factory=set)
    _runs: defaultdict[int, int] = field(default_factory=lambda: defaultdict(int))
    _answers: defaultdict[int, list[Kept]] = field(default_factory=lambda: defaultdict(list))

    def keep(self, answer: Kept) -> Kept:
        """Keep `answer` at its port, under the port's next number."""
        answers = self._answers[answer.port]
        kept = replace(answer, sequence=len(answers) + 1)
        answers.append(kept)
        return kept

    def restart(self, port: int) -> None:
        """Forget what the server at `port` keeps, as a new process does."""
        self._runs[port] += 1
        self._answers[port].clear()

    def read(self, ports: Collection[int], *, after: Mapping[int, int]) -> AnswersRead:
        """Implement `AnswerLog.read`."""
        for port in self.down.intersection(ports):
            raise Transient(f"The server at port {port} did not answer.", code="answers.silent")
        return AnswersRead(
            servers={
                port: self._read(port, after.get(port, 0))
                for port in ports
                if port not in self.silent
            },
            silent=frozenset(self.silent.intersection(ports)),
        )

    def _read(self, port: int, after: int) -> ServerAnswers:
        answers = self._answers[port]
        fallen = max(0, len(answers) - self.room)
        return ServerAnswers(
            run=f"{port}-{self._runs[port]}",
            lost=max(0, fallen - after),
            answers=tuple(answers[max(fallen, after) :]),
        )
