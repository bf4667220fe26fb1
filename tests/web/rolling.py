"""Rollouts in every state, with evidence, traffic and a log, as rows.

For tests of their pages, for looking at full pages, and for their query counts.
"""

import math
import random
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from datetime import datetime, timedelta
from functools import cache
from typing import Any

from apps.analysis.domain import comparison as comparing
from apps.analysis.domain import spec
from apps.analysis.domain.values import Answer, Finding, Metric
from apps.analysis.models import AnalysisRun, Look
from apps.endpoints.domain import trials
from apps.endpoints.models import Endpoint, Revision
from apps.monitoring.domain import histogram, windows
from apps.monitoring.models import FeedbackWindow, TrafficWindow
from apps.rollouts import planning
from apps.rollouts.domain import document
from apps.rollouts.models import Rollout, RolloutEvent
from controlplane.kernel.clock import SystemClock
from tests import factories

LADDER = {
    "kind": "canary",
    "steps": [
        {"weight": 5, "hold_seconds": 600},
        {"weight": 10, "hold_seconds": 600},
        {"weight": 25, "hold_seconds": 1200},
        {"weight": 50, "hold_seconds": 1200},
    ],
    "keep_warm_seconds": 86_400,
}
LABEL = {
    "name": "arrived", "title": "Arrived within the promised hour", "kind": "rate",
    "source": "feedback", "better": "higher", "margin": {"absolute": 0.01},
}  # fmt: skip
CLICKED = {"name": "clicked", "title": "Clicked the offer"}
FITS = {
    "fitting": "fits", "sentence": "It fits: 2 more replicas, with about 620 MB of memory.",
    "remedy": "", "outage": None,
}  # fmt: skip
LACKS = {
    "fitting": "by_recreate",
    "sentence": "Both revisions do not fit at once: 2480 MB of memory are needed and 1310 MB "
                "are free.",
    "remedy": "Free as much, ask for fewer replicas, or propose it with the strategy recreate: "
              "the live revision stops first, and for about 9 s nobody answers.",
    "outage": 9.0,
}  # fmt: skip
WORKER = "worker:rollouts"


@dataclass
class Scene:
    """One rollout with all that its page shows.

    Attributes:
        endpoint: Where it moves traffic.
        stable: What was live.
        candidate: What is to be.
        row: The rollout.
        now: The moment that it is told from.
    """

    endpoint: Endpoint
    stable: Revision | None
    candidate: Revision
    row: Rollout
    now: datetime

    def tell(self, ago: float, kind: str, sentence: str, reason: str = "", **more: Any) -> None:
        """Add a line to the log that is `ago` minutes old."""
        actor = more.pop("actor", WORKER)
        RolloutEvent.objects.create(
            rollout=self.row, at=self.now - timedelta(minutes=ago), kind=kind, sentence=sentence,
            actor=actor, reason=reason, facts=more,
        )  # fmt: skip

    def stands(self, **columns: Any) -> None:
        """Change the rollout."""
        for name, value in columns.items():
            setattr(self.row, name, value)
        self.row.save()

    def candidate_is(self, **columns: Any) -> None:
        """Change the candidate."""
        for name, value in columns.items():
            setattr(self.candidate, name, value)
        self.candidate.save()

    def in_force(self, ago: float) -> None:
        """Let the proxy do what the present step wants, since `ago` minutes."""
        since = self.now - timedelta(minutes=ago)
        self.endpoint.trial = trials.to_json(planning.wanted(self.row))
        self.endpoint.trial_seen = self.endpoint.trial
        self.endpoint.trial_seen_since = since
        self.endpoint.save()
        self.stands(step_seen_at=since)


