"""The way back: what answers again if this release goes wrong, and how."""

from dataclasses import dataclass

from apps.releases import selectors
from apps.releases.domain.states import ReleaseState
from apps.releases.models import Release
from apps.releases.web.seen import Seen


@dataclass(frozen=True)
class Back:
    """The panel.

    Attributes:
        state: Whose lamp is lit.
        word: The state in a word.
        sentences: What one goes back to, and how.
        verb: The button.
        target: The release that one goes back to; None for nothing.
    """

    state: str
    word: str
    sentences: list[str]
    verb: str
    target: Release | None


def back(seen: Seen) -> Back:
    """Return the way back."""
    if seen.state is ReleaseState.LIVE:
        return _from_live(seen)
    if seen.ended:
        return Back("unknown", "Over", ["This release moves no traffic any more."], "", None)
    return _before(seen)


def _from_live(seen: Seen) -> Back:
    ways = selectors.ways_back(seen.row, limit=1)
    if not ways:
        first = "Nothing approved was live here before, so there is no release to go back to."
        return Back(
            "unknown", "No way back", [first, "The endpoint's page can retire it."], "", None
        )
    target = ways[0]
    number = target.version.number
    return Back(
        "ready",
        "Clear",
        [
            f"R-{target.number} (v{number}) was live before, and was approved then.",
            "Going back needs nobody's approval and waits for no freeze. Its replicas start, "
            "answer golden requests, and then take all traffic; until then this version answers.",
        ],
        f"Roll back to v{number}",
        target,
    )


def _before(seen: Seen) -> Back:
    if seen.live is None:
        first = "Nothing is live there yet. If it fails before it answers, nothing has changed."
        return Back("unknown", "The first", [first], "", None)
    number = seen.live.version.number
    return Back(
        "ready",
        "Clear",
        [
            f"Revision {seen.live.number} (v{number}) answers until the new replicas have "
            "answered golden requests: a rollout that fails changes nothing.",
            f"Afterwards one button goes back to v{number}, without approval.",
        ],
        "",
        None,
    )
