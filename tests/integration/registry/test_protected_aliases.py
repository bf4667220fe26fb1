"""Aliases that follow what is live: who may move them, and what happens when somebody does."""

from collections.abc import Callable
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from apps.audit.models import AuditEvent
from apps.environments.models import AliasDrift, Environment
from apps.notifications.models import Notification
from apps.registry import services
from apps.registry.discover import Discovery
from apps.registry.domain.drift import Answer, Drift, Known, answer, drifts, lagging
from apps.registry.models import Alias, ModelVersion, RegisteredModel
from apps.registry.reconcile import VersionReconciler
from controlplane.drivers.memory.model_store import MemoryModelStore
from controlplane.kernel.actor import Role, worker
from controlplane.kernel.errors import Denied, Transient
from tests import factories
from tests.integration.door import passes

pytestmark = pytest.mark.django_db(transaction=True)

RELEASES = worker("releases")
ADMIN = factories.actor_with(Role.ADMIN, name="ada")


class House:
    """One model of three versions, mirrored, and the workers that keep MLflow in step."""

    def __init__(self, scratch: Path) -> None:
        self.store = MemoryModelStore()
        self.team = factories.team(slug="fraud")
        self.member = factories.person(username="grace")
        factories.grant(person=self.member, role="contributor", team=self.team)
        self.model = factories.model(name="card-fraud", team=self.team)
        self.store.ensure_model("card-fraud")
        for number in (1, 2, 3):
            version = factories.version(model=self.model, files={"m": b"%d" % number})
            place = self.store.reserve(version.public_id, name="card-fraud", number=number)
            tags = {"modelyard.version": version.public_id}
            self.store.create_version("card-fraud", place=place, tags=tags)
        self.mirror = VersionReconciler(
            self.store, public_url="http://here", scratch=scratch, upload_limit=10**9
        )
        self.look = Discovery(self.store, clock=lambda: 0.0)
        self.at = datetime.now(UTC)

    def settle(self) -> None:
        """Let some time pass: look, mirror, look again."""
        for _ in range(3):
            self.at += timedelta(seconds=10)
            self.look(self.at)
            passes(self.mirror)

    def live(self, number: int | None, alias: str = "champion") -> None:
        """Say what is live, as a release does."""
        services.follow_live(
            actor=RELEASES, model="card-fraud", alias=alias, number=number, reason="release 7"
        )
        passes(self.mirror)

    def there(self) -> dict[str, int]:
        return dict(self.store.models["card-fraud"].aliases)

    def here(self) -> dict[str, int]:
        rows = Alias.objects.filter(model=self.model)
        return dict(rows.values_list("name", "version__number"))


@pytest.fixture
def house(tmp_path: Path) -> House:
    return House(tmp_path)


def entries() -> list[tuple[str, str, Any, Any]]:
    """Return the ledger's entries on aliases: verb, actor, from, to."""
    rows = AuditEvent.objects.filter(verb__startswith="registry.alias").order_by("id")
    return [
        (e.verb.removeprefix("registry.alias."), e.actor_name, e.before.get("version"),
         e.after.get("version"))
        for e in rows
    ]  # fmt: skip


def policy(drift: AliasDrift) -> None:
    Environment.objects.filter(slug="production").update(alias_drift=drift)


@pytest.mark.parametrize("alias", ["champion", "Champion"])
@pytest.mark.parametrize("actor", [ADMIN, RELEASES], ids=["an admin", "a worker"])
def test_nobody_moves_or_removes_a_protected_alias(house: House, alias: str, actor: Any) -> None:
    Alias.objects.create(model=house.model, name=alias, version=ModelVersion.objects.get(number=1))
    with pytest.raises(Denied) as refused:
        services.move_alias(actor=actor, model="card-fraud", alias=alias, number=2)
    assert refused.value.code == "registry.alias_protected"
    assert refused.value.sentence == (
        f"The alias {alias} follows what is live in production; only a release moves it."
    )
    assert refused.value.remedy.endswith(
        "/releases/new?model=card-fraud&version=2&environment=production"
    )
    with pytest.raises(Denied, match="follows what is live"):
        services.remove_alias(actor=actor, model="card-fraud", alias=alias)
    assert house.here() == {alias: 1}
    assert entries() == []


def test_an_alias_that_no_environment_claims_moves_as_before(house: House) -> None:
    Environment.objects.filter(slug="production").update(alias="")
    services.move_alias(actor=ADMIN, model="card-fraud", alias="champion", number=2)
    assert house.here() == {"champion": 2}