def scene(
    name: str = "parcel-eta",
    *,
    strategy: Mapping[str, Any] | None = None,
    environment: str = "production",
    begun: float = 48,
    first: bool = False,
    **columns: Any,
) -> Scene:
    """Return a rollout that began `begun` minutes ago and has done nothing yet."""
    now = SystemClock().now()
    endpoint = factories.endpoint(
        model=factories.model(name=name), environment=environment,
        next_reconcile_at=now + timedelta(days=1),
    )  # fmt: skip
    stable = None if first else factories.revision(endpoint=endpoint, replicas=6, ready=6)
    candidate = factories.revision(
        endpoint=endpoint, state="pending", replicas=2,
        golden={"asked": 12, "answered": 12},
    )  # fmt: skip
    row = factories.rollout(
        candidate=candidate, stable=stable, strategy=document.parse(strategy or LADDER),
        release_number=314, **columns,
    )  # fmt: skip
    Rollout.objects.filter(pk=row.pk).update(created_at=now - timedelta(minutes=begun))
    row.refresh_from_db()
    return Scene(row.endpoint, stable, row.candidate, row, now)


def climbing(name: str = "parcel-eta", *, step: int = 2, looks: int = 50, **more: Any) -> Scene:
    """Return a canary at 25 %: errors are not worse, slowness is not decided."""
    made = scene(name, strategy={**LADDER, "metrics": _metrics(LABEL)}, **more)
    made.stands(
        state="progressing", step=step, fit=FITS,
        waits_for="The canary is a little slower than stable, and the judge cannot rule out more.",
    )  # fmt: skip
    made.candidate_is(
        state="shifting", observed_weight=25, started_at=made.now - timedelta(minutes=48.5),
        ready_at=made.now - timedelta(minutes=48),
        observed_replicas=[{"index": i, "state": "ready"} for i in range(2)],
    )  # fmt: skip
    made.in_force(21)
    _told(made)
    traffic(made, minutes=48, weights=((48, 5), (37, 10), (21, 25)))
    judged(made, looks=looks)
    return made


def late(name: str = "card-fraud") -> Scene:
    """Return a canary that stands still because the judge had no answer in time."""
    made = climbing(name)
    why = (
        "The judge had no answer in time. The canary is slower than stable so far, by about 0.7 "
        "points. You allow 1.0 points, and the judge cannot yet tell this from chance."
    )
    made.stands(state="paused", pause="deadline", pause_reason=why, waits_for="")
    made.tell(0.4, "paused", "It stands still at “25 %”.", why)
    return made


def gone_back(name: str = "churn") -> Scene:
    """Return a rollout that was rolled back by the judge, ten minutes ago."""
    made = climbing(name)
    why = (
        "The canary fails more often than stable: 4.1 % against 0.28 %. You tolerate a "
        "difference of 0.2 points, and this is proven to be more."
    )
    decided = made.now - timedelta(minutes=10)
    made.tell(10, "aborted", "All requests go back to v1.", why)
    made.tell(9.97, "restored", "v1 answers everything again, 1.3 s after the decision.")
    made.stands(
        state="rolled_back", reason=why, decided_at=decided, waits_for="",
        settled_at=decided + timedelta(seconds=1.3), ended_at=decided + timedelta(seconds=2),
    )  # fmt: skip
    made.candidate_is(state="retired", observed_weight=0, observed_replicas=[], restarts=1)
    AnalysisRun.objects.update_or_create(
        subject=planning.subject(made.row),
        defaults={"state": "failing", "answer": "worse", "sentence": why, "ended_at": decided},
    )
    return made


def taken_over(name: str = "prices") -> Scene:
    """Return a rollout that ended well."""
    made = climbing(name, begun=120)
    ended = made.now - timedelta(minutes=4)
    made.tell(12, "advanced", "On to “50 %”.", "The canary is not worse than stable.")
    made.tell(11.9, "seen", "Seen in force: “50 %”.", trial={"weight": 50})
    made.tell(4.1, "promoted", "All requests move over.", "The canary is not worse than stable.")
    made.tell(4, "settled", "v2 answers everything. v1 stays warm for 24 h.")
    made.stands(
        state="promoted", step=4, decided_at=ended, settled_at=ended, ended_at=ended, waits_for=""
    )
    Revision.objects.filter(pk=made.row.stable_id).update(state="draining", observed_weight=0)
    made.candidate_is(state="live", observed_weight=100, live_at=ended)
    return made


