"""Pages of endpoints: the list, and one endpoint with its traffic, its address and a try."""

import json
import re
import uuid
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import timedelta
from itertools import groupby
from typing import Any
from urllib.parse import urlencode

from django.http import HttpRequest, HttpResponse
from django.shortcuts import render
from django.views.decorators.http import require_GET, require_POST

from apps.accounts.domain import access
from apps.console import standing
from apps.endpoints import selectors, services, trial
from apps.endpoints.domain.summary import EndpointState
from apps.endpoints.domain.values import ReplicaState
from apps.endpoints.models import Endpoint, Revision
from apps.environments import selectors as environments
from apps.monitoring import selectors as monitoring
from apps.monitoring.domain import charts
from controlplane.http.htmx import page
from controlplane.http.pagination import cut
from controlplane.http.permissions import actor_of, signed_in
from controlplane.http.templatetags.components import THIN, rounded, word_for
from controlplane.kernel.actor import Actor
from controlplane.kernel.clock import SystemClock
from controlplane.kernel.errors import ControlPlaneError, Invalid

LATELY = 15  # minutes
PAGE_ROWS = 100
LIST_ORDER = ("environment__rank", "environment__slug", "name", "id")
WINDOWS = [(15, "15 min"), (60, "1 h"), (360, "6 h"), (1440, "24 h")]
LARGEST_BODY = 1024 * 1024
FLAT_LIST = re.compile(r"\[[^\[\]{}]*\]")
WHITE = re.compile(r"\s*\n\s*")
LIST_PARTS = {"list": "endpoints/_endpoint_list.html"}
PARTS = {
    "head": "endpoints/_endpoint_head.html",
    "traffic": "endpoints/_endpoint_traffic.html",
    "revisions": "endpoints/_endpoint_revisions.html",
}


@dataclass(frozen=True)
class Stat:
    """One of the numbers that the page opens with; hatched while nobody knows it."""

    name: str
    value: str
    unit: str = ""
    note: str = ""
    unknown: bool = False


@dataclass(frozen=True)
class Key:
    """One entry of a chart's legend."""

    words: str
    series: str = ""
    kind: str = ""


@dataclass(frozen=True)
class RevisionRow:
    """One revision in a table."""

    row: Revision
    tone: str
    word: str
    replicas: str
    dim: bool


@dataclass(frozen=True)
class Output:
    """One tensor of an answer, short enough for a page."""

    name: str
    values: str


@dataclass(frozen=True)
class Answer:
    """What came of a try.

    Attributes:
        ok: Whether it was answered.
        text: The whole answer.
        problem: What is so, when it was not answered.
    """

    ok: bool
    milliseconds: float | None = None
    revision: int | None = None
    text: str = ""
    outputs: Sequence[Output] = field(default=())
    problem: str = ""
    remedy: str = ""


@signed_in
@require_GET
def endpoint_list(request: HttpRequest) -> HttpResponse:
    """List the endpoints by environment."""
    actor = actor_of(request)
    environment = request.GET.get("environment", "")
    found = selectors.endpoints(
        actor, environment=environment, retired=bool(request.GET.get("retired"))
    )
    cursor = request.GET.get("cursor", "")
    shown = cut(found.order_by(*LIST_ORDER), limit=PAGE_ROWS, cursor=cursor)
    views = [selectors.view(row) for row in shown.rows]
    by_environment = {e.slug: e for e in environments.in_order()}
    several = bool(shown.next or shown.previous)
    total = found.count() if several else len(views)
    base = _query_without(request, "cursor", "part")
    context = {
        "groups": [
            (by_environment[slug], list(group))
            for slug, group in groupby(table(actor, views), key=lambda r: r.environment)
        ],
        "heading": f"{total} endpoints" if several else _list_heading(views),
        "slice": shown,
        "base": base,
        "again": f"{base}{urlencode({'cursor': cursor})}&" if cursor else base,
        "summary": f"{len(views)} of {total}" if several else "",
        "topics": ["endpoint/*", "home"],
    }
    return page(request, "endpoints/endpoint_list.html", context, parts=LIST_PARTS)


