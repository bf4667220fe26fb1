"""Gates that ask running servers, or need room for new ones."""

from collections.abc import Mapping
from datetime import timedelta
from typing import Any

from django.conf import settings

from apps.endpoints import selectors as endpoints
from apps.endpoints import services as endpoint_services
from apps.endpoints.domain import examples, keys, sizes
from apps.endpoints.facts import spec_of
from apps.endpoints.models import Revision
from apps.gates.domain import load
from apps.gates.domain.finding import Finding, failed, passed, unknown
from apps.gates.domain.load import Goal, LoadPlan, LoadResult
from apps.gates.programs.subject import Asking, Subject, Testing, World

KEY_LIVES = timedelta(seconds=60)  # longer than the test itself


def golden_answered(subject: Subject, world: World) -> Finding:
    """Ask a server that runs exactly these bytes, outside protected environments."""
    row = next(iter(endpoints.running(subject.bundle, protected=False)), None)
    if row is None:
        return _nobody(subject)
    found = world.servers.ask_golden(spec_of(row.endpoint, row))
    facts: dict[str, Any] = {
        "asked": found.asked,
        "answered": found.answered,
        "digest": found.digest,
        "endpoint": row.endpoint.public_id,
        "environment": row.endpoint.environment.slug,
        "revision": row.number,
    }
    where = f"revision {row.number} in {row.endpoint.environment.slug}"
    if found.digest != subject.bundle:
        return failed(
            f"{where} says that it serves {found.digest or 'nothing'}.",
            "Serve this variant there again.", **facts,
        )  # fmt: skip
    if not found.asked:
        return unknown("The bundle has no golden requests.", "Build the version again.", **facts)
    if found.answered < found.asked:
        return failed(
            f"{found.answered} of {found.asked} golden requests were answered rightly by {where}: "
            f"{found.problem}",
            "Compare the answers with the proof sheet; propose another variant.", **facts,
        )  # fmt: skip
    return passed(f"{found.asked} of {found.asked} were answered rightly by {where}.", **facts)


def plan(subject: Subject) -> LoadPlan | Finding:
    """Say how to ask, or why nobody can be asked."""
    objective = subject.objective
    if objective is None:
        return unknown(
            f"No objective of {subject.model.name} in {subject.environment.slug} is declared.",
            "Declare its latency, availability and expected peak on the model's page.",
        )
    rows = endpoints.answering(subject.bundle, protected=False)
    if not rows:
        return _only_some(subject) or _nobody(subject)
    row = next((r for r in rows if not _unlike(subject, r)), None)
    if row is None:
        return unknown(
            f"{_unlike(subject, rows[0])}, so it says nothing about this release.",
            "Serve this variant with the same runtime, settings and at most as many replicas in "
            "an environment that is not protected.",
        )
    inputs = row.golden.get("example")
    if not inputs:
        return unknown(
            "There is no golden request to ask with.", "Build the version with samples."
        )
    goal = goal_of(subject)
    seconds = load.duration(goal.rate, asked=subject.number("seconds", load.SECONDS))
    where = examples.address(
        settings.SERVING_URL,
        environment=row.endpoint.environment.slug,
        name=row.endpoint.name,
        inputs=inputs,
        signature=row.version.inputs,
        key_required=row.endpoint.key_required,
    )
    return LoadPlan(
        url=where.infer,
        body=where.body,
        rate=goal.rate,
        seconds=seconds,
        slow_ms=goal.latency_ms,
        timeout_ms=max(4 * goal.latency_ms, 1000.0),
        key=_key(row, subject, seconds) if row.endpoint.key_required else "",
    )


def holds(subject: Subject, result: LoadResult) -> Finding:
    """Judge what the generator saw; who answered is read from the answers themselves."""
    rows = endpoints.answering(subject.bundle, protected=False)
    numbers = {str(r.number): r for r in rows if not _unlike(subject, r)}
    row = numbers.get(max(result.revisions, key=lambda n: result.revisions[n], default=""))
    if row is None and result.revisions:
        return unknown(
            "The server that was asked is not there any more.", "Run it again when it is."
        )
    found = load.judge(result, goal_of(subject), revision=row.number if row else None)
    if row is not None:
        found.facts.update(
            endpoint=row.endpoint.public_id,
            environment=row.endpoint.environment.slug,
            revision=row.number,
            replicas=row.replicas,
            runtime=row.runtime,
        )
    return found


