"""Strategies and their steps, in sentences for a person. Pure.

Pages, the command line and messages take their words from here, so that a strategy is called the
same wherever it is read.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import timedelta
from itertools import pairwise

from apps.endpoints.domain.values import WHOLE, Sticky, Trial
from apps.rollouts.domain.steps import Allocation, Step, Until, compile_steps, least_time
from apps.rollouts.domain.strategy import OnDeadline, Rung, Strategy, StrategyKind, Trying
from controlplane.kernel.figures import THIN, spoken

K = StrategyKind
MOST_WEIGHTS = 6  # of a ladder, that a sentence names one by one
BACK = "everything goes back to what was live"


@dataclass(frozen=True)
class StepLine:
    """One step, as a table of a plan tells it.

    Attributes:
        what: What is done.
        goes_on: When the next one begins.
        otherwise: What happens when it does not.
    """

    what: str
    goes_on: str
    otherwise: str


def sentence(strategy: Strategy) -> str:
    """Return a strategy in a sentence: what happens, and how long it takes at least."""
    match strategy.kind:
        case K.ALL_AT_ONCE:
            return "All at once, as soon as its golden requests are answered."
        case K.RECREATE:
            return "What is live stops first, then this starts; nobody answers in between."
        case K.CANARY | K.LINEAR:
            return _ladder(strategy)
        case K.BLUE_GREEN:
            return _preview(strategy)
        case K.SHADOW:
            return _shadow(strategy)
        case K.AB:
            return _experiment(strategy)
        case K.BANDIT:
            return _bandit(strategy)


def step_lines(strategy: Strategy, has_stable: bool = True) -> list[StepLine]:
    """Return what happens step by step, from the first request to all of them.

    Args:
        strategy: The strategy.
        has_stable: Whether anything is live that it takes over from.
    """
    steps = compile_steps(strategy, has_stable=has_stable)
    lines = [
        StepLine(step_what(strategy, step), _goes_on(strategy, step), _otherwise(strategy, step))
        for step in steps
    ]
    return [*lines, _last(strategy, has_stable)]


def least_time_words(strategy: Strategy) -> str:
    """Return how long the steps take at least: "8 min"; "" where no step is held."""
    return length(least_time(compile_steps(strategy)))


def step_what(strategy: Strategy, step: Step) -> str:
    """Return what a step does, in a clause that begins with a capital."""
    if step.mirror:
        return f"{percent(step.mirror)} of requests are copied to it; nobody gets its answers"
    if step.preview:
        return "It answers at the preview address only"
    if step.until is Until.LEARNT and strategy.trying is not None:
        low, high = strategy.trying.floor, strategy.trying.ceiling
        return f"It gets between {low} and {percent(high)} of requests, as it earns them"
    told = _told_apart(strategy.sticky) if step.until is Until.EXPERIMENT else ""
    return f"{percent(step.weight)} of requests go to it{told}"


def percent(weight: int) -> str:
    """Return a share of requests: "25 %"."""
    return f"{weight}{THIN}%"


def shared_out(split: Allocation) -> str:
    """Return what the canary is given: "62 % of requests", or what of each segment."""
    rest, segments = percent(split.weight), split.segments
    if set(segments.values()) <= {split.weight}:
        return f"{rest} of requests"
    if len(segments) > MOST_WEIGHTS:
        return f"{rest} of the rest and other shares of {len(segments)} segments"
    return _and([
        *(f"{percent(weight)} of “{value}”" for value, weight in segments.items()),
        f"{rest} of the rest",
    ])  # fmt: skip


def in_force(weight: int, trial: Trial | None) -> str:
    """Return what the canary is given, as the proxy was last seen to do it."""
    segments = {each.value: each.weight for each in trial.segments} if trial else {}
    return shared_out(Allocation(weight, segments))


def length(time: timedelta) -> str:
    """Return a length of time as somebody would say it: "45 s", "8 min"; "" for none."""
    return spoken(time.total_seconds()) if time else ""


def _ladder(strategy: Strategy) -> str:
    rungs = strategy.rungs
    if not rungs:
        return "All at once, as soon as its golden requests are answered."
    if len(rungs) == 1:
        return _sentence(weights_words(rungs), _conditions(rungs))
    each = f"each {_conditions(rungs)}".removesuffix("each ")
    return _sentence(weights_words(rungs), each, _takes(strategy))


def weights_words(rungs: Sequence[Rung]) -> str:
    """Return the weights of a ladder: "5, 10, 25, 50, then 100 %"."""
    weights = [rung.weight for rung in rungs]
    if len(weights) <= MOST_WEIGHTS:
        return f"{', '.join(map(str, weights))}, then {percent(WHOLE)}"
    gaps = {after - before for before, after in pairwise(weights)}
    by = f" by {gaps.pop()}" if len(gaps) == 1 else f" in {len(weights)} steps"
    return f"{weights[0]} to {weights[-1]}{THIN}%{by}, then {percent(WHOLE)}"


def _conditions(rungs: Sequence[Rung]) -> str:
    """Return what each rung waits for."""
    return _and([_hold([rung.hold for rung in rungs]), _judged(rungs), _asked(rungs)])


def _hold(holds: Sequence[timedelta]) -> str:
    shortest, longest = min(holds), max(holds)
    if shortest == longest:
        return f"at least {length(shortest)}" if shortest else ""
    return f"{length(shortest) or 'no time'} to {length(longest)} at least"


def _judged(rungs: Sequence[Rung]) -> str:
    judged = [rung.judge for rung in rungs]
    if all(judged):
        return "judged not worse"
    return f"judged not worse at {_some(rungs, judged)}" if any(judged) else ""


def _asked(rungs: Sequence[Rung]) -> str:
    asked = [rung.ask for rung in rungs]
    if all(asked):
        return "confirmed by a person"
    return f"confirmed by a person at {_some(rungs, asked)}" if any(asked) else ""


def _some(rungs: Sequence[Rung], chosen: Sequence[bool]) -> str:
    weights = [str(rung.weight) for rung, yes in zip(rungs, chosen, strict=True) if yes]
    return f"{_and(weights)}{THIN}%"


def _preview(strategy: Strategy) -> str:
    held = f" for at least {length(strategy.hold)}" if strategy.hold else ""
    asked = "then a person decides" if strategy.ask else ""
    return _sentence(f"At the preview address{held}", asked, "then all requests at once")


def _shadow(strategy: Strategy) -> str:
    held = f" for at least {length(strategy.hold)}" if strategy.hold else ""
    copied = f"Copies of {percent(strategy.mirror)} of requests{held}, judged not worse"
    asked = "then a person decides" if strategy.ask else ""
    rungs = strategy.rungs
    if not rungs:
        return _sentence(copied, asked, f"then {percent(WHOLE)}")
    after = f"then {weights_words(rungs)}, each {_conditions(rungs)}".removesuffix(", each ")
    return _sentence(copied, asked, after, _takes(strategy))


def _experiment(strategy: Strategy) -> str:
    if strategy.trying is None:
        return ""
    told = _told_apart(strategy.sticky)
    return _sentence(
        f"{percent(strategy.weight)} of requests{told}, until it is proven better by "
        f"{_metric(strategy.trying)}",
        f"{_at_the_horizon(strategy)} after {length(strategy.trying.horizon)} without an answer",
    )


def _bandit(strategy: Strategy) -> str:
    trying = strategy.trying
    if trying is None:
        return ""
    each = f", each value of {trying.header} by itself" if trying.header else ""
    return _sentence(
        f"{percent(strategy.weight)} of requests at first, then whatever "
        f"{_metric(trying)} earns it, between {trying.floor} and {percent(trying.ceiling)}{each}",
        f"{_at_the_horizon(strategy)} after {length(trying.horizon)} without a winner",
    )


def _metric(trying: Trying) -> str:
    return f"“{trying.metric.title}”"


def _at_the_horizon(strategy: Strategy) -> str:
    goes_back = strategy.on_deadline is OnDeadline.ABORT
    return "it goes back" if goes_back else "a person is asked"


def _told_apart(sticky: Sticky | None) -> str:
    return f", the same callers each time by their {sticky.by} {sticky.name}" if sticky else ""


def _takes(strategy: Strategy) -> str:
    took = least_time_words(strategy)
    return f"takes at least {took}" if took else ""


def _goes_on(strategy: Strategy, step: Step) -> str:
    """Return what a step waits for."""
    if step.until is Until.EXPERIMENT and strategy.trying is not None:
        return f"it is proven better by {_metric(strategy.trying)}"
    if step.until is Until.LEARNT and strategy.trying is not None:
        return f"it has won by {_metric(strategy.trying)}"
    held = f"it was held for {length(step.hold)}" if step.hold else ""
    judged = "it is judged not worse" if step.until is Until.JUDGED else ""
    asked = "a person has said so" if step.ask else ""
    return _and([held, judged, asked]) or "it is seen in force"


def _otherwise(strategy: Strategy, step: Step) -> str:
    """Return what happens when a step's wait is not over in time, or is answered with no."""
    if step.until is Until.HELD:
        fails = f"when it fails, {BACK}"
        return f"it waits for a person; {fails}" if step.ask else fails
    late = f"after {length(step.deadline)}" if step.deadline else ""
    asked = "it goes back" if strategy.on_deadline is OnDeadline.ABORT else "a person is asked"
    proven = "not better" if step.until is not Until.JUDGED else "worse"
    return f"proven {proven}, {BACK}" + (f"; {asked} {late} without an answer" if late else "")


def _last(strategy: Strategy, has_stable: bool) -> StepLine:
    warm = length(strategy.keep_warm) if has_stable else ""
    if strategy.kind is K.RECREATE and has_stable:
        what = "What is live stops, this starts in its room, and all requests go to it"
    else:
        what = f"{percent(WHOLE)} of requests go to it"
    stays = f"; what was live stays warm for {warm}" if warm else ""
    return StepLine(what + stays, "the proxy says so", BACK if has_stable else "nobody answers")


def _and(parts: Sequence[str]) -> str:
    said = [part for part in parts if part]
    return f"{', '.join(said[:-1])} and {said[-1]}" if len(said) > 1 else "".join(said)


def _sentence(*clauses: str) -> str:
    return "; ".join(clause for clause in clauses if clause) + "."
