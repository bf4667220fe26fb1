"""The plan: what happens step by step once a release is authorized, and when it may begin."""

from dataclasses import dataclass

from apps.releases.domain.states import ReleaseState
from apps.releases.web.seen import Seen


@dataclass(frozen=True)
class Step:
    """One step of the rollout.

    Attributes:
        what: What is done.
        goes_on: When the next one begins.
        otherwise: What happens when it does not.
    """

    what: str
    goes_on: str
    otherwise: str


@dataclass(frozen=True)
class Plan:
    """The section of the page.

    Attributes:
        sentence: The strategy in a sentence.
        steps: In order.
        window: When it may begin.
        frozen: Whether it may not begin now.
    """

    sentence: str
    steps: list[Step]
    window: str
    frozen: bool


def plan(seen: Seen) -> Plan:
    """Return the plan. There is one strategy: all at once."""
    return Plan(
        sentence="All at once, after it has proven that it answers. Nothing is taken away before.",
        steps=_all_at_once(seen),
        window=_window(seen),
        frozen=seen.waiting and not seen.standing.opening.open,
    )


def _all_at_once(seen: Seen) -> list[Step]:
    row = seen.row
    stays = (
        f"v{seen.live.version.number} keeps all traffic" if seen.live else "nothing answers yet"
    )
    count = "one replica" if row.replicas == 1 else f"{row.replicas} replicas"
    alias = row.environment.alias
    last = [
        Step(
            f"{alias} moves to v{row.version.number}",
            "it has moved, also in MLflow",
            "it is tried again",
        )
    ]
    return [
        Step(f"Room for {count} is found", "they fit", f"it waits; {stays}"),
        Step(f"{count.capitalize()} start", "every one is ready", f"the rollout ends; {stays}"),
        Step("Each is warmed with requests", "it has answered", f"the rollout ends; {stays}"),
        Step(
            "Golden requests go to each",
            "every answer is the expected one, and the digest is the one that was authorized",
            f"the rollout ends; {stays}",
        ),
        Step("All traffic moves", "the proxy says so", "it moves back"),
        *(last if alias else []),
    ]


def _window(seen: Seen) -> str:
    if seen.state in (ReleaseState.ROLLING_OUT, ReleaseState.LIVE) or seen.ended:
        return ""
    if seen.row.emergency_by or seen.row.returns_to_id is not None:
        return "It waits for no window and no freeze."
    opening = seen.standing.opening
    if opening.open:
        until = f" until {opening.until:%-d %b, %H:%M}" if opening.until else ""
        return f"Rollouts may start{until}."
    when = f" It opens {opening.next_opening:%-d %b, %H:%M}." if opening.next_opening else ""
    return f"{opening.reason}{when}"
