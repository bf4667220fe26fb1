"""A strategy's document: what a row keeps, a person edits and an approval signs. Pure.

Everything that matters later is written out, defaults too: what was approved must mean the same
when a default changes.
"""

from collections.abc import Mapping
from datetime import timedelta
from typing import Any

from apps.analysis.domain import spec
from apps.analysis.domain.values import Metric
from apps.endpoints.domain.values import WHOLE, Sticky, StickyBy
from apps.rollouts.domain.reading import Reader
from apps.rollouts.domain.strategy import (
    DEFAULT,
    HOUR,
    MINUTE,
    USUAL_KEEP_WARM,
    Limits,
    OnDeadline,
    Rung,
    Strategy,
    StrategyKind,
    Trying,
)
from controlplane.kernel.errors import Invalid

K = StrategyKind
DAY = timedelta(days=1)
KEEP_WARM = {K.BLUE_GREEN: HOUR, K.RECREATE: timedelta(0)}
LADDER = (5, 10, 25, 50)
MOST_STEPS = 30
MOST_SEGMENTS = 20
USUAL_REWARD = {
    "source": "feedback",
    "kind": "rate",
    "better": "higher",
    "margin": {"relative": 0.05},
}


def parse(document: Mapping[str, Any] | None) -> Strategy:
    """Return the strategy that `document` says; none says all at once.

    Raises:
        Invalid: Something in it makes no sense; `field` says where.
    """
    if not document:
        return DEFAULT
    known = ", ".join(StrategyKind)
    kind = document.get("kind")
    if kind not in list(StrategyKind):
        raise Invalid(
            f"There is no strategy {kind!r}.",
            remedy=f"Choose one of: {known}.",
            field="strategy.kind",
            code="rollout.unknown_strategy",
        )
    reader = Reader(document)
    reader.has("kind")
    strategy = READERS[StrategyKind(kind)](reader)
    reader.done()
    return strategy


def as_document(strategy: Strategy) -> dict[str, Any]:
    """Return what a row keeps, and what an approval signs; `parse` reads it."""
    return (
        {"kind": str(strategy.kind)}
        | WRITERS[strategy.kind](strategy)
        | _common_document(strategy)
    )


def _common(reader: Reader, kind: StrategyKind) -> dict[str, Any]:
    """Read what every strategy has."""
    return {
        "kind": kind,
        "keep_warm": reader.seconds("keep_warm_seconds", KEEP_WARM.get(kind, USUAL_KEEP_WARM)),
    }


def _judging(reader: Reader, kind: StrategyKind) -> dict[str, Any]:
    """Read what every strategy has that is judged."""
    limits = reader.inner("limits")
    found = {
        "on_deadline": OnDeadline(reader.choice("on_deadline", list(OnDeadline), OnDeadline.ASK)),
        "metrics": _metrics(reader.raw("metrics")),
        "limits": Limits(
            errors=limits.integer("errors", 10, least=1, most=100_000),
            restarts=limits.integer("restarts", 2, least=1, most=100),
        ),
        "alpha": reader.number("alpha", 0.05, least=0.001, most=0.2),
    }
    limits.done()
    return _common(reader, kind) | found


def _all_at_once(reader: Reader) -> Strategy:
    return Strategy(**_common(reader, K.ALL_AT_ONCE))


def _recreate(reader: Reader) -> Strategy:
    return Strategy(**_common(reader, K.RECREATE))


def _blue_green(reader: Reader) -> Strategy:
    return Strategy(
        **_common(reader, K.BLUE_GREEN),
        hold=reader.seconds("preview_seconds", MINUTE),
        ask=reader.truth("ask", False),
    )


def _canary(reader: Reader) -> Strategy:
    rungs = tuple(_rung(item) for item in reader.items("steps")) or tuple(
        Rung(weight, 2 * MINUTE) for weight in LADDER
    )
    _check_ladder(reader, rungs)
    return Strategy(**_judging(reader, K.CANARY), rungs=_below_whole(rungs))


def _rung(item: Reader) -> Rung:
    rung = Rung(
        weight=item.percent("weight"),
        hold=item.seconds("hold_seconds", 2 * MINUTE),
        judge=item.truth("judge", True),
        ask=item.truth("ask", False),
        deadline=item.seconds("deadline_seconds", HOUR),
    )
    item.done()
    return rung


