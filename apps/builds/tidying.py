"""Dropping what ended builds left, and ending jobs that nobody wants."""

from datetime import datetime, timedelta

from apps.builds.models import Build
from apps.builds.ports import JobRunner
from apps.builds.selectors import ENDED

KEPT = timedelta(hours=1)  # how long an ended job's folder stays, for whoever looks into it


def tidy_jobs(runner: JobRunner, *, now: datetime) -> int:
    """Drop the jobs of builds that are gone, of earlier attempts, or that ended a while ago.

    Returns:
        How many were dropped.
    """
    dropped = 0
    for handle in runner.handles():
        public_id, _, attempt = handle.rpartition("-")
        build = Build.objects.filter(public_id=public_id).first()
        if build is None or _is_over(build, int(attempt), now):
            runner.discard(handle)
            dropped += 1
    return dropped


def _is_over(build: Build, attempt: int, now: datetime) -> bool:
    if attempt < build.attempt:
        return True
    if build.state not in ENDED:
        return False
    # A cancelled build's job is the next pass's to stop; only a straggler is found here.
    return build.ended_at is None or build.ended_at < now - KEPT