@signed_in
@require_GET
def endpoint(request: HttpRequest, environment: str, name: str) -> HttpResponse:
    """Show one endpoint."""
    actor = actor_of(request)
    row = selectors.endpoint_at(actor, environment=environment, name=name)
    return page(request, "endpoints/endpoint.html", _endpoint(request, actor, row), parts=PARTS)


@signed_in
@require_POST
def predict(request: HttpRequest, environment: str, name: str) -> HttpResponse:
    """Send what is in the form, as any caller would, and show the answer below it."""
    actor = actor_of(request)
    row = selectors.endpoint_at(actor, environment=environment, name=name)
    asked = request.POST.get("inputs", "")
    answer = _ask(actor, row, asked)
    if request.headers.get("HX-Request"):
        return render(request, "endpoints/_endpoint_answer.html", {"answer": answer})
    context = {**_endpoint(request, actor, row), "sample": asked, "answer": answer}
    return page(request, "endpoints/endpoint.html", context, status=200 if answer.ok else 422)


@signed_in
@require_POST
def make_key(request: HttpRequest, environment: str, name: str) -> HttpResponse:
    """Make a key for callers, and show it this once."""
    actor = actor_of(request)
    row = selectors.endpoint_at(actor, environment=environment, name=name)
    made: dict[str, str] = {}
    try:
        _, made["secret"] = services.create_key(
            actor=actor, endpoint=row.public_id, name=request.POST.get("name", "")
        )
    except Invalid as error:
        made["key_error"] = f"{error.sentence} {error.remedy}".strip()
    row = selectors.endpoint_at(actor, environment=environment, name=name)
    context = {**_endpoint(request, actor, row), **made}
    return page(
        request, "endpoints/endpoint.html", context, status=200 if "secret" in made else 422
    )


def table(
    actor: Actor, views: Sequence[selectors.EndpointView], *, show_environment: bool = False
) -> list[standing.EndpointRow]:
    """Return endpoints with what they did lately, by one query for all."""
    lately = monitoring.lately(
        actor, [v.row for v in views], minutes=LATELY, now=SystemClock().now()
    )
    return standing.rows(views, lately, show_environment=show_environment)


def _endpoint(request: HttpRequest, actor: Actor, row: Endpoint) -> dict[str, Any]:
    view = selectors.view(row)
    minutes = _minutes(request)
    seen = monitoring.traffic(actor, row, minutes=minutes, now=SystemClock().now())
    revisions = selectors.revisions(row)
    address = selectors.address(row)
    return {
        "endpoint": row,
        "environment": row.environment,
        "model": row.model,
        "here": f"/endpoints/{row.environment.slug}/{row.name}",
        "state": str(view.state),
        "words": word_for(view.state),
        "lead": _lead(view),
        "stats": _stats(seen, view, minutes),
        "figures": _figures(seen, revisions),
        "minutes": minutes,
        "windows": WINDOWS,
        "live_revision": view.live,
        "revisions": [_revision(r) for r in revisions],
        "keys": [k for k in selectors.keys(actor, row) if k.revoked_at is None],
        "address": address.infer,
        "curl": address.curl,
        "python": address.python,
        "sample": _pretty(address.body),
        "sample_note": _sample_note(view),
        "can": _can(actor, row),
        "topics": [f"endpoint/{row.public_id}"],
    }


def _minutes(request: HttpRequest) -> int:
    asked = request.GET.get("minutes", "")
    known = [str(minutes) for minutes, _ in WINDOWS]
    return int(asked) if asked in known else LATELY


def _lead(view: selectors.EndpointView) -> str:
    """Return what is so, and what happens next."""
    live, coming, failed = view.live, view.coming, view.failed
    parts: list[str] = []
    if live is not None:
        parts.append(f"Serves v{live.version.number} from revision {live.number}.")
    if view.state is EndpointState.DOWN:
        parts.append("None of its servers is ready; they are being started again.")
    elif view.state is EndpointState.DEGRADED:
        parts.append("Fewer servers are ready than were asked for; they are being started again.")
    elif view.state is EndpointState.RETIRED:
        parts.append(
            "It is retired: its address answers nobody. Serve a version to bring it back."
        )
    if coming is not None:
        step = standing.COMING.get(coming.state, coming.state)
        keeps = f" v{live.version.number} answers until it has taken over." if live else ""
        parts.append(f"v{coming.version.number} {step}.{keeps}")
    elif failed is not None:
        answers = f" v{live.version.number} goes on answering." if live else ""
        parts.append(f"v{failed.version.number} could not be started.{answers}")
    return " ".join(parts) or "Nothing was served here yet."