def _check_ladder(reader: Reader, rungs: tuple[Rung, ...]) -> None:
    weights = [rung.weight for rung in rungs]
    if len(rungs) > MOST_STEPS:
        raise reader.wrong("steps", f"has {len(rungs)} steps; at most {MOST_STEPS} are allowed.")
    if weights != sorted(set(weights)):
        raise reader.wrong("steps", f"has the weights {weights}; each is larger than the last.")


def _below_whole(rungs: tuple[Rung, ...]) -> tuple[Rung, ...]:
    """Leave out the last rung, at 100 %: that one is the promotion itself."""
    return tuple(rung for rung in rungs if rung.weight < WHOLE)


def _linear(reader: Reader) -> Strategy:
    by = reader.percent("by", 20)
    hold = reader.seconds("hold_seconds", 2 * MINUTE)
    deadline = reader.seconds("deadline_seconds", HOUR)
    judge = reader.truth("judge", True)
    weights = range(by, WHOLE, by)
    if len(weights) > MOST_STEPS:
        raise reader.wrong("by", f"is {by}, which makes {len(weights)} steps; write a larger one.")
    rungs = tuple(Rung(weight, hold, judge, deadline=deadline) for weight in weights)
    return Strategy(**_judging(reader, K.LINEAR), rungs=rungs)


def _shadow(reader: Reader) -> Strategy:
    rungs = tuple(_rung(item) for item in reader.items("then"))
    _check_ladder(reader, rungs)
    return Strategy(
        **_judging(reader, K.SHADOW),
        mirror=reader.percent("mirror", WHOLE),
        hold=reader.seconds("hold_seconds", 10 * MINUTE),
        deadline=reader.seconds("deadline_seconds", DAY),
        ask=reader.truth("ask", not rungs),
        rungs=_below_whole(rungs),
    )


def _ab(reader: Reader) -> Strategy:
    metric = _reward(reader)
    return Strategy(
        **_judging(reader, K.AB),
        weight=reader.integer("weight", 50, least=1, most=99),
        sticky=_sticky(reader, needed=True),
        trying=Trying(
            metric=metric,
            hypothesis=reader.text("hypothesis", "", longest=500),
            least_effect=reader.number("least_effect", 0.0, least=0, most=1e9),
            horizon=reader.seconds("horizon_seconds", 7 * DAY, least=1),
        ),
    )


def _bandit(reader: Reader) -> Strategy:
    metric = _reward(reader)
    floor = reader.integer("floor", 5, least=1, most=50)
    ceiling = reader.integer("ceiling", WHOLE - floor, least=50, most=99)
    return Strategy(
        **_judging(reader, K.BANDIT),
        weight=reader.integer("weight", 50, least=floor, most=ceiling),
        sticky=_sticky(reader, needed=False),
        trying=Trying(
            metric=metric,
            every=reader.seconds("every_seconds", MINUTE, least=1),
            horizon=reader.seconds("horizon_seconds", 7 * DAY, least=1),
            floor=floor,
            ceiling=ceiling,
            **_segments(reader),
        ),
    )


def _reward(reader: Reader) -> Metric:
    """Read the one metric that an experiment or a bandit is about; callers send it."""
    if not reader.has("metric"):
        raise reader.wrong("metric", "is missing; name what callers send as feedback.")
    told = dict(reader.inner("metric").document)
    return _metrics([{**USUAL_REWARD, **told}])[0]


def _metrics(told: Any) -> tuple[Metric, ...]:
    """Read metrics; none are what the model's objective suggests."""
    if told in (None, []):
        return ()
    try:
        return spec.parse_metrics(told)
    except Invalid as error:
        raise Invalid(
            error.sentence, remedy=error.remedy, field=f"strategy.{error.field}", code=error.code
        ) from error


def _sticky(reader: Reader, *, needed: bool) -> Sticky | None:
    if not reader.has("sticky"):
        if needed:
            raise reader.wrong(
                "sticky",
                'is missing; say what tells callers apart: {"by": "header", "name": "x-user-id"}.',
            )
        return None
    inner = reader.inner("sticky")
    found = Sticky(
        by=StickyBy(inner.choice("by", list(StickyBy), StickyBy.HEADER)),
        name=inner.text("name", longest=80).lower(),
    )
    inner.done()
    if not found.name:
        raise inner.wrong("name", "is empty; it is the name of a header or a cookie.")
    return found