def goal_of(subject: Subject) -> Goal:
    """Return what must hold: the objective, at the expected peak with headroom."""
    objective = subject.objective
    if objective is None:  # it was withdrawn while the test ran: nothing can be shown
        return Goal(rate=0.0, availability=1.0, latency_ms=0.0, latency_share=1.0)
    headroom = subject.number("headroom", load.HEADROOM)
    return Goal(
        rate=objective.expected_peak_rps * (1 + headroom),
        availability=objective.availability,
        latency_ms=objective.latency_ms,
        latency_share=objective.latency_share,
    )


def fits(subject: Subject, world: World) -> Finding:
    """Compare replicas with the limit, and their memory with what is free."""
    environment = subject.environment
    asked = subject.checklist.configuration.get("replicas")
    replicas = asked if isinstance(asked, int) else environment.default_replicas
    variant = subject.variant
    each = sizes.memory_mb(model_bytes=variant.size, measured_mb=variant.memory_mb)
    free = world.servers.free_memory_mb()
    facts = {"replicas": replicas, "limit": environment.max_replicas, "each_mb": each}
    if replicas > environment.max_replicas:
        return failed(
            f"{replicas} replicas are asked for; {environment.slug} allows "
            f"{environment.max_replicas}.",
            "Ask for fewer, or have an admin raise the limit.", **facts,
        )  # fmt: skip
    if each * replicas > free:
        return failed(
            f"{replicas} replicas need about {each * replicas} MB, and {free} MB are free.",
            "Ask for fewer replicas, or retire something.", free_mb=free, **facts,
        )  # fmt: skip
    return passed(
        f"{replicas} of at most {environment.max_replicas} replicas, about {each} MB each, fit "
        "into the free memory.",
        **facts,
    )


def _nobody(subject: Subject) -> Finding:
    return unknown(
        f"No environment outside the protected ones serves this {subject.variant.kind} variant.",
        "Serve it in dev or staging; it will be asked there.",
    )


def _only_some(subject: Subject) -> Finding | None:
    """Say that these bytes run somewhere, and share the requests there with others."""
    row = next(iter(endpoints.running(subject.bundle, protected=False)), None)
    if row is None:
        return None
    return unknown(
        f"Revision {row.number} in {row.endpoint.environment.slug} answers only "
        f"{row.observed_weight} % of the requests, while a rollout moves traffic there.",
        "Wait for the rollout to end; the load goes to servers that answer everything.",
    )


def _unlike(subject: Subject, row: Revision) -> str:
    """Return why a server is no measure of what would be served; "" when it is."""
    wanted = subject.checklist.configuration
    where = f"Revision {row.number} in {row.endpoint.environment.slug}"
    runtime, replicas = wanted.get("runtime"), wanted.get("replicas")
    if runtime and runtime != row.runtime:
        return f"{where} runs on {row.runtime}, not on {runtime}"
    if isinstance(replicas, int) and row.replicas > replicas:
        return f"{where} has {row.replicas} replicas, not {replicas}"
    if (wanted.get("settings") or {}) != (row.configuration or {}):
        return f"{where} has other settings"
    return ""


def _key(row: Revision, subject: Subject, seconds: float) -> str:
    expires = subject.now + timedelta(seconds=seconds) + KEY_LIVES
    return keys.mint(
        endpoint_services.signing_seed(),
        name=keys.own_name(row.endpoint.public_id),
        expires=int(expires.timestamp()),
    )


def _load_conditions(subject: Subject) -> Mapping[str, Any]:
    goal, wanted = goal_of(subject), subject.checklist.configuration
    return {
        "goal": [goal.rate, goal.availability, goal.latency_ms, goal.latency_share],
        "served": [wanted.get("runtime"), wanted.get("replicas"), wanted.get("settings") or {}],
    }


def _quota_conditions(subject: Subject) -> Mapping[str, Any]:
    return {
        "replicas": subject.checklist.configuration.get("replicas"),
        "limit": subject.environment.max_replicas,
    }


PROGRAMS = (
    Asking("golden.answered", golden_answered),
    Testing("load.objective", plan, holds, _load_conditions),
    Asking("quota.fits", fits, _quota_conditions, cheap=True),
)
