"""The composition root: the one place where a port meets its driver."""

from datetime import datetime, timedelta
from functools import cache
from pathlib import Path

import structlog
from django.conf import settings

from apps.accounts import services as accounts
from apps.analysis import reconcile as analysis
from apps.analysis.asking import AskingReconciler
from apps.analysis.comparator import Comparator
from apps.analysis.domain.values import SourceKind
from apps.analysis.models import AnalysisRun, Asking
from apps.analysis.reconcile import AnalysisReconciler
from apps.builds import services as builds
from apps.builds.models import Build
from apps.builds.reconcile import BuildReconciler
from apps.builds.tidying import tidy_jobs
from apps.endpoints.domain import runtimes
from apps.endpoints.models import Endpoint
from apps.endpoints.reconcile import EndpointReconciler
from apps.endpoints.watch import Watch
from apps.gates import selectors as gates
from apps.gates.models import Checklist
from apps.gates.programs.subject import World
from apps.gates.reconcile import ChecklistReconciler, tidy_load_tests
from apps.monitoring import reconcile as monitoring
from apps.notifications import services as notifications
from apps.notifications.domain.kinds import Transport
from apps.notifications.models import Delivery
from apps.notifications.ports import Sender
from apps.notifications.reconcile import DeliveryReconciler
from apps.registry import blobs
from apps.registry import services as registry
from apps.registry.discover import Discovery
from apps.registry.models import ModelVersion
from apps.registry.reconcile import VersionReconciler
from apps.releases.models import Release
from apps.releases.reconcile import ReleaseReconciler
from apps.rollouts.models import Rollout
from apps.rollouts.reconcile import RolloutReconciler
from controlplane.drivers.envoy.predictor import EnvoyPredictor
from controlplane.drivers.envoy.router import EnvoyRouter
from controlplane.drivers.envoy.stats import EnvoyMeter
from controlplane.drivers.local.answers import LocalAnswers
from controlplane.drivers.local.capacity import LocalCapacity
from controlplane.drivers.local.jobs import LocalBundles, LocalJobs
from controlplane.drivers.local.load import LocalLoad
from controlplane.drivers.local.metric_jobs import MetricJobs
from controlplane.drivers.local.servers import LocalServers
from controlplane.drivers.local.supervisor import Supervisor
from controlplane.drivers.mlflow.store import MlflowStore
from controlplane.drivers.notices.mail import MailSender
from controlplane.drivers.notices.services import AppriseSender
from controlplane.drivers.notices.webhook import WebhookSender
from controlplane.drivers.oci.layout import OciLayout
from controlplane.drivers.oci.reading import BundleReader
from controlplane.drivers.prometheus.source import PrometheusSource
from controlplane.drivers.webhooks.source import WebhookSource
from controlplane.http import idempotency
from controlplane.kernel.errors import Transient
from workers.loop import Kind
from workers.runtimes import environments

log = structlog.get_logger(__name__)


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


@cache
def model_servers() -> LocalServers:
    """Return what runs model servers."""
    return LocalServers(
        settings.HOME,
        supervisor=Supervisor(settings.ENV.supervisor),
        bundles=OciLayout(settings.BUNDLE_ROOT),
    )


@cache
def traffic_router() -> EnvoyRouter:
    """Return what decides which revision answers."""
    return EnvoyRouter(
        settings.HOME / "envoy",
        admin=settings.ENV.envoy_admin,
        log=settings.HOME / "logs" / "envoy.log",
    )


@cache
def endpoint_reconciler() -> EndpointReconciler:
    """Return what drives endpoints."""
    return EndpointReconciler(model_servers(), traffic_router())


@cache
def capacity() -> LocalCapacity:
    """Return what knows how much is free."""
    return LocalCapacity(model_servers())


@cache
def rollout_reconciler() -> RolloutReconciler:
    """Return what drives rollouts."""
    return RolloutReconciler(capacity(), EnvoyPredictor(settings.SERVING_URL))


