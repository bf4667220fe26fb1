"""The plan: what happens step by step once a release is authorized, and when it may begin."""

from dataclasses import dataclass

from apps.releases.domain.states import ReleaseState
from apps.releases.web.seen import Seen
from apps.rollouts.domain import document, words
from apps.rollouts.domain.strategy import Strategy, StrategyKind
from apps.rollouts.domain.words import StepLine


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
    steps: list[StepLine]
    window: str
    frozen: bool


def plan(seen: Seen) -> Plan:
    """Return the plan of the release's strategy."""
    strategy = document.parse(seen.row.strategy)
    return Plan(
        sentence=words.sentence(strategy),
        steps=[
            *_before_traffic(seen, strategy),
            *words.step_lines(strategy, has_stable=seen.live is not None),
            *_after(seen),
        ],
        window=_window(seen),
        frozen=seen.waiting and not seen.standing.opening.open,
    )


def _before_traffic(seen: Seen, strategy: Strategy) -> list[StepLine]:
    """Return what every strategy does before the first request."""
    stays = (
        f"v{seen.live.version.number} keeps all traffic" if seen.live else "nothing answers yet"
    )
    replicas = seen.row.replicas
    count = "one replica" if replicas == 1 else f"{replicas} replicas"
    room = f"Room for {count} is found"
    if seen.live is not None and strategy.kind is not StrategyKind.RECREATE:
        more = "one more replica" if replicas == 1 else f"{replicas} more replicas"
        room = f"Room for {more} is found, beside v{seen.live.version.number}"
    return [
        StepLine(room, "they fit" if replicas > 1 else "it fits", f"it waits; {stays}"),
        StepLine(
            f"{count.capitalize()} start", "every one is ready", f"the rollout ends; {stays}"
        ),
        StepLine("Each is warmed with requests", "it has answered", f"the rollout ends; {stays}"),
        StepLine(
            "Golden requests go to each",
            "every answer is the expected one, and the digest is the one that was authorized",
            f"the rollout ends; {stays}",
        ),
    ]


def _after(seen: Seen) -> list[StepLine]:
    alias, number = seen.row.environment.alias, seen.row.version.number
    if not alias:
        return []
    return [StepLine(f"{alias} moves to v{number}", "it has moved, also in MLflow",
                     "it is tried again")]  # fmt: skip


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
