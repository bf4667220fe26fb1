"""Canaries by the thousand: our judge and policy, and the rules of others, on the same streams.

1. Draw the traffic of many hours for each scenario.
2. Run every rule over the same hours, and ours as `bench.canary.lanes` has it.
3. For some hours run the judge and `decide` themselves, and stop if anything differs.
4. Run whole rollouts over the usual steps with nothing but the real parts.
5. Write bench/results/canary.json, and the tables and the drawing of docs/judge.md.
"""

import json
import os
import time
from collections.abc import Mapping
from concurrent.futures import ProcessPoolExecutor
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from statistics import median
from typing import Any

import numpy as np
from numpy.typing import NDArray

from apps.analysis.domain import calibration, spec
from apps.analysis.domain.judge import Plan
from apps.analysis.domain.limits import Limits
from bench.canary import lanes, report, rules, scenarios
from bench.canary.ladder import climb
from bench.canary.traffic import FAILING, LOOKS, THRESHOLD_MS, Scenario, draw
from bench.results import FOLDER
from controlplane.cli.output import note

RUNS = 2_000
CHECKED = 3  # hours of each scenario that the real parts walk through
CALIBRATED = 12  # hours of an A/A run
SEED = 20261128
PLAN = Plan(spec.defaults(THRESHOLD_MS))
LIMITS = Limits()
DOCS = Path(__file__).parent.parent.parent / "docs"
OURS = "modelyard"
ALL: Mapping[tuple[str, str], Scenario] = {
    (kind, key): scenario
    for kind, named in (
        ("healthy", scenarios.HEALTHY),
        ("found", scenarios.REGRESSIONS),
        ("robust", scenarios.UNHEALTHY_LOOKING),
    )
    for key, scenario in named.items()
}


def main() -> None:
    """Measure and write bench/results/canary.json and docs/judge.md."""
    began = time.monotonic()
    with ProcessPoolExecutor(os.cpu_count()) as pool:
        climbed = pool.map(_climbed, *zip(*enumerate(scenarios.LADDER), strict=True))
        when = pool.map(_simulated, *zip(*enumerate(ALL), strict=True))
        found = dict(zip(ALL, when, strict=True))
        ladder = list(climbed)
    facts = {
        "date": datetime.now(UTC).strftime("%Y-%m-%d"),
        "runs": RUNS,
        "seconds": round(time.monotonic() - began, 1),
        "stable_percent": FAILING * 100,
        "rules": {name: _rule(name, found) for name in (OURS, *rules.RULES)},
        "ladder": ladder,
    }
    _write(facts, _curves(found))


def _simulated(index: int, name: tuple[str, str]) -> dict[str, NDArray[np.float64]]:
    """Return, by rule, the minute at which each hour is aborted."""
    scenario = ALL[name]
    rng = np.random.default_rng([SEED, index])
    stream = draw(scenario, runs=RUNS, rng=rng)
    when = lanes.aborted(PLAN, LIMITS, stream)
    lanes.check(PLAN, LIMITS, stream, when, runs=CHECKED)
    found = {OURS: when} | {name: rule(stream) for name, rule in rules.RULES.items()}
    if scenario.cv:
        found["calibrated"] = lanes.aborted(_calibrated(scenario, rng), LIMITS, stream)
    return found


def _calibrated(scenario: Scenario, rng: np.random.Generator) -> Plan:
    """Return the plan after an A/A run of the same endpoint."""
    stream = draw(scenario, runs=CALIBRATED, rng=rng)
    looked = [
        {
            name: replace(piece, at=piece.at + timedelta(days=run))
            for name, [piece] in lanes.slices(PLAN, stream, run, look).items()
        }
        for run in range(CALIBRATED)
        for look in range(LOOKS)
    ]
    values = {
        metric.name: calibration.dispersion(look[metric.name] for look in looked).value
        for metric in PLAN.metrics
    }
    return replace(PLAN, dispersion=values)


def _climbed(index: int, name: str) -> dict[str, Any]:
    rng = np.random.default_rng([SEED, 1000 + index])
    ended = [climb(scenarios.LADDER[name], PLAN, LIMITS, rng=rng) for _ in range(RUNS)]
    ways = sorted({ladder.ended or "undecided" for ladder in ended})
    return {
        "name": name,
        "ends": {
            way: sum((ladder.ended or "undecided") == way for ladder in ended) / RUNS
            for way in ways
        },
        "median_min": round(median(ladder.minutes for ladder in ended), 2),
    }


Found = Mapping[tuple[str, str], Mapping[str, NDArray[np.float64]]]


def _rule(name: str, found: Found) -> dict[str, Any]:
    """Return one rule's figures, as others read them."""
    shown: dict[str, Any] = {"healthy_aborted": {}, "found": {}, "robust": {}}
    for (kind, key), by_rule in found.items():
        when = by_rule[name]
        if kind == "healthy":
            shown["healthy_aborted"][key] = _share(when)
        elif kind == "robust":
            shown["robust"][key] = {"aborted": _share(when)}
            if name == OURS and "calibrated" in by_rule:
                shown["robust"][key]["calibrated_aborted"] = _share(by_rule["calibrated"])
        elif not key.startswith(("slow", "refused")) or name == OURS:
            shown["found"][key] = _delays(when, ALL[kind, key].begins or 0.0)
    return shown


def _share(when: NDArray[np.float64]) -> float:
    return round(float(np.isfinite(when).mean()), 4)


def _delays(when: NDArray[np.float64], begins: float) -> dict[str, float | None]:
    """Return the delay of those not aborted before the regression began; None for never."""
    delays = when[when > begins] - begins
    middle, late = (float(np.quantile(delays, q, method="higher")) for q in (0.5, 0.95))
    return {
        "median_min": round(middle, 2) if np.isfinite(middle) else None,
        "p95_min": round(late, 2) if np.isfinite(late) else None,
        "missed": round(float(np.isinf(delays).mean()), 4),
        "aborted_before": round(float((when <= begins).mean()), 4),
    }


def _curves(found: Found) -> dict[str, dict[str, list[float]]]:
    shown = {"healthy": found["healthy", "5"], "worse": found["found", scenarios.KEY]}
    return {
        name: {
            kind: [float((by_rule[name] <= minute).mean()) for minute in range(1, 61)]
            for kind, by_rule in shown.items()
        }
        for name in (OURS, *rules.RULES)
    }


def _write(facts: Mapping[str, Any], curves: Mapping[str, Mapping[str, list[float]]]) -> None:
    FOLDER.mkdir(exist_ok=True)
    path = FOLDER / "canary.json"
    path.write_text(json.dumps(facts, indent=1) + "\n")
    page = DOCS / "judge.md"
    page.write_text(report.put_into(page.read_text(), report.table(facts)))
    (DOCS / "judge.svg").write_text(report.drawing(curves))
    note(f"Wrote {path}, {page} and its drawing.")
