"""Where things stand: endpoints and versions as rows that pages can print.

Values made from what selectors have read; nothing here asks the database or the world.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from apps.endpoints.domain.summary import EndpointState
from apps.endpoints.models import Revision
from apps.endpoints.selectors import EndpointView
from apps.environments.models import Environment
from apps.monitoring.selectors import Lately
from controlplane.http.templatetags.components import word_for

SIGNALS = {
    EndpointState.LIVE: "live",
    EndpointState.DEGRADED: "warning",
    EndpointState.DOWN: "failed",
    EndpointState.STARTING: "progressing",
    EndpointState.FAILED: "failed",
    EndpointState.RETIRED: "retired",
}
WRONG = (EndpointState.DOWN, EndpointState.FAILED, EndpointState.DEGRADED)
COMING = {
    "pending": "waits for room",
    "starting": "its servers start",
    "warming": "answers its first requests",
    "verifying": "is held against golden requests",
    "shifting": "gets its traffic",
}


@dataclass(frozen=True)
class EndpointRow:
    """One endpoint in a table.

    Attributes:
        signal: Which lamp is lit.
        words: Its state, in words.
        serves: The number of the version that answers; None when nobody does.
        requests: Per second in the last minute; None without a request.
        spark: Requests per second, step by step; None where nothing came.
        p95: Milliseconds; None without a request.
        errors: Share of requests that failed on our side; None without a request.
    """

    name: str
    model: str
    environment: str
    show_environment: bool
    href: str
    state: str
    signal: str
    words: str
    serves: int | None
    variant: str
    requests: float | None
    spark: Sequence[float | None]
    p95: float | None
    errors: float | None


@dataclass(frozen=True)
class Place:
    """What stands in one environment, for a model or for one of its versions.

    Attributes:
        state: Its tone; "" when nothing is there.
        live: Whether it is travelled: what the page is about answers there.
    """

    environment: str
    href: str
    state: str
    word: str
    fact: str
    live: bool


def href(view: EndpointView) -> str:
    """Return the address of an endpoint's page."""
    return f"/endpoints/{view.row.environment.slug}/{view.row.name}"


def rows(
    views: Sequence[EndpointView], lately: Mapping[int, Lately], *, show_environment: bool
) -> list[EndpointRow]:
    """Return endpoints for a table."""
    return [_row(view, lately[view.row.pk], show_environment) for view in views]


def words(view: EndpointView, silent: bool = False) -> str:
    """Return what an endpoint is, in a few words."""
    coming = view.coming
    match view.state:
        case EndpointState.STARTING if coming is not None:
            return f"v{coming.version.number} {coming.state}"
        case EndpointState.STARTING:
            return "Nothing was served yet"
        case EndpointState.LIVE if coming is not None:
            return f"Live, v{coming.version.number} {coming.state}"
        case EndpointState.LIVE if view.failed is not None:
            return f"Live, v{view.failed.version.number} could not take over"
        case EndpointState.LIVE:
            return "Live, no request lately" if silent else "Live"
        case EndpointState.DEGRADED:
            return "Answers with fewer replicas than asked"
        case EndpointState.DOWN:
            return "Does not answer"
        case EndpointState.FAILED:
            return "Could not be started"
        case _:
            return "Retired"


def places(
    environments: Sequence[Environment], views: Sequence[EndpointView], version: int | None = None
) -> list[Place]:
    """Return what stands where, in the order of promotion.

    Args:
        environments: All of them.
        views: The model's endpoints.
        version: The number of the version that the page is about; None for the whole model.
    """
    by_environment = {view.row.environment_id: view for view in views}
    return [_place(e, by_environment.get(e.pk), version) for e in environments]


def _row(view: EndpointView, lately: Lately, show_environment: bool) -> EndpointRow:
    live, total = view.live, lately.total
    return EndpointRow(
        name=view.row.name,
        model=view.row.model.name,
        environment=view.row.environment.slug,
        show_environment=show_environment,
        href=href(view),
        state=str(view.state),
        signal=SIGNALS[view.state],
        words=words(view, silent=total.requests is None),
        serves=live.version.number if live else None,
        variant=live.variant.kind if live else "",
        requests=lately.current,
        spark=lately.line,
        p95=total.p95_ms,
        errors=total.errors,
    )


def _place(environment: Environment, view: EndpointView | None, version: int | None) -> Place:
    if view is None or view.state is EndpointState.RETIRED:
        return Place(environment.slug, "", "", "", "not served here", False)
    revision = _meant(view, version)
    if revision is None:
        return Place(environment.slug, href(view), "", "", _instead(view), False)
    live = view.live is not None and revision.pk == view.live.pk
    state = str(view.state) if live else revision.state
    return Place(
        environment.slug,
        href(view),
        state,
        word_for(state),
        _fact(revision, live),
        live and view.state is EndpointState.LIVE,
    )


def _meant(view: EndpointView, version: int | None) -> Revision | None:
    """Return the revision that the page is about: the live one before the others."""
    known = [r for r in (view.live, view.coming, view.failed) if r is not None]
    mine = [r for r in known if version is None or r.version.number == version]
    return mine[0] if mine else None


def _fact(revision: Revision, live: bool) -> str:
    served = f"v{revision.version.number}, {revision.variant.kind} on {revision.runtime}"
    if live or revision.state == "failed":
        return served if live else f"{served}: {revision.problem[:160]}"
    return f"{served}; {COMING.get(revision.state, revision.state)}"


def _instead(view: EndpointView) -> str:
    return f"serves v{view.live.version.number}" if view.live else "serves nothing"
