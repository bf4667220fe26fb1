"""Aliases, descriptions and tags: by the door they come here, by the mirror they go there."""

from pathlib import Path

import pytest

from apps.registry import services
from apps.registry.models import Alias, ModelVersion, RegisteredModel
from controlplane.drivers.mlflow.store import MlflowStore
from controlplane.kernel.actor import Role
from tests import factories
from tests.integration.door import until, worker
from tests.integration.mlflow_door.calling import (
    CLIENT,
    aliases,
    client,
    made_here,
    register,
    unique,
)

pytestmark = pytest.mark.django_db(transaction=True)


def test_aliases_descriptions_and_tags_come_through_the_door(
    door: str, secret: str, store: MlflowStore, tmp_path: Path
) -> None:
    model = made_here(tmp_path, unique("alias"))
    with worker(store, tmp_path):
        until(lambda: ModelVersion.objects.get().mirror_state == "mirrored", seconds=20)
        code = CLIENT + (
            "name = sys.argv[1]\n"
            "client.set_registered_model_alias(name, 'candidate', 1)\n"
            "client.set_registered_model_alias(name, 'passing', 1)\n"
            "client.delete_registered_model_alias(name, 'passing')\n"
            "client.update_model_version(name, '1', 'written by the client')\n"
            "client.set_model_version_tag(name, '1', 'reviewed', 'yes')\n"
            "client.update_registered_model(name, 'about cells')\n"
            "print(client.get_model_version_by_alias(name, 'candidate').version)\n"
        )
        assert client(code, door, secret, model.name).splitlines()[-1] == "1"
        until(lambda: ModelVersion.objects.get().mirror_state == "mirrored")
    version = ModelVersion.objects.get()
    assert [a.name for a in Alias.objects.all()] == ["candidate"]
    assert version.description == "written by the client"
    assert version.tags["reviewed"] == "yes"
    assert RegisteredModel.objects.get().description == "about cells"
    stored = store.model(model.name)
    assert stored is not None
    assert dict(stored.aliases) == {"candidate": 1}


def test_an_alias_moved_here_moves_in_mlflow(
    door: str, store: MlflowStore, tmp_path: Path
) -> None:
    model = made_here(tmp_path, unique("moves"))
    register(tmp_path, model.name, seed=2)
    ada = factories.actor_with(Role.ADMIN)
    with worker(store, tmp_path):
        for number in (1, 2):
            services.move_alias(actor=ada, model=model.name, alias="candidate", number=number)
            until(lambda n=number: aliases(store, model.name) == {"candidate": n}, seconds=20)
        services.remove_alias(actor=ada, model=model.name, alias="candidate")
        until(lambda: aliases(store, model.name) == {})
