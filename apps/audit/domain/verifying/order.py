"""The order of the events in an export: which are missing, put in, or stand elsewhere."""

from apps.audit.domain import chain
from apps.audit.domain.verifying.findings import File, Finding, Findings, Kind


class Order:
    """How far the chain was followed, and which positions did not come.

    Attributes:
        last: What the next line must follow; its hash is "" when that is not known. None before
            anything was read.
        first: The first position that was read.
        ahead: A line that came too early, and where it stands; see `goes_on`.
    """

    def __init__(self, findings: Findings) -> None:
        self._findings = findings
        self.last: chain.Link | None = None
        self.first: int | None = None
        self.ahead: tuple[chain.Link, int] | None = None
        self._moved: set[int] = set()
        self._missing: list[tuple[int, int, str, int]] = []  # from, to, file, line

    @property
    def expected(self) -> int:
        """Return the position that must come next."""
        return self.last.position + 1 if self.last else self.first or 1

    @property
    def whole(self) -> bool:
        """Return whether no position is missing so far."""
        return not self._missing

    def missing(self) -> list[Finding]:
        """Return what is missing."""
        return [_removed(*gap) for gap in self._missing]

    def begin(self, first: int) -> None:
        """Wait for the position that the export says it begins with."""
        self.last = chain.START if first <= 1 else chain.Link(first - 1, "", "")

    def goes_on(self, file: File, link: chain.Link) -> bool:
        """Return whether the chain goes on from this line, and note what is wrong with it.

        A line that comes too early waits for the next one: when that follows it, the lines
        between are missing; when not, this one was moved here.
        """
        if self.ahead and link.position == self.ahead[0].position + 1:
            self.settle(file)
        elif self.ahead:
            self._moved_ahead(file)
        expected = self.expected
        if link.position < expected:
            self._out_of_place(file, link.position, expected)
            return False
        if link.position > expected and self.last is not None and not file.selective:
            self.ahead = (link, file.line)
            return False
        if link.position == expected or self.last is None:
            self._follow(file, link)
        return True

    def follow(self, link: chain.Link) -> None:
        """Go on from `link`, an event that was read."""
        self.last = link
        self.first = self.first or link.position

    def settle(self, file: File) -> None:
        """Go on from the line that came too early: those before it are missing."""
        if self.ahead:
            link, line = self.ahead
            self.ahead = None
            self._gap(self.expected, link.position - 1, file, line)
            self.last = link

    def settle_before(self, file: File, position: int) -> None:
        """Settle at a checkpoint of `position`: a waiting line from behind it was moved here."""
        if self.ahead and position < self.ahead[0].position:
            self._moved_ahead(file)
        self.settle(file)

    def step_over(self, file: File) -> None:
        """Go on behind a line that cannot be read; its hash is not known."""
        self.settle(file)
        self.last = chain.Link(self.expected, "", "")

    def lacks(self, file: File, through: int) -> None:
        """Note that the positions after the last one, through `through`, are missing."""
        here = self.last.position if self.last else 0
        self._gap(here + 1, through, file, file.line)

    def _moved_ahead(self, file: File) -> None:
        if self.ahead:
            link, line = self.ahead
            self.ahead = None
            self._moved.add(link.position)
            sentence = f"An event that says it is #{link.position:,} stands before its time."
            self._findings.add_at(file, line, Kind.MOVED, link.position, sentence)

    def _gap(self, first: int, last: int, file: File, line: int) -> None:
        """Note that positions are missing, but for those that stand elsewhere."""
        for position in sorted(p for p in self._moved if first <= p <= last):
            if first < position:
                self._missing.append((first, position - 1, file.name, line))
            first = position + 1
        if first <= last:
            self._missing.append((first, last, file.name, line))

    def _follow(self, file: File, link: chain.Link) -> None:
        """Check that the line carries the hash of the one before."""
        if self.last is None and link.position > 1:
            return
        before = self.last or chain.START
        if before.hash and link.previous != before.hash:
            self._findings.add(
                file,
                Kind.EDITED,
                before.position or link.position,
                f"The event at #{link.position:,} was sealed after another one than the "
                f"#{before.position:,} that stands here.",
            )

    def _out_of_place(self, file: File, position: int, expected: int) -> None:
        for k, (first, last, name, line) in enumerate(self._missing):
            if first <= position <= last:
                rest = [(first, position - 1, name, line), (position + 1, last, name, line)]
                self._missing[k : k + 1] = [gap for gap in rest if gap[0] <= gap[1]]
                self._findings.add(
                    file,
                    Kind.MOVED,
                    position,
                    f"The event at #{position:,} stands after #{expected - 1:,}.",
                )
                return
        self._findings.add(
            file,
            Kind.INSERTED,
            position,
            f"An event that says it is #{position:,} stands after #{expected - 1:,}.",
        )


def _removed(first: int, last: int, name: str, line: int) -> Finding:
    what = f"#{first:,} is" if first == last else f"#{first:,} to #{last:,} are"
    return Finding(Kind.REMOVED, first, name, line, f"{what} missing.")