def _stats(seen: monitoring.Traffic, view: selectors.EndpointView, minutes: int) -> list[Stat]:
    total = seen.total
    ready, asked = _ready(view.live)
    over = f"over the last {minutes} minutes" if minutes <= 60 else f"over {minutes // 60} hours"
    replicas = Stat("Replicas", f"{ready} of {asked}", "ready") if asked else _silent("Replicas")
    if total.requests is None:
        quiet = [_silent(n) for n in ("Requests", "Errors", "p50", "p95", "p99")]
        return [*quiet, replicas]
    latest = next(reversed(monitoring.sparkline(seen)), None)
    rate, unit = ("none", "") if latest is None else (rounded(latest), "/s")
    return [
        Stat("Requests now", rate, unit, f"{total.requests:,} {over}"),
        Stat("Errors", _share(total.errors), "%", "answered 5xx, or not at all"),
        Stat("p50", rounded(total.p50_ms or 0.0), "ms", "half are faster"),
        Stat("p95", rounded(total.p95_ms or 0.0), "ms", "19 of 20 are faster"),
        Stat("p99", rounded(total.p99_ms or 0.0), "ms", "99 of 100 are faster"),
        replicas,
    ]


def _silent(name: str) -> Stat:
    return Stat(name, "no data", note="no request came", unknown=True)


def _share(share: float | None) -> str:
    return rounded((share or 0.0) * 100, 2)


def _ready(revision: Revision | None) -> tuple[int, int]:
    if revision is None:
        return 0, 0
    states = [r.get("state") for r in revision.observed_replicas]
    return sum(state == ReplicaState.READY for state in states), revision.replicas


def _figures(
    seen: monitoring.Traffic, revisions: Sequence[Revision]
) -> list[tuple[str, str, str, dict[str, Any], list[Key]]]:
    """Return the three charts: name, finding, unit, figure, legend."""
    step = timedelta(seconds=seen.step)
    drawn = _drawn(seen, revisions)
    quiet = not seen.series
    legend = [Key(s.name, series=s.role) for s in drawn if not quiet]
    hatch = [Key("no request", kind="hatch")]
    newest = [Key("p99", series="2"), Key("p50", series="3")] if not quiet else []
    return [
        ("requests", _requests_finding(seen), "requests a second",
         charts.requests(drawn, step), [*legend, *hatch]),
        ("errors", _errors_finding(seen), "share of requests, in percent",
         charts.errors(drawn, step), [*legend, *hatch]),
        ("latency", _latency_finding(seen), "milliseconds",
         charts.latency(drawn, step),
         [*[Key(f"{k.words}, p95", series=k.series) for k in legend], *newest, *hatch]),
    ]  # fmt: skip


def _drawn(seen: monitoring.Traffic, revisions: Sequence[Revision]) -> list[charts.Series]:
    versions = {r.number: r.version.number for r in revisions}
    if not seen.series:
        at, moments = seen.since, []
        while at < seen.until:
            moments.append(charts.Moment(at))
            at += timedelta(seconds=seen.step)
        return [charts.Series("", "stable", tuple(moments))]
    return [
        charts.Series(
            f"r{s.revision}, v{versions[s.revision]}"
            if s.revision in versions
            else f"r{s.revision}",
            "canary" if place == 0 else "stable",
            tuple(
                charts.Moment(p.at, p.requests_per_second, p.errors, p.p50_ms, p.p95_ms, p.p99_ms)
                for p in s.points
            ),
        )
        for place, s in enumerate(seen.series)
    ]


def _requests_finding(seen: monitoring.Traffic) -> str:
    if seen.total.requests is None:
        return "No request came"
    return f"{seen.total.requests:,} requests came"