@cache
def load_tests() -> LocalLoad:
    """Return what runs load tests."""
    return LocalLoad(settings.HOME, instance=settings.INSTANCE)


@cache
def checklist_reconciler() -> ChecklistReconciler:
    """Return what keeps checklists current."""
    world = World(bundles=BundleReader(OciLayout(settings.BUNDLE_ROOT)), servers=model_servers())
    return ChecklistReconciler(world, load_tests())


@cache
def traffic_measurer() -> monitoring.Measurer:
    """Return what reads the proxy's statistics."""
    return monitoring.Measurer(EnvoyMeter(admin=settings.ENV.envoy_admin))


@cache
def analysis_reconciler() -> AnalysisReconciler:
    """Return what looks at canaries."""
    return AnalysisReconciler(Comparator(LocalAnswers()))


@cache
def asking_reconciler() -> AskingReconciler:
    """Return what asks other sources for metrics."""
    return AskingReconciler(
        {
            SourceKind.PROMETHEUS: PrometheusSource(settings.PROMETHEUS_URL),
            SourceKind.WEBHOOK: WebhookSource(private=settings.NOTIFY_PRIVATE),
            SourceKind.JOB: MetricJobs(settings.METRIC_JOBS),
        }
    )


@cache
def delivery_reconciler() -> DeliveryReconciler:
    """Return what hands messages over."""
    private = settings.NOTIFY_PRIVATE
    senders: dict[Transport, Sender] = {
        Transport.MAIL: MailSender(settings.SMTP_URL, settings.MAIL_FROM),
        Transport.WEBHOOK: WebhookSender(settings.PUBLIC_URL, private=private),
        Transport.APPRISE: AppriseSender(private=private),
    }
    return DeliveryReconciler(senders, settings.PUBLIC_URL)


KINDS: dict[str, Kind] = {
    "endpoint": Kind(Endpoint, endpoint_reconciler),
    "version": Kind(ModelVersion, version_reconciler, lease=timedelta(minutes=2)),
    "build": Kind(Build, build_reconciler),
    "checklist": Kind(Checklist, checklist_reconciler, lease=timedelta(minutes=2)),
    "release": Kind(Release, ReleaseReconciler),
    # Before rollouts: after a silence they should find a fresh look, not a stale one.
    "analysis": Kind(AnalysisRun, analysis_reconciler),
    "rollout": Kind(Rollout, rollout_reconciler),
    "delivery": Kind(Delivery, delivery_reconciler, threads=8),
    "asking": Kind(Asking, asking_reconciler, threads=8),
}


def notice(now: datetime) -> None:
    """Begin what nobody has to ask for: the builds of new versions, the daily mails."""
    notifications.send_digests(now=now)
    if settings.AUTO_BUILD:
        builds.build_what_is_new()


def measure(now: datetime) -> None:
    """Read the proxy's statistics into windows, and wake endpoints that have changed."""
    for look in (traffic_measurer(), Watch(model_servers(), traffic_router())):
        try:
            look(now)
        except Transient as error:
            log.info("measure.postponed", problem=str(error))


def discover(now: datetime) -> None:
    """Find versions that reached MLflow behind our back."""
    if settings.MLFLOW_URL:
        discovery()(now)


def tidy(now: datetime) -> None:
    """Drop what has expired."""
    tidy_jobs(build_jobs(), now=now)
    registry.drop_expired(now=now)
    if now.minute < 5:  # once an hour: it looks at every blob
        blobs.drop_unused(now=now, named=gates.kept_files())
        tidy_load_tests(load_tests())
        model_servers().drop_logs(now=now)
        environments.drop_unused(settings.HOME, now=now)
    monitoring.tidy(now)
    analysis.tidy(now)
    accounts.tidy(now)
    notifications.tidy(now=now)
    idempotency.forget_expired(now)
