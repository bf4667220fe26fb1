"""How far a server's kept answers are settled. Pure."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

from apps.analysis.domain.answers import ServerAnswers


@dataclass(frozen=True)
class Reached:
    """Up to where one server's answers are settled.

    Attributes:
        run: Of the server; another run's numbers are other answers.
        last: The newest number that was seen.
        waiting: Of the numbers up to `last`, those that are not settled yet.
    """

    run: str
    last: int
    waiting: frozenset[int] = frozenset()

    @property
    def after(self) -> int:
        """The number up to which nothing waits: from there on it is read again."""
        return min(self.waiting) - 1 if self.waiting else self.last

    def opens(self, number: int) -> bool:
        """Return whether the answer of this number is still to be settled."""
        return number > self.last or number in self.waiting

    def missing(self, server: ServerAnswers) -> int:
        """Return how many answers should have been there to read, and were not."""
        seen = {answer.sequence for answer in server.answers}
        unseen = self.newest(server) - self.last - sum(number > self.last for number in seen)
        return unseen + len(self.waiting - seen)

    def newest(self, server: ServerAnswers) -> int:
        """Return the newest number that is known after `server` was read."""
        fallen = self.after + server.lost
        return max(self.last, fallen, *(answer.sequence for answer in server.answers), 0)

    def moved(self, server: ServerAnswers, *, waiting: Iterable[int]) -> "Reached":
        """Return where `server` is settled when all but `waiting` is."""
        return Reached(self.run, self.newest(server), frozenset(waiting))

    def to_json(self) -> dict[str, Any]:
        """Return it as it is kept."""
        return {"run": self.run, "last": self.last, "waiting": sorted(self.waiting)}

    @classmethod
    def from_json(cls, value: Mapping[str, Any]) -> "Reached":
        """Return what `to_json` made."""
        return cls(value["run"], value["last"], frozenset(value["waiting"]))
