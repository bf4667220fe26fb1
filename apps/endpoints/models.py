"""Rows of endpoints."""

from typing import Any, ClassVar

from django.db import models
from django.db.models import Q

from apps.builds.models import Variant
from apps.endpoints.domain.states import REVISION, RevisionState
from apps.environments.models import Environment
from apps.registry.models import ModelVersion, RegisteredModel
from controlplane.db.base import Row, state_is_known
from controlplane.db.reconcile import Reconcilable


class Endpoint(Row, Reconcilable):
    """The stable address of one registered model in one environment.

    It is reconciled for ever: a route changed by hand, a server killed, a proxy restarted with
    nothing are all put right by the next pass. `generation` grows with every change of intent;
    commands to the outside carry it, and drivers refuse older ones.
    """

    model = models.ForeignKey(RegisteredModel, on_delete=models.PROTECT, related_name="endpoints")
    environment = models.ForeignKey(
        Environment, on_delete=models.PROTECT, related_name="endpoints"
    )
    name = models.CharField(max_length=128)  # the model's name; part of the address
    generation = models.PositiveIntegerField(default=1)
    key_required = models.BooleanField(default=False)
    timeout_ms = models.PositiveIntegerField(default=10_000)
    max_request_bytes = models.PositiveIntegerField(default=16 * 1024 * 1024)
    retired_at = models.DateTimeField(null=True, blank=True)
    # How a rollout wants requests split (`domain.values.Trial`), and what the proxy was last seen
    # to do with the candidate, without a break since then.
    trial = models.JSONField(null=True, blank=True)
    trial_seen = models.JSONField(null=True, blank=True)
    trial_seen_since = models.DateTimeField(null=True, blank=True)
    keep_warm_seconds = models.PositiveIntegerField(default=60)  # for the revision before
    # The row of another kind whose pass should come soon when something changes here, as
    # ["rollout", 12]: who asked for the trial.
    wakes = models.JSONField(null=True, blank=True)
    # Its open revisions, where a sweep has read them for many endpoints at once; no column.
    ahead: Any = None

    class Meta:
        """Rules that hold whoever writes the row."""

        constraints: ClassVar = [
            models.UniqueConstraint(
                fields=["environment", "model"], name="one_endpoint_per_model_and_environment"
            )
        ]

    def __str__(self) -> str:
        """Name the endpoint uniquely."""
        return f"endpoint {self.name} in environment {self.environment_id}"


class Revision(Row):
    """What runs behind an endpoint: an immutable, numbered, runnable specification."""

    endpoint = models.ForeignKey(Endpoint, on_delete=models.CASCADE, related_name="revisions")
    number = models.PositiveIntegerField()
    version = models.ForeignKey(ModelVersion, on_delete=models.PROTECT, related_name="revisions")
    variant = models.ForeignKey(Variant, on_delete=models.PROTECT, related_name="revisions")
    bundle_digest = models.CharField(max_length=80)
    runtime = models.CharField(max_length=20)  # a name in the runtime catalogue
    replicas = models.PositiveSmallIntegerField(default=1)
    configuration = models.JSONField(
        default=dict
    )  # threads, batch size; part of the specification
    state = models.CharField(max_length=10, default=REVISION.initial)
    state_since = models.DateTimeField()
    problem_code = models.CharField(max_length=64, blank=True)
    problem = models.TextField(blank=True)  # the server's own words, or ours
    remedy = models.TextField(blank=True)
    warmed = models.BooleanField(default=False)  # its servers have answered our first requests
    golden = models.JSONField(default=dict)  # {"asked": 5, "answered": 5, "digest": ...}
    requested_by = models.CharField(max_length=200)
    # What was last observed, never what was asked for.
    observed_weight = models.PositiveSmallIntegerField(default=0)
    observed_weight_since = models.DateTimeField(null=True, blank=True)
    observed_replicas = models.JSONField(default=list)  # [{"index", "port", "pid", "state", ...}]
    restarts = models.PositiveIntegerField(default=0)  # ends of a server that had been ready
    started_at = models.DateTimeField(null=True, blank=True)  # when its servers were asked for
    ready_at = models.DateTimeField(null=True, blank=True)  # when it had answered golden requests
    live_at = models.DateTimeField(null=True, blank=True)
    ended_at = models.DateTimeField(null=True, blank=True)

    class Meta:
        """Rules that hold whoever writes the row."""

        constraints: ClassVar = [
            state_is_known(list(RevisionState), "revision"),
            models.UniqueConstraint(
                fields=["endpoint", "number"], name="revision_number_used_once"
            ),
            models.UniqueConstraint(
                fields=["endpoint"],
                condition=Q(
                    state__in=[
                        str(s)
                        for s in (
                            RevisionState.PENDING,
                            RevisionState.STARTING,
                            RevisionState.WARMING,
                            RevisionState.VERIFYING,
                            RevisionState.SHIFTING,
                        )
                    ]
                ),
                name="one_revision_on_its_way_per_endpoint",
            ),
            models.UniqueConstraint(
                fields=["endpoint"],
                condition=Q(state=str(RevisionState.LIVE)),
                name="one_live_revision_per_endpoint",
            ),
        ]

    def __str__(self) -> str:
        """Name the revision uniquely."""
        return f"revision {self.number} of endpoint {self.endpoint_id} ({self.state})"


class EndpointKey(Row):
    """The name of a secret that callers of one endpoint send; the secret itself is kept nowhere.

    A key is a statement, signed by Modelyard, that it is this row (see `domain.keys`).
    """

    endpoint = models.ForeignKey(Endpoint, on_delete=models.CASCADE, related_name="keys")
    name = models.CharField(max_length=80)
    tail = models.CharField(max_length=8)  # its last characters, to tell keys apart
    created_by = models.CharField(max_length=200)
    revoked_at = models.DateTimeField(null=True, blank=True)

    def __str__(self) -> str:
        """Name the key."""
        return f"{self.name} (…{self.tail})"
