"""The composition root: the one place where a port meets its driver."""

from datetime import datetime, timedelta
from functools import cache
from pathlib import Path

from django.conf import settings

from apps.builds import services as builds
from apps.builds.models import Build
from apps.builds.reconcile import BuildReconciler
from apps.builds.tidying import tidy_jobs
from apps.endpoints.domain import runtimes
from apps.registry.discover import Discovery
from apps.registry.models import ModelVersion
from apps.registry.reconcile import VersionReconciler
from controlplane.drivers.local.jobs import LocalBundles, LocalJobs
from controlplane.drivers.mlflow.store import MlflowStore
from workers.loop import Kind


@cache
def build_jobs() -> LocalJobs:
    """Return where builds run."""
    return LocalJobs(settings.HOME, instance=settings.INSTANCE)


@cache
def build_reconciler() -> BuildReconciler:
    """Return what drives builds."""
    return BuildReconciler(
        build_jobs(),
        LocalBundles(settings.BUNDLE_ROOT, build_jobs()),
        runtimes=lambda bundle_format: [r.name for r in runtimes.serving(bundle_format)],
    )


@cache
def model_store() -> MlflowStore:
    """Return MLflow."""
    return MlflowStore(settings.MLFLOW_URL)


@cache
def version_reconciler() -> VersionReconciler:
    """Return what mirrors versions into MLflow, and adopts those it has."""
    return VersionReconciler(
        model_store(),
        public_url=settings.PUBLIC_URL,
        scratch=Path(settings.UPLOAD_ROOT),
        upload_limit=settings.UPLOAD_LIMIT,
    )


@cache
def discovery() -> Discovery:
    """Return what finds versions that only MLflow knows."""
    return Discovery(model_store())


KINDS: dict[str, Kind] = {
    "version": Kind(ModelVersion, version_reconciler, lease=timedelta(minutes=2)),
    "build": Kind(Build, build_reconciler),
}


def notice(now: datetime) -> None:
    """Begin what nobody has to ask for: the builds of new versions."""
    if settings.AUTO_BUILD:
        builds.build_what_is_new()


def measure(now: datetime) -> None:
    """Read the proxies' statistics into windows."""


def discover(now: datetime) -> None:
    """Find versions that reached MLflow behind our back."""
    if settings.MLFLOW_URL:
        discovery()(now)


def tidy(now: datetime) -> None:
    """Drop what has expired."""
    tidy_jobs(build_jobs(), now=now)
