"""A person's verbs on endpoints."""

from typing import Any

import pytest

from apps.audit.models import AuditEvent
from apps.endpoints import selectors, services
from apps.endpoints.domain import keys
from apps.endpoints.models import EndpointKey
from apps.environments.models import Environment
from apps.registry.models import ModelVersion
from controlplane.kernel.actor import Role
from controlplane.kernel.errors import Conflict, ControlPlaneError, Invalid, Missing
from tests import factories

pytestmark = pytest.mark.django_db


@pytest.fixture
def admin() -> Any:
    return factories.actor_with(Role.ADMIN)


@pytest.fixture(autouse=True)
def house(settings: Any, tmp_path: Any) -> None:
    settings.ENDPOINT_KEYS = tmp_path / "endpoint-keys"


def proved(**columns: Any) -> ModelVersion:
    version = factories.version(**columns)
    factories.variant(version=version)
    return version


def serve(actor: Any, version: ModelVersion, **how: Any) -> services.Served:
    known = {"environment": "dev", "model": version.model.name, "version": version.number}
    return services.serve(actor=actor, **{**known, **how})


def test_asking_twice_for_the_same_is_asking_once(admin: Any) -> None:
    version = proved()
    first, again = serve(admin, version), serve(admin, version, replicas=3)
    assert first.created
    assert not again.created
    assert again.revision.pk == first.revision.pk
    assert first.endpoint.generation == again.endpoint.generation
    assert AuditEvent.objects.filter(verb="endpoints.serve").count() == 1


def test_another_configuration_is_another_revision(admin: Any) -> None:
    version = proved()
    serve(admin, version)
    other = serve(admin, version, configuration={"threads": 2})
    assert other.created
    assert other.revision.number == 2
    with pytest.raises(Invalid):
        serve(admin, version, configuration={"thread": 2})


def test_the_endpoint_is_due_at_once_and_taken_from_any_worker(admin: Any) -> None:
    served = serve(admin, proved())
    assert served.endpoint.next_reconcile_at is not None
    assert served.endpoint.lease_token is None


@pytest.mark.parametrize("state", ["archived", "rejected"])
def test_a_version_that_is_out_is_not_served(admin: Any, state: str) -> None:
    with pytest.raises(Conflict) as refused:
        serve(admin, proved(state=state))
    assert refused.value.code == "endpoint.version_not_servable"


def test_nobody_serves_where_it_is_protected(admin: Any) -> None:
    with pytest.raises(Conflict) as refused:
        serve(admin, proved(), environment="production")
    assert refused.value.code == "endpoint.needs_release"
    assert "/releases/new?model=" in refused.value.remedy


def test_a_lossy_variant_is_for_the_first_environment_only(admin: Any) -> None:
    version = proved()
    factories.variant(version=version, kind="onnx-int8-dynamic", verdict="too_lossy")
    assert serve(admin, version, variant="onnx-int8-dynamic").created
    with pytest.raises(Conflict) as refused:
        serve(admin, version, variant="onnx-int8-dynamic", environment="staging")
    assert refused.value.code == "endpoint.too_lossy"


@pytest.mark.parametrize(
    ("how", "code"),
    [
        ({"replicas": 99}, "endpoint.replicas"),
        ({"runtime": "mlflow-pyfunc"}, "runtime.does_not_fit"),
        ({"variant": "native"}, "endpoint.no_variant"),
        ({"environment": "moon"}, "environments.missing"),
    ],
)
def test_what_cannot_be_served_is_refused_with_what_to_do(
    admin: Any, how: dict[str, Any], code: str
) -> None:
    with pytest.raises(ControlPlaneError) as refused:
        serve(admin, proved(), **how)
    assert refused.value.code == code
    assert refused.value.remedy


def test_scaling_changes_the_current_revision_within_the_environment_s_limit(admin: Any) -> None:
    served = serve(admin, proved())
    endpoint = served.endpoint.public_id
    services.scale(actor=admin, endpoint=endpoint, replicas=3)
    assert served.endpoint.revisions.get().replicas == 3
    limit = Environment.objects.get(slug="dev").max_replicas
    with pytest.raises(Invalid):
        services.scale(actor=admin, endpoint=endpoint, replicas=limit + 1)


def test_retiring_drains_everything_and_serving_again_revives(admin: Any) -> None:
    version = proved()
    served = serve(admin, version)
    row = services.retire(actor=admin, endpoint=served.endpoint.public_id, reason="over")
    assert selectors.view(row).state == "retired"
    assert [r.state for r in row.revisions.all()] == ["draining"]
    with pytest.raises(Conflict):
        services.scale(actor=admin, endpoint=row.public_id, replicas=2)
    revived = serve(admin, version)
    assert revived.created
    assert revived.endpoint.retired_at is None


def test_a_key_is_shown_once_and_kept_nowhere(admin: Any) -> None:
    endpoint = serve(admin, proved()).endpoint
    key, secret = services.create_key(actor=admin, endpoint=endpoint.public_id, name="ci")
    row = EndpointKey.objects.get()
    assert secret.endswith(row.tail)
    assert secret not in str(EndpointKey.objects.values().get())
    assert secret == keys.mint(services.signing_seed(), name=key.public_id)
    endpoint.refresh_from_db()
    assert endpoint.key_required
    services.revoke_key(actor=admin, endpoint=endpoint.public_id, key=key.public_id)
    row.refresh_from_db()
    assert row.revoked_at is not None
    with pytest.raises(Missing):
        services.revoke_key(actor=admin, endpoint=endpoint.public_id, key="nothing")


def test_an_endpoint_is_opened_again_with_a_reason_and_its_next_key_closes_it(admin: Any) -> None:
    endpoint = serve(admin, proved()).endpoint
    services.create_key(actor=admin, endpoint=endpoint.public_id, name="ci")
    with pytest.raises(Invalid, match="needs a reason"):
        services.open_to_all(actor=admin, endpoint=endpoint.public_id, reason=" ")
    endpoint.refresh_from_db()
    generation = endpoint.generation
    row = services.open_to_all(actor=admin, endpoint=endpoint.public_id, reason="a demo")
    assert not row.key_required
    assert row.generation == generation + 1
    assert EndpointKey.objects.get().revoked_at is None
    event = AuditEvent.objects.get(verb="endpoints.open")
    assert (event.reason, event.after) == ("a demo", {"key_required": False})
    services.open_to_all(actor=admin, endpoint=endpoint.public_id, reason="once more")
    assert AuditEvent.objects.filter(verb="endpoints.open").count() == 1
    services.create_key(actor=admin, endpoint=endpoint.public_id, name="another")
    row.refresh_from_db()
    assert row.key_required


def test_somebody_of_another_team_does_not_see_an_endpoint(admin: Any) -> None:
    endpoint = serve(admin, proved()).endpoint
    stranger = factories.actor_with(Role.ADMIN, team="elsewhere")
    assert list(selectors.endpoints(stranger)) == []
    with pytest.raises(Missing):
        services.retire(actor=stranger, endpoint=endpoint.public_id)


def test_a_list_of_endpoints_takes_the_same_queries_however_long(
    admin: Any, django_assert_num_queries: Any
) -> None:
    for _ in range(12):
        factories.revision()
    with django_assert_num_queries(2):
        views = [selectors.view(row) for row in selectors.endpoints(admin)]
    assert {v.state for v in views} == {"live"}
    assert all(v.serves and v.url for v in views)
