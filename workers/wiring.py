"""The composition root: the one place where a port meets its driver."""

from datetime import datetime
from functools import cache

from django.conf import settings

from apps.builds import services as builds
from apps.builds.models import Build
from apps.builds.reconcile import BuildReconciler
from apps.builds.tidying import tidy_jobs
from apps.endpoints.domain import runtimes
from controlplane.drivers.local.jobs import LocalBundles, LocalJobs
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


KINDS: dict[str, Kind] = {
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


def tidy(now: datetime) -> None:
    """Drop what has expired."""
    tidy_jobs(build_jobs(), now=now)