def shadowed(name: str = "plates") -> Scene:
    """Return a shadow whose answers were compared."""
    made = scene(name, strategy={"kind": "shadow", "then": [{"weight": 10}, {"weight": 50}]},
                 begun=14)  # fmt: skip
    made.stands(state="progressing", fit=FITS, waits_for="The step's minimum hold.")
    made.candidate_is(
        state="shifting", observed_replicas=[{"index": i, "state": "ready"} for i in range(2)]
    )
    made.in_force(7)
    made.tell(14, "begun", f"{name} v2 in production begins.", actor="ada", reason="R-314")
    made.tell(13.9, "fits", FITS["sentence"])
    made.tell(7, "seen", "Seen in force: “Shadow, 100 %”.", trial={"weight": 0, "mirror": 100})
    traffic(made, minutes=14, weights=((7, 0),))
    run = judged(made, looks=20)
    run.comparison = comparing.to_json(_compared(made.now))
    run.save()
    return made


def bandit(name: str = "offers") -> Scene:
    """Return a bandit that has moved its weights, by region."""
    made = scene(
        name, begun=1_450,
        strategy={
            "kind": "bandit", "metric": CLICKED, "every_seconds": 300,
            "segments": {"header": "x-region", "values": ["eu", "us", "apac"]},
            "sticky": {"by": "header", "name": "x-user-id"},
        },
    )  # fmt: skip
    kept = {"weight": 62, "segments": {"eu": 81, "us": 34, "apac": 58}}
    made.stands(
        state="progressing", fit=FITS, allocation=kept, allocated_at=made.now,
        waits_for="The bandit looks again within 5 min.",
    )  # fmt: skip
    made.candidate_is(
        state="shifting", observed_weight=62,
        observed_replicas=[{"index": i, "state": "ready"} for i in range(2)],
    )  # fmt: skip
    made.in_force(5)
    made.stands(step_seen_at=made.now - timedelta(hours=24))
    made.tell(1_450, "begun", f"{name} v2 in production begins.", actor="ada", reason="R-314")
    made.tell(1_440, "seen", "Seen in force: “50 %”.", trial={"weight": 50})
    for place, weight in enumerate((52, 55, 51, 57, 60, 58, 62)):
        sentence = f"The bandit gives the candidate {weight} %."
        made.tell(1_200 - place * 190, "reallocated", sentence, weight=weight)
    traffic(made, minutes=90, weights=((90, 60),))
    judged(made, looks=30)
    for place, (segment, better) in enumerate((("eu", 0.012), ("us", -0.006), ("apac", 0.002))):
        _rewards(made, segment, 4_000 + 900 * place, better)
    return made


def experiment(name: str = "banner") -> Scene:
    """Return an A/B test whose answer is not clear yet."""
    made = scene(
        name, begun=1_450,
        strategy={
            "kind": "ab", "metric": CLICKED, "hypothesis": "The new banner is clicked more often.",
            "least_effect": 0.005, "sticky": {"by": "cookie", "name": "visitor"},
        },
    )  # fmt: skip
    made.stands(
        state="progressing", fit=FITS,
        waits_for="Clicked the offer: the improvement is between −0.2 and +1.4 points.",
    )  # fmt: skip
    made.candidate_is(
        state="shifting", observed_weight=50,
        observed_replicas=[{"index": i, "state": "ready"} for i in range(2)],
    )  # fmt: skip
    made.in_force(1_440)
    made.tell(1_450, "begun", f"{name} v2 in production begins.", actor="ada", reason="R-314")
    made.tell(1_440, "seen", "Seen in force: “50 %”.", trial={"weight": 50})
    traffic(made, minutes=60, weights=((60, 50),))
    run = judged(made, looks=30)
    told = {"low": -0.002, "high": 0.014, "canary": 0.047, "stable": 0.041}
    run.findings = [f | told if f["metric"] == "clicked" else f for f in run.findings]
    run.save()
    _rewards(made, "", 9_000, 0.006)
    return made