def test_it_follows_what_is_live_and_goes_when_nothing_is(house: House) -> None:
    house.live(1)
    house.live(2)
    house.live(2)
    assert house.here() == house.there() == {"champion": 2}
    house.live(None)
    house.live(None)
    assert house.here() == house.there() == {}
    assert entries() == [
        ("move", "worker:releases", None, 1),
        ("move", "worker:releases", 1, 2),
        ("remove", "worker:releases", 2, None),
    ]


def test_only_a_worker_says_what_is_live(house: House) -> None:
    with pytest.raises(Denied) as refused:
        services.follow_live(actor=ADMIN, model="card-fraud", alias="champion", number=1)
    assert refused.value.code == "registry.alias_protected"


@pytest.mark.parametrize(
    ("tamper", "to"),
    [
        (lambda store: store.set_alias("card-fraud", "champion", 3), 3),
        (lambda store: store.remove_alias("card-fraud", "champion"), None),
    ],
    ids=["moved", "removed"],
)
def test_a_protected_alias_moved_behind_our_back_is_put_back_once_and_told(
    house: House, tamper: Callable[[MemoryModelStore], None], to: int | None
) -> None:
    house.live(2)
    tamper(house.store)
    house.settle()
    assert house.here() == house.there() == {"champion": 2}
    assert entries()[1:] == [("put_back", "worker:mirror", to, 2)]
    told = Notification.objects.filter(person=house.member)
    assert [n.kind for n in told] == ["alias.moved"]
    assert "card-fraud@champion was moved in MLflow and put back" in told.get().title


def test_a_protected_alias_set_for_a_model_without_a_release_is_taken_away(house: House) -> None:
    house.store.set_alias("card-fraud", "champion", 3)
    house.settle()
    assert house.here() == house.there() == {}
    assert entries() == [("put_back", "worker:mirror", 3, None)]
    assert Notification.objects.filter(person=house.member).count() == 1


def test_an_environment_may_adopt_instead(house: House) -> None:
    policy(AliasDrift.ADOPT)
    house.live(2)
    house.store.set_alias("card-fraud", "champion", 3)
    house.settle()
    assert house.here() == house.there() == {"champion": 3}
    assert entries()[1:] == [("move", "worker:mirror", 2, 3)]
    assert "kept there" in Notification.objects.get(person=house.member).title


def test_an_unprotected_alias_is_adopted_moved_and_removed(house: House) -> None:
    house.store.set_alias("card-fraud", "candidate", 1)
    house.settle()
    house.store.set_alias("card-fraud", "candidate", 3)
    house.settle()
    house.store.remove_alias("card-fraud", "candidate")
    house.settle()
    assert house.here() == house.there() == {}
    assert entries() == [
        ("move", "worker:mirror", None, 1),
        ("move", "worker:mirror", 1, 3),
        ("remove", "worker:mirror", 3, None),
    ]
    assert Notification.objects.filter(person=house.member).count() == 2  # not of the first


def test_an_archived_version_is_not_adopted(house: House) -> None:
    services.archive_version(actor=ADMIN, model="card-fraud", number=3, reason="old")
    passes(house.mirror)
    house.store.set_alias("card-fraud", "candidate", 3)
    house.settle()
    assert house.here() == house.there() == {}
    assert [e[0] for e in entries()] == ["put_back"]


def test_what_the_mirror_has_yet_to_do_is_not_taken_for_somebody_s_doing(house: House) -> None:
    services.follow_live(actor=RELEASES, model="card-fraud", alias="champion", number=2)
    house.look(house.at + timedelta(seconds=10))
    assert [e[0] for e in entries()] == ["move"]
    assert house.here() == {"champion": 2}


def test_a_move_here_between_the_look_and_the_lock_wins(house: House) -> None:
    house.live(2)
    house.store.set_alias("card-fraud", "champion", 3)
    seen = Drift("champion", here=Known(2, 2), there=3)
    services.follow_live(actor=RELEASES, model="card-fraud", alias="champion", number=1)
    mirror = worker("mirror")
    assert services.settle_drift(actor=mirror, model="card-fraud", drift=seen) is None
    house.settle()
    assert house.here() == house.there() == {"champion": 1}
    assert entries()[2:] == [("put_back", "worker:mirror", 3, 1)]


def test_aliases_gone_with_their_versions_are_kept_here(house: House) -> None:
    services.move_alias(actor=ADMIN, model="card-fraud", alias="candidate", number=3)
    passes(house.mirror)
    house.store.withdraw("card-fraud", 3)
    house.store.remove_alias("card-fraud", "candidate")
    house.settle()
    assert house.here() == {"candidate": 3}


def test_a_name_that_is_not_allowed_here_stays_in_mlflow_alone(house: House) -> None:
    model = house.store.models["card-fraud"]
    house.store.models["card-fraud"] = replace(model, aliases={"x" * 200: 1})
    house.settle()
    assert house.here() == {}