def _segments(reader: Reader) -> dict[str, Any]:
    if not reader.has("segments"):
        return {}
    inner = reader.inner("segments")
    header, values = inner.text("header", longest=80).lower(), inner.raw("values")
    inner.done()
    texts = isinstance(values, list) and all(isinstance(v, str) and v for v in values)
    if not texts or not 1 <= len(set(values)) <= MOST_SEGMENTS:
        raise inner.wrong(
            "values", f"is {values!r:.80}; it is a list of 1 to {MOST_SEGMENTS} texts."
        )
    return {"header": header, "values": tuple(dict.fromkeys(values))}


def _common_document(strategy: Strategy) -> dict[str, Any]:
    return {"keep_warm_seconds": strategy.keep_warm.total_seconds()}


def _judging_document(strategy: Strategy) -> dict[str, Any]:
    return {
        "on_deadline": str(strategy.on_deadline),
        "metrics": spec.as_document(strategy.metrics),
        "limits": {"errors": strategy.limits.errors, "restarts": strategy.limits.restarts},
        "alpha": strategy.alpha,
    }


def _nothing_more(strategy: Strategy) -> dict[str, Any]:
    return {}


def _blue_green_document(strategy: Strategy) -> dict[str, Any]:
    return {"preview_seconds": strategy.hold.total_seconds(), "ask": strategy.ask}


def _canary_document(strategy: Strategy) -> dict[str, Any]:
    return {"steps": _rungs_document(strategy)} | _judging_document(strategy)


def _rungs_document(strategy: Strategy) -> list[dict[str, Any]]:
    return [
        {
            "weight": rung.weight,
            "hold_seconds": rung.hold.total_seconds(),
            "judge": rung.judge,
            "ask": rung.ask,
            "deadline_seconds": rung.deadline.total_seconds(),
        }
        for rung in strategy.rungs
    ]


def _linear_document(strategy: Strategy) -> dict[str, Any]:
    first = strategy.rungs[0] if strategy.rungs else Rung(WHOLE, timedelta(0))
    return {
        "by": first.weight,
        "hold_seconds": first.hold.total_seconds(),
        "judge": first.judge,
        "deadline_seconds": first.deadline.total_seconds(),
    } | _judging_document(strategy)


def _shadow_document(strategy: Strategy) -> dict[str, Any]:
    return {
        "mirror": strategy.mirror,
        "hold_seconds": strategy.hold.total_seconds(),
        "deadline_seconds": strategy.deadline.total_seconds(),
        "ask": strategy.ask,
        "then": _rungs_document(strategy),
    } | _judging_document(strategy)


def _trying_document(strategy: Strategy, trying: Trying) -> dict[str, Any]:
    sticky = strategy.sticky
    return {
        "metric": spec.as_document((trying.metric,))[0],
        "weight": strategy.weight,
        "horizon_seconds": trying.horizon.total_seconds(),
        **({"sticky": {"by": str(sticky.by), "name": sticky.name}} if sticky else {}),
    } | _judging_document(strategy)


def _ab_document(strategy: Strategy) -> dict[str, Any]:
    trying = _needed(strategy)
    return _trying_document(strategy, trying) | {
        "hypothesis": trying.hypothesis,
        "least_effect": trying.least_effect,
    }


def _bandit_document(strategy: Strategy) -> dict[str, Any]:
    trying = _needed(strategy)
    segments = {"header": trying.header, "values": list(trying.values)}
    return _trying_document(strategy, trying) | {
        "every_seconds": trying.every.total_seconds(),
        "floor": trying.floor,
        "ceiling": trying.ceiling,
        **({"segments": segments} if trying.header else {}),
    }


def _needed(strategy: Strategy) -> Trying:
    if strategy.trying is None:
        raise ValueError(f"a strategy of kind {strategy.kind} learns from something")
    return strategy.trying


READERS = {
    K.ALL_AT_ONCE: _all_at_once,
    K.CANARY: _canary,
    K.LINEAR: _linear,
    K.BLUE_GREEN: _blue_green,
    K.SHADOW: _shadow,
    K.AB: _ab,
    K.BANDIT: _bandit,
    K.RECREATE: _recreate,
}
WRITERS = {
    K.ALL_AT_ONCE: _nothing_more,
    K.CANARY: _canary_document,
    K.LINEAR: _linear_document,
    K.BLUE_GREEN: _blue_green_document,
    K.SHADOW: _shadow_document,
    K.AB: _ab_document,
    K.BANDIT: _bandit_document,
    K.RECREATE: _nothing_more,
}
