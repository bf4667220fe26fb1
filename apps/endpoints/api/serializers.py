"""Endpoints as JSON."""

from dataclasses import asdict
from typing import Any

from rest_framework import serializers

from apps.builds.domain.variants import VariantKind
from apps.endpoints import selectors
from apps.endpoints.domain.runtimes import RUNTIMES
from apps.endpoints.domain.states import RevisionState
from apps.endpoints.domain.summary import EndpointState
from apps.endpoints.domain.values import ReplicaState
from apps.endpoints.models import Endpoint, EndpointKey, Revision
from controlplane.http.api import Command

REASON: dict[str, Any] = {"max_length": 2000, "required": False, "allow_blank": True}


class ReplicaAnswer(serializers.Serializer[Any]):
    """One process behind a revision, as last seen."""

    index = serializers.IntegerField()
    port = serializers.IntegerField(allow_null=True)
    pid = serializers.IntegerField(allow_null=True)
    state = serializers.ChoiceField(choices=[str(s) for s in ReplicaState])


class RevisionProblem(serializers.Serializer[Any]):
    """Why a revision is not as it should be."""

    code = serializers.CharField()
    sentence = serializers.CharField()
    remedy = serializers.CharField(allow_blank=True)


class RevisionAnswer(serializers.Serializer[Revision]):
    """What runs, ran, or is about to run behind an endpoint."""

    id = serializers.CharField(source="public_id")
    number = serializers.IntegerField()
    version = serializers.IntegerField(source="version.number")
    variant = serializers.ChoiceField(choices=[str(k) for k in VariantKind], source="variant.kind")
    bundle_digest = serializers.CharField()
    runtime = serializers.ChoiceField(choices=list(RUNTIMES))
    configuration = serializers.JSONField()
    state = serializers.ChoiceField(choices=[str(s) for s in RevisionState])
    state_since = serializers.DateTimeField()
    weight = serializers.IntegerField(source="observed_weight")
    replicas_asked = serializers.IntegerField(source="replicas")
    replicas = ReplicaAnswer(many=True, source="observed_replicas")
    golden = serializers.SerializerMethodField()
    problem = serializers.SerializerMethodField()
    requested_by = serializers.CharField()
    created_at = serializers.DateTimeField()
    live_at = serializers.DateTimeField(allow_null=True)
    ended_at = serializers.DateTimeField(allow_null=True)

    def get_golden(self, revision: Revision) -> dict[str, int] | None:
        """Return how many golden requests were asked and answered; None before."""
        golden = revision.golden
        return {"asked": golden["asked"], "answered": golden["answered"]} if golden else None

    def get_problem(self, revision: Revision) -> dict[str, str] | None:
        """Return what is wrong; None when nothing is."""
        if not revision.problem_code:
            return None
        return {
            "code": revision.problem_code,
            "sentence": revision.problem,
            "remedy": revision.remedy,
        }


class ServesAnswer(serializers.Serializer[Any]):
    """What answers at an endpoint now."""

    model = serializers.CharField()
    version = serializers.IntegerField()
    variant = serializers.ChoiceField(choices=[str(k) for k in VariantKind])
    revision = serializers.IntegerField()
    since = serializers.DateTimeField(allow_null=True)


class EndpointAnswer(serializers.Serializer[Endpoint]):
    """The stable address of a model in an environment."""

    id = serializers.CharField()
    name = serializers.CharField()
    model = serializers.CharField()
    environment = serializers.CharField()
    state = serializers.ChoiceField(choices=[str(s) for s in EndpointState])
    address = serializers.CharField(help_text="Where predictions are asked for, by POST.")
    key_required = serializers.BooleanField()
    timeout_ms = serializers.IntegerField()
    max_request_bytes = serializers.IntegerField()
    generation = serializers.IntegerField(help_text="Grows with every change that is asked for.")
    serves = ServesAnswer(allow_null=True)
    created_at = serializers.DateTimeField()
    retired_at = serializers.DateTimeField(allow_null=True)

    def to_representation(self, instance: Endpoint) -> dict[str, Any]:
        """Return the endpoint with its state; no query."""
        view = selectors.view(instance)
        return {
            "id": instance.public_id,
            "name": instance.name,
            "model": instance.model.name,
            "environment": instance.environment.slug,
            "state": str(view.state),
            "address": view.url,
            "key_required": instance.key_required,
            "timeout_ms": instance.timeout_ms,
            "max_request_bytes": instance.max_request_bytes,
            "generation": instance.generation,
            "serves": asdict(view.serves) if view.serves else None,
            "created_at": instance.created_at,
            "retired_at": instance.retired_at,
        }