def test_a_thousand_models_cost_a_few_queries(
    house: House, django_assert_max_num_queries: Any
) -> None:
    RegisteredModel.objects.bulk_create(
        RegisteredModel(name=f"m{i}", team=house.team, created_by="x") for i in range(1_000)
    )
    for i in range(1_000):
        house.store.ensure_model(f"m{i}")
    house.settle()
    with django_assert_max_num_queries(25):  # six pages of models, two queries each
        house.look(house.at + timedelta(seconds=10))


def test_what_waited_for_mlflow_is_hurried_when_it_answers_again(house: House) -> None:
    later = house.at + timedelta(minutes=5)
    ModelVersion.objects.filter(number=1).update(
        mirror_state="pending", attempts=9, next_reconcile_at=later
    )
    changed = house.store.versions_changed_since
    house.store.versions_changed_since = down  # type: ignore[method-assign, assignment]
    house.look(house.at)
    assert ModelVersion.objects.get(number=1).next_reconcile_at == later
    house.store.versions_changed_since = changed  # type: ignore[method-assign]
    house.look(house.at)
    assert ModelVersion.objects.get(number=1).next_reconcile_at == house.at


def test_every_alias_is_looked_at_as_often_as_a_twentieth_of_the_time_allows(
    house: House,
) -> None:
    ticks = iter([0.0, 3.0, 10.0, 10.5, 20.0, 20.0])
    look = Discovery(house.store, clock=lambda: next(ticks))
    look(house.at)
    assert look.aliases_at == house.at + timedelta(seconds=60)
    look(house.at + timedelta(seconds=10))
    assert look.aliases_at == house.at + timedelta(seconds=60)


def test_a_move_of_ours_that_mlflow_had_not_seen_wins_over_one_made_there(house: House) -> None:
    services.move_alias(actor=ADMIN, model="card-fraud", alias="candidate", number=1)
    passes(house.mirror)
    services.move_alias(actor=ADMIN, model="card-fraud", alias="candidate", number=2)
    house.store.set_alias("card-fraud", "candidate", 3)
    house.settle()
    assert house.here() == house.there() == {"candidate": 2}
    assert entries()[2:] == [("put_back", "worker:mirror", 3, 2)]


def test_a_pass_over_the_version_does_not_hide_what_somebody_did(house: House) -> None:
    house.live(2)
    house.store.set_alias("card-fraud", "champion", 3)
    services.edit_version(
        actor=ADMIN, model="card-fraud", number=2, changes={"description": "just edited"}
    )
    passes(house.mirror)
    assert house.there() == {"champion": 3}
    house.settle()
    assert house.there() == {"champion": 2}
    assert entries()[1:] == [("put_back", "worker:mirror", 3, 2)]


def test_what_a_pass_left_undone_is_done_by_a_later_one(house: House) -> None:
    house.live(1)
    services.follow_live(actor=RELEASES, model="card-fraud", alias="champion", number=2)
    ModelVersion.objects.update(mirror_state="mirrored", next_reconcile_at=None)
    house.settle()
    assert house.there() == {"champion": 2}
    assert [e[0] for e in entries()] == ["move", "move"]


def test_drifts_are_what_is_neither_here_nor_was_shown() -> None:
    here = {"a": Known(1, 1), "b": Known(2, 2), "c": Known(3, 3), "e": Known(5, 4)}
    there = {"a": 1, "b": 3, "d": 4, "e": 4}
    assert drifts(here, there) == [
        Drift("b", Known(2, 2), 3), Drift("c", Known(3, 3), None), Drift("d", None, 4),
    ]  # fmt: skip
    assert lagging(here, there) == [5]
    assert lagging({"a": Known(1, None)}, {}) == [1]


@pytest.mark.parametrize(
    ("protected", "drift", "settled", "usable", "expected"),
    [
        (True, "put_back", True, True, Answer.PUT_BACK),
        (True, "adopt", True, True, Answer.ADOPT),
        (True, "adopt", True, False, Answer.PUT_BACK),
        (True, "adopt", False, True, Answer.PUT_BACK),
        (False, "", True, True, Answer.ADOPT),
        (False, "", True, False, Answer.PUT_BACK),
        (False, "", False, True, Answer.PUT_BACK),
    ],
)
def test_the_answer_to_a_drift(
    protected: bool, drift: str, settled: bool, usable: bool, expected: Answer
) -> None:
    done = answer(protected=protected, policy=drift, settled=settled, usable=usable)
    assert done is expected


def down(at_ms: int) -> None:
    raise Transient("MLflow does not answer.", code="mlflow.down")