def waiting(name: str = "vision") -> Scene:
    """Return a rollout that does not fit beside what is live."""
    made = scene(name, begun=3, fit=LACKS, waits_for=LACKS["sentence"])
    made.tell(3, "begun", f"{name} v2 in production begins.", actor="ada", reason="R-314")
    return made


def traffic(made: Scene, *, minutes: int, weights: tuple[tuple[float, int], ...]) -> None:
    """Let both sides have had requests, in the canary's share of each time."""
    noise = random.Random(made.endpoint.name)
    now = windows.floor(made.now)
    rows = []
    for back in range(1, minutes * 6):
        ago = back / 6
        weight = next((w for since, w in reversed(weights) if ago <= since), 0)
        total = int(300 + 60 * noise.random())
        canary = total * weight // 100
        rows.append(_window(made.candidate, now, back, canary, 3.1, noise))
        if made.stable is not None:
            rows.append(_window(made.stable, now, back, total - canary, 2.8, noise))
    TrafficWindow.objects.bulk_create(row for row in rows if row.requests)


def judged(made: Scene, *, looks: int) -> AnalysisRun:
    """Let the judge have looked so often: errors are not worse, slowness not decided."""
    plan = planning.analysis_plan(made.row)
    metrics = spec.parse_metrics(plan["metrics"])
    began = made.row.created_at + timedelta(minutes=1)
    run = AnalysisRun.objects.create(
        subject=planning.subject(made.row), stable=made.stable, candidate=made.candidate,
        plan=plan, state="running", state_since=began, started_at=began, step_at=began,
        step=made.row.step, consumed_until=made.now, looked_at=made.now, answer="not_yet",
        sentence="The canary is a little slower than stable, by about 0.7 points. You allow 1.0 "
                 "points, and the judge cannot yet rule out that it is more.",
        remaining_seconds=540, findings=[asdict(_finding(m)) for m in metrics],
    )  # fmt: skip
    span = made.now - began
    Look.objects.bulk_create(
        _look(run, metric, began + span * (n + 1) / looks, (n + 1) / looks, place)
        for place, metric in enumerate(metrics)
        if metric.source != "feedback"
        for n in range(looks)
    )
    return run


def _rewards(made: Scene, segment: str, count: int, better: float) -> None:
    """Let callers have told of both sides, of the canary so much better."""
    at = windows.floor(made.now - timedelta(hours=2))
    for revision, share in ((made.stable, 0.041), (made.candidate, 0.041 + better)):
        hits = round(count * share)
        FeedbackWindow.objects.create(
            revision=revision, metric=CLICKED["name"], segment=segment, starts_at=at,
            count=count, total=hits, squares=hits,
        )  # fmt: skip


def _metrics(*more: Mapping[str, Any]) -> list[Mapping[str, Any]]:
    usual = [dict(m) for m in spec.as_document(spec.defaults(latency_ms=250.0))]
    return [*usual, *more]


def _told(made: Scene) -> None:
    name = made.endpoint.name
    made.tell(48, "begun", f"{name} v2 in production begins.", actor="ada", reason="R-314")
    made.tell(48, "fits", FITS["sentence"])
    made.tell(47.4, "seen", "Seen in force: “5 %”.", trial={"weight": 5})
    made.tell(37, "advanced", "On to “10 %”.", "The canary is not worse than stable by more than "
              "you allow: errors and slower than 250 ms.")  # fmt: skip
    made.tell(36.9, "seen", "Seen in force: “10 %”.", trial={"weight": 10})
    made.tell(32, "paused", "It stands still at “10 %”.", "A spike; I look.", actor="bea")
    made.tell(29, "resumed", "The rollout goes on.", "The spike was the batch import, not us.",
              actor="ada")  # fmt: skip
    made.tell(21.1, "advanced", "On to “25 %”.", "The canary is not worse than stable by more "
              "than you allow: errors and slower than 250 ms.")  # fmt: skip
    made.tell(21, "seen", "Seen in force: “25 %”.", trial={"weight": 25})


