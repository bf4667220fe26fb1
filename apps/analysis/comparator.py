"""Reads what two revisions' servers have answered to the same requests, and compares it.

Nothing is written here. A look returns a cursor, and the caller keeps it in the same statement
as what it adds up from the look: whoever dies before that reads and compares the same again.

1. Read both sides from where the cursor stands.
2. Join what is not settled yet by request id and body.
3. What has a partner is compared and settled. What has none waits for it, and after
   `Comparator.patience` is settled alone.
4. The cursor moves to before the first that waits, and names what is settled beyond.
"""

from collections import defaultdict
from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

from apps.analysis.domain import comparing
from apps.analysis.domain.answers import Kept, ServerAnswers
from apps.analysis.domain.comparing import Compared
from apps.analysis.domain.comparison import Comparison, add
from apps.analysis.domain.reached import Reached
from apps.analysis.ports import AnswerLog

Json = dict[str, Any]


@dataclass(frozen=True)
class Looked:
    """What one look brought.

    Attributes:
        cursor: Where the next look goes on, as JSON; to be kept together with the rest.
        compared: Pairs, in the order of stable's answers.
        lost: Answers that are kept no more.
        unmatched_stable: Answers of stable that stay alone.
        unmatched_canary: Answers of the canary that stay alone.
        restarts: Servers that were restarted since the last look.
        problem: Why nothing can be compared, as a sentence; "" when it can.
    """

    cursor: Json
    compared: list[Compared]
    lost: int = 0
    unmatched_stable: int = 0
    unmatched_canary: int = 0
    restarts: int = 0
    problem: str = ""

    def added_to(self, comparison: Comparison) -> Comparison:
        """Return the comparison with this look in it."""
        return add(
            comparison,
            self.compared,
            unmatched_stable=self.unmatched_stable,
            unmatched_canary=self.unmatched_canary,
            lost=self.lost,
            restarts=self.restarts,
            problem=self.problem,
        )


@dataclass(frozen=True)
class Comparator:
    """Compares the answers of a canary with stable's.

    Attributes:
        log: Where answers are kept.
        tolerance: The largest difference of two numbers that counts as equal.
        patience: How long an answer waits for its counterpart; at least as long as a request may
            take, or the slow ones are never compared.
    """

    log: AnswerLog
    tolerance: float = 1e-4
    patience: timedelta = timedelta(seconds=3)

    def look(
        self,
        cursor: Mapping[str, Any],
        *,
        stable_ports: Collection[int],
        canary_ports: Collection[int],
        now: datetime,
        since: datetime | None = None,
    ) -> Looked:
        """Return what has come to be comparable since the look that returned `cursor`.

        Args:
            cursor: The last look's; `{}` at first.
            stable_ports: Where the stable revision's servers listen.
            canary_ports: Where the canary's listen.
            now: What waits is as old as this says.
            since: What was answered before is left out: it is of an earlier trial.

        Raises:
            Transient: A server did not answer.
        """
        start = since.timestamp() if since else 0.0
        stable = _read(self.log, cursor.get("stable", {}), stable_ports, start)
        canary = _read(self.log, cursor.get("canary", {}), canary_ports, start)
        problem = _problem(stable, canary)
        joined = comparing.join(stable.open, canary.open)
        deadline = (now - self.patience).timestamp()
        alone_stable, waiting_stable = _split(joined.unmatched_stable, deadline)
        alone_canary, waiting_canary = _split(joined.unmatched_canary, deadline)
        return Looked(
            cursor={
                "stable": stable.cursor(waiting_stable),
                "canary": canary.cursor(waiting_canary),
            },
            compared=[comparing.compare(pair, tolerance=self.tolerance) for pair in joined.pairs],
            lost=stable.lost + canary.lost,
            # What cannot have a counterpart is not missing one.
            unmatched_stable=0 if problem else len(alone_stable),
            unmatched_canary=0 if problem else len(alone_canary),
            restarts=stable.restarts + canary.restarts,
            problem=problem,
        )


@dataclass(frozen=True)
class _Side:
    """What was read of one revision.

    Attributes:
        servers: By port, what was read.
        reached: By port, from where.
        open: All answers that are not settled.
        silent: Whether a server keeps no answers.
        lost: Answers that are kept no more.
        restarts: Servers that were restarted.
    """

    servers: Mapping[int, ServerAnswers]
    reached: Mapping[int, Reached]
    open: list[Kept]
    silent: bool
    lost: int
    restarts: int

    def cursor(self, waiting: Iterable[Kept]) -> Json:
        """Return where to go on when all but `waiting` is settled."""
        numbers = defaultdict(list)
        for answer in waiting:
            numbers[answer.port].append(answer.sequence)
        return {
            str(port): at.moved(self.servers[port], waiting=numbers[port]).to_json()
            for port, at in self.reached.items()
        }


def _read(log: AnswerLog, cursor: Json, ports: Collection[int], start: float) -> _Side:
    before = {int(port): Reached.from_json(value) for port, value in cursor.items()}
    read = log.read(ports, after={port: before[port].after for port in ports if port in before})
    servers = dict(read.servers)
    restarted = {p for p in servers if p in before and before[p].run != servers[p].run}
    if restarted:  # their numbers are not those that we asked from
        servers |= log.read(restarted, after={}).servers
    reached = {
        p: before[p] if p in before and p not in restarted else Reached(server.run, last=0)
        for p, server in servers.items()
    }
    gone = [at for p, at in before.items() if p in restarted or p not in servers]
    return _Side(
        servers=servers,
        reached=reached,
        open=[
            answer
            for port, server in servers.items()
            for answer in server.answers
            if answer.at >= start and reached[port].opens(answer.sequence)
        ],
        silent=bool(read.silent),
        lost=sum(len(at.waiting) for at in gone)
        # What is gone at the first look was there before anybody wanted to compare it.
        + sum(at.missing(servers[port]) for port, at in reached.items() if port in before),
        restarts=len(restarted),
    )


def _split(answers: Iterable[Kept], deadline: float) -> tuple[list[Kept], list[Kept]]:
    """Return those that stay alone, and those that may still find a counterpart."""
    alone: list[Kept] = []
    waiting: list[Kept] = []
    for answer in answers:
        (waiting if answer.at > deadline else alone).append(answer)
    return alone, waiting


def _problem(stable: _Side, canary: _Side) -> str:
    silent = [side for side, read in (("Stable", stable), ("The canary", canary)) if read.silent]
    if not silent:
        return ""
    who = "Neither side's server keeps" if len(silent) > 1 else f"{silent[0]}'s server keeps no"
    return (
        f"{who} answers, so they cannot be compared: Modelyard's own servers do, Triton does not."
    )