def _errors_finding(seen: monitoring.Traffic) -> str:
    if seen.total.errors is None:
        return "Without requests, errors are unknown"
    if not seen.total.errors:
        return "None of them failed"
    return f"{_share(seen.total.errors)}{THIN}% of them failed"


def _latency_finding(seen: monitoring.Traffic) -> str:
    if seen.total.p95_ms is None:
        return "Without requests, latency is unknown"
    return f"19 of 20 took under {rounded(seen.total.p95_ms)}{THIN}ms"


def _revision(row: Revision) -> RevisionRow:
    ended = row.state in ("retired", "failed")
    ready, asked = _ready(row)
    return RevisionRow(
        row=row,
        tone=row.state,
        word=word_for(row.state),
        replicas="" if ended else f"{ready} of {asked} ready",
        dim=row.state == "retired",
    )


def _sample_note(view: selectors.EndpointView) -> str:
    revision = view.live or view.coming
    if revision is not None and revision.golden.get("example"):
        return "Filled with a golden request"
    return "Filled from the signature"


def _ask(actor: Actor, row: Endpoint, asked: str) -> Answer:
    try:
        body = _parsed(asked)
        made = trial.predict(
            actor=actor,
            endpoint=row,
            body=body,
            request_id=uuid.uuid4().hex,
            now=SystemClock().now(),
        )
    except ControlPlaneError as error:
        return Answer(ok=False, problem=error.sentence, remedy=error.remedy)
    return Answer(
        ok=True,
        milliseconds=made.milliseconds,
        revision=made.revision,
        text=_pretty(made.body),
        outputs=[_output(t) for t in made.body.get("outputs", [])],
    )


def _parsed(asked: str) -> Mapping[str, Any]:
    if len(asked) > LARGEST_BODY:
        raise Invalid("The request is larger than a try may be.", remedy="Send it with curl.")
    try:
        body = json.loads(asked)
    except ValueError as error:
        raise Invalid(
            f"The request is not JSON: {error}.", remedy="Mend it and try again."
        ) from error
    if not isinstance(body, dict) or not isinstance(body.get("inputs"), list):
        raise Invalid('The request has no "inputs".', remedy="Begin from the filled-in example.")
    return body


def _pretty(body: Mapping[str, Any]) -> str:
    """Return JSON with one line for each list of plain values: a tensor is not a column."""
    return FLAT_LIST.sub(
        lambda m: f"[{WHITE.sub(' ', m[0][1:-1]).strip()}]", json.dumps(body, indent=2)
    )


def _output(tensor: Mapping[str, Any]) -> Output:
    data = tensor.get("data", [])
    flat = data if isinstance(data, list) else [data]
    shown = ", ".join(rounded(v, 4) if isinstance(v, float) else str(v) for v in flat[:12])
    more = f" and {len(flat) - 12} more" if len(flat) > 12 else ""
    return Output(str(tensor.get("name", "")), shown + more)


def _query_without(request: HttpRequest, *names: str) -> str:
    """Return the query without `names`, ready for one more part."""
    kept = [(n, v) for n, vs in request.GET.lists() for v in vs if v and n not in names]
    return f"{urlencode(kept)}&" if kept else ""


def _list_heading(views: Sequence[selectors.EndpointView]) -> str:
    if not views:
        return "Nothing is served yet"
    wrong = sum(v.state in standing.WRONG for v in views)
    answering = sum(v.live is not None and v.state is not EndpointState.DOWN for v in views)
    noun = "endpoint answers" if answering == 1 else "endpoints answer"
    if not wrong:
        return f"{answering} {noun}"
    return f"{answering} {noun}, {wrong} {'needs' if wrong == 1 else 'need'} a look"


def _can(actor: Actor, row: Endpoint) -> dict[str, bool]:
    verbs = {
        "predict": "endpoints.predict",
        "retire": "endpoints.retire",
        "scale": "endpoints.scale",
        "key": "endpoints.key.create",
        "revoke": "endpoints.key.revoke",
        "open": "endpoints.open",
    }
    if not row.environment.protected:
        verbs["rehearse"] = "rollouts.rehearse"
    team, where = row.model.team.slug, row.environment.slug
    return {n: access.allows(actor, v, team=team, environment=where) for n, v in verbs.items()}
