"""Gathers both sides of a difference, through the selectors of the apps that hold them."""

from collections.abc import Iterable, Iterator, Mapping
from datetime import datetime
from typing import Any

from django.conf import settings
from django.db.models import Q

from apps.builds.models import Variant
from apps.endpoints.models import Revision
from apps.gates import selectors as gates
from apps.gates.models import Evidence
from apps.monitoring import selectors as monitoring
from apps.registry import selectors as registry
from apps.registry.domain.compare import Side
from apps.registry.domain.mirrored import requirements
from apps.registry.models import ModelVersion
from apps.releases.domain.difference.comparison import compare
from apps.releases.domain.difference.values import Difference, Price, Proof, Subject, Traffic
from apps.releases.domain.judging import Measured
from apps.releases.models import Release
from apps.rollouts import selectors as rollouts
from controlplane.kernel.actor import Actor
from controlplane.kernel.digests import FileEntry

LOOK_BACK = 60  # minutes of live traffic
Intervals = Mapping[int, Mapping[str, Measured]]


def difference(actor: Actor, release: Release, *, now: datetime) -> Difference:
    """Return what `release` changes from what is live, or was when its rollout began.

    Args:
        actor: Who looks; may see the release.
        release: With version, model, team, environment, variant, and its rollout's stable
            revision.
        now: The end of the traffic that is looked at.
    """
    return between(actor, release, live_before(release), now=now)


def between(actor: Actor, release: Release, live: Revision | None, *, now: datetime) -> Difference:
    """Return what changes from `live`, which is None when nothing is."""
    version = release.version
    versions = [version.pk, *([live.version_id] if live else [])]
    intervals = _intervals(actor, versions)
    manifests = registry.manifests(versions)
    return compare(
        _live(release, live, intervals, manifests) if live else None,
        _proposed(release, intervals, manifests),
        traffic=_traffic(actor, live, now) if live else None,
        price=price(),
        tolerance=version.model.tolerance,
    )


def live_before(release: Release) -> Revision | None:
    """Return what answers without this release: what it replaced, or what it would replace."""
    if release.rollout is not None:
        return release.rollout.stable
    return rollouts.live_revision(release.version.model_id, release.environment_id)


def price() -> Price | None:
    """Return what a replica costs an hour, when the installation says so."""
    told = settings.REPLICA_PRICE
    return None if told is None else Price(*told)


def _live(
    release: Release,
    live: Revision,
    intervals: Intervals,
    manifests: Mapping[int, list[FileEntry]],
) -> Subject:
    model = release.version.model
    return Subject(
        side=_side(live.version, manifests),
        team=model.team.slug,
        risk_tier=model.risk_tier,
        variant=live.variant.kind,
        bundle=live.bundle_digest,
        runtime=live.runtime,
        replicas=live.replicas,
        configuration=live.configuration,
        proof=_proof(live.variant),
        metrics=_metrics(live.version, intervals),
        requirements=requirements(live.version.facts, live.version.framework),
        revision=live.number,
        since=live.live_at,
    )


def _proposed(
    release: Release, intervals: Intervals, manifests: Mapping[int, list[FileEntry]]
) -> Subject:
    version, variant = release.version, release.variant
    return Subject(
        side=_side(version, manifests),
        team=version.model.team.slug,
        risk_tier=version.model.risk_tier,
        variant=variant.kind if variant else release.variant_kind or "not built yet",
        bundle=variant.bundle_digest if variant else "",
        runtime=release.runtime or (variant.runtimes[0] if variant and variant.runtimes else ""),
        replicas=release.replicas,
        configuration=release.configuration,
        proof=_proof(variant) if variant else Proof(),
        metrics=_metrics(version, intervals),
        requirements=requirements(version.facts, version.framework),
    )


def _side(version: ModelVersion, manifests: Mapping[int, list[FileEntry]]) -> Side:
    return Side(
        number=version.number,
        semver=version.semver,
        state=version.state,
        format=version.format,
        framework=version.framework,
        metrics=version.metrics,
        params=version.params,
        inputs=version.inputs,
        outputs=version.outputs,
        files=tuple(manifests.get(version.pk, ())),
        size=version.size,
        manifest_digest=version.manifest_digest or "",
        lineage={
            "commit": version.git_commit,
            "dataset": version.dataset,
            "dataset digest": version.dataset_digest,
        },
    )


def _proof(variant: Variant) -> Proof:
    return Proof(
        p50_ms=variant.p50_ms,
        p95_ms=variant.p95_ms,
        p99_ms=variant.p99_ms,
        throughput=variant.throughput,
        memory_mb=variant.memory_mb,
        size=variant.size or None,
        max_difference=variant.max_difference,
        agreement=variant.agreement,
    )


def _metrics(version: ModelVersion, intervals: Intervals) -> dict[str, Measured]:
    """Return a version's metrics, each with the newest interval that a pipeline sent of it."""
    told = {name: Measured(float(value)) for name, value in version.metrics.items()}
    return {**told, **intervals.get(version.pk, {})}


def _intervals(actor: Actor, versions: Iterable[int]) -> Intervals:
    """Return what pipelines sent of metrics: one by one, or as the quality gate takes them."""
    told = Q(facts__has_key="metric") | Q(facts__has_key="metrics")
    found: dict[int, dict[str, Measured]] = {}
    for row in gates.evidence(actor).filter(told, version__in=list(versions)):
        for name, facts in _reported(row.facts):
            measured = _measured(row, facts)
            if measured is not None:
                found.setdefault(row.version_id, {}).setdefault(name, measured)
    return found


def _reported(facts: Mapping[str, Any]) -> Iterator[tuple[str, Mapping[str, Any]]]:
    """Yield each metric by name, and each of its slices as "auc, new customers"."""
    listed = facts.get("metrics")
    for metric in listed if isinstance(listed, list) else [facts]:
        if not isinstance(metric, Mapping) or "metric" not in metric:
            continue
        yield str(metric["metric"]), metric
        slices = metric.get("slices")
        for part in slices if isinstance(slices, list) else []:
            if isinstance(part, Mapping) and "name" in part:
                yield f"{metric['metric']}, {part['name']}", part


def _measured(row: Evidence, facts: Mapping[str, Any]) -> Measured | None:
    """Return what a piece of evidence says of a metric; None when it does not add up."""
    value, low, high = (_number(facts.get(key)) for key in ("value", "low", "high"))
    if value is None:
        return None
    if low is None or high is None or not low <= value <= high:
        low = high = None
    return Measured(value, low, high, f"{row.source}, {row.measured_at:%-d %b}")


def _number(value: Any) -> float | None:
    if isinstance(value, bool) or not isinstance(value, int | float):
        return None
    return float(value)


def _traffic(actor: Actor, live: Revision, now: datetime) -> Traffic:
    seen = monitoring.traffic(actor, live.endpoint, minutes=LOOK_BACK, now=now)
    own = next((s.total for s in seen.series if s.revision == live.number), None)
    if own is None or own.requests is None:
        return Traffic(minutes=LOOK_BACK)
    return Traffic(LOOK_BACK, own.requests, own.requests_per_second, own.errors, own.p95_ms)