class EndpointDetailAnswer(EndpointAnswer):
    """An endpoint with its latest revisions, the newest first, and how to ask it."""

    revisions = RevisionAnswer(many=True)
    example = serializers.JSONField(help_text="A request that can be sent as it is.")
    curl = serializers.CharField()
    python = serializers.CharField()

    def to_representation(self, instance: Endpoint) -> dict[str, Any]:
        """Return it, with one query for the revisions."""
        address = selectors.address(instance)
        return {
            **super().to_representation(instance),
            "revisions": [RevisionAnswer(r).data for r in selectors.revisions(instance)],
            "example": address.body,
            "curl": address.curl,
            "python": address.python,
        }


class ServedAnswer(serializers.Serializer[Any]):
    """What came of asking to serve."""

    endpoint = EndpointAnswer()
    revision = RevisionAnswer()
    created = serializers.BooleanField(help_text="False when it ran, or was on its way, already.")


class KeyAnswer(serializers.ModelSerializer[EndpointKey]):
    """A key of an endpoint, without its secret."""

    id = serializers.CharField(source="public_id")

    class Meta:
        """Which columns are shown."""

        model = EndpointKey
        fields = ("id", "name", "tail", "created_by", "created_at", "revoked_at")


class NewKeyAnswer(KeyAnswer):
    """A new key, with its secret, which is never shown again."""

    secret = serializers.CharField()

    class Meta(KeyAnswer.Meta):
        """Which columns are shown."""

        fields = (*KeyAnswer.Meta.fields, "secret")  # type: ignore[assignment]  # one more


class PredictionAnswer(serializers.Serializer[Any]):
    """What came of a prediction."""

    response = serializers.JSONField(help_text="The model server's answer.")
    milliseconds = serializers.FloatField()
    revision = serializers.IntegerField(allow_null=True)
    request_id = serializers.CharField()


class Serve(Command):
    """Have a version answer in an environment."""

    model = serializers.CharField(max_length=128)
    version = serializers.IntegerField(min_value=1)
    environment = serializers.CharField(max_length=40)
    variant = serializers.ChoiceField(choices=[str(k) for k in VariantKind], required=False)
    runtime = serializers.ChoiceField(choices=list(RUNTIMES), required=False)
    replicas = serializers.IntegerField(min_value=1, required=False)
    configuration = serializers.DictField(child=serializers.IntegerField(), required=False)
    reason = serializers.CharField(**REASON)


class Retire(Command):
    """Stop answering."""

    reason = serializers.CharField(**REASON)


class Scale(Command):
    """Change the number of replicas."""

    replicas = serializers.IntegerField(min_value=1)
    reason = serializers.CharField(**REASON)


class CreateKey(Command):
    """Make a key."""

    name = serializers.CharField(max_length=80)


class RevokeKey(Command):
    """Let nobody in by a key any more."""

    reason = serializers.CharField(**REASON)


class OpenToAll(Command):
    """Let callers in without a key."""

    reason = serializers.CharField(max_length=2000)


class Predict(Command):
    """An inference request of the Open Inference Protocol."""

    id = serializers.CharField(max_length=200, required=False)
    inputs = serializers.ListField(child=serializers.DictField(), allow_empty=False)
    outputs = serializers.ListField(child=serializers.DictField(), required=False)
    parameters = serializers.DictField(required=False)