def _finding(metric: Metric) -> Finding:
    usual = {"worse_at": 20.0, "not_worse_at": 20.0, "low": None, "high": None}
    if metric.name == "errors":
        return Finding(
            metric.name, Answer.NOT_WORSE, worse=0.12, not_worse=38.9, stable=0.0028,
            canary=0.0031, stable_total=73_100, canary_total=13_260, allowed=0.0048,
            remaining_seconds=0, sentence="The canary is not worse than stable by more than the "
            "0.20 points you allow: 0.31 % against 0.28 %.", **usual,
        )  # fmt: skip
    if metric.source == "feedback":
        return Finding(
            metric.name, Answer.NOT_YET, worse=1, not_worse=1, stable=None, canary=None,
            stable_total=0, canary_total=0, allowed=None, remaining_seconds=None,
            sentence="No data: nothing was counted on the canary yet. Until then this metric "
            "neither promotes nor aborts.", **usual,
        )  # fmt: skip
    does = "refuses requests" if metric.source == "refused" else "is slower"
    return Finding(
        metric.name, Answer.NOT_YET, worse=0.52, not_worse=7.4, stable=0.014, canary=0.021,
        stable_total=73_100, canary_total=13_260, allowed=0.024, remaining_seconds=540,
        sentence=f"The canary {does} a little more often than stable, by about 0.7 points. You "
        "allow 1.0 points, and the judge cannot yet rule out that it is more.", **usual,
    )  # fmt: skip


def _look(run: AnalysisRun, metric: Metric, at: datetime, share: float, place: int) -> Look:
    noise = random.Random(f"{metric.name} {share}")
    step = min(run.step, int(share * (run.step + 1)))
    within = share * (run.step + 1) - step
    aim = math.log(38.9 if place == 0 else 7.4)
    return Look(
        run=run, at=at, metric=metric.name, step=step,
        worse=math.exp(math.log(0.3) * share + noise.gauss(0, 0.06)),
        not_worse=math.exp(aim * within + noise.gauss(0, 0.08)),
        stable=0.014, canary=0.021, stable_total=73_100 * share, canary_total=13_260 * share,
    )  # fmt: skip


def _window(
    revision: Revision, now: datetime, back: int, requests: int, middle: float,
    noise: random.Random,
) -> TrafficWindow:  # fmt: skip
    counts = [round(requests * share) for share in _latencies(middle)]
    failed = sum(noise.random() < 0.003 for _ in range(requests))
    return TrafficWindow(
        revision=revision, starts_at=now - back * windows.WINDOW, requests=requests,
        errors_5xx=failed, latency=counts,
    )  # fmt: skip


@cache
def _latencies(middle: float) -> tuple[float, ...]:
    """Return which share of requests falls into each bucket, around so many milliseconds."""
    noise, counts, draws = random.Random(7), histogram.empty(), 5_000
    for _ in range(draws):
        counts[histogram.bucket_of(abs(noise.gauss(middle, 1.1)) + 0.4)] += 1
    return tuple(count / draws for count in counts)


def _compared(now: datetime) -> comparing.Comparison:
    longer = [0] * (len(comparing.LONGER_MS) + 1)
    longer[30], longer[31], longer[32] = 4_000, 6_000, 2_400
    stable, canary = histogram.empty(), histogram.empty()
    stable[histogram.bucket_of(3.2)], canary[histogram.bucket_of(3.9)] = 12_400, 12_400
    return comparing.Comparison(
        pairs=12_400, agreeing=12_291, labelled=12_400, flips=109, longer=tuple(longer),
        stable_latency=tuple(stable), canary_latency=tuple(canary), canary_errors=2,
        slices={"van": (4_100, 4_097), "lorry": (3_900, 3_871), "motorcycle": (900, 841),
                "bus": (3_500, 3_482)},
        examples=tuple(
            comparing.Example(
                f"7f3a{n}c21e-90b4", now.timestamp() - 40 * n, "motorcycle",
                "“label” is bicycle, not motorcycle.", '{"label": "motorcycle", "p": 0.58}',
                '{"label": "bicycle", "p": 0.54}',
            )
            for n in range(4)
        ),
    )  # fmt: skip
