"""People, teams, grants and tokens: what services do and refuse."""

import threading
from datetime import timedelta

import pytest
from django.db import connection

from apps.accounts import identify, selectors, services
from apps.accounts.models import ApiToken, Person, RoleGrant, SignInFailures
from apps.audit.models import AuditEvent
from controlplane.kernel.actor import ActorKind, Role
from controlplane.kernel.clock import SystemClock
from controlplane.kernel.errors import Conflict, Denied, Invalid, Missing, Throttled
from tests import factories

pytestmark = pytest.mark.django_db


def test_a_fresh_house_gets_one_admin_and_one_team_however_often_it_starts() -> None:
    first = services.ensure_first_admin("a long password")
    again = services.ensure_first_admin("another password")
    assert first.pk == again.pk
    assert Person.objects.get().check_password("a long password")
    assert factories.actor_of(first).grants
    assert AuditEvent.objects.count() == 2


def test_somebody_new_may_do_nothing_before_the_one_time_password_is_changed() -> None:
    admin = factories.actor_with("admin")
    person, password = services.create_person(actor=admin, username="ada")
    services.grant_role(actor=admin, username="ada", role="operator")
    assert person.check_password(password)
    assert factories.actor_of(person).grants == frozenset()
    me = factories.actor_of(person)
    services.change_password(actor=me, current=password, new="correct horse battery")
    assert {g.role for g in factories.actor_of(person).grants} == {Role.OPERATOR}


@pytest.mark.parametrize("name", ["", "Ada", "a b", "-a", "ä", "a" * 81, "a/b", "a\n"])
def test_names_that_do_not_fit_are_refused(name: str) -> None:
    with pytest.raises(Invalid):
        services.create_person(actor=factories.actor_with("admin"), username=name)


def test_a_name_is_taken_in_any_case() -> None:
    factories.person(username="Ada")
    with pytest.raises(Conflict):
        services.create_person(actor=factories.actor_with("admin"), username="ada")


@pytest.mark.parametrize("role", ["viewer", "contributor", "reviewer", "operator"])
def test_only_admins_manage_people(role: str) -> None:
    actor = factories.actor_with(role)
    factories.person(username="ada")
    for forbidden in (
        lambda: services.create_person(actor=actor, username="bob"),
        lambda: services.reset_password(actor=actor, username="ada"),
        lambda: services.set_active(actor=actor, username="ada", active=False),
        lambda: services.create_team(actor=actor, slug="fraud"),
        lambda: services.grant_role(actor=actor, username="ada", role="admin"),
    ):
        with pytest.raises(Denied):
            forbidden()


def test_an_admin_of_one_team_gives_roles_there_and_nowhere_else() -> None:
    factories.team(slug="fraud")
    factories.team(slug="parcels")
    factories.person(username="ada")
    actor = factories.actor_with("admin", team="fraud")
    services.grant_role(actor=actor, username="ada", role="operator", team="fraud")
    for team in (None, "parcels"):
        with pytest.raises(Denied):
            services.grant_role(actor=actor, username="ada", role="operator", team=team)
    with pytest.raises(Denied):
        services.create_person(actor=actor, username="bob")
    unlimited = factories.grant(person=factories.person(), role="admin")
    with pytest.raises(Denied):
        services.revoke_role(actor=actor, grant_id=unlimited.public_id)


def test_giving_a_role_twice_is_one_grant_and_one_entry() -> None:
    admin = factories.actor_with("admin")
    factories.person(username="ada")
    for _ in range(2):
        services.grant_role(actor=admin, username="ada", role="viewer")
    assert RoleGrant.objects.count() == 1
    assert AuditEvent.objects.count() == 1


def test_the_last_admin_cannot_be_taken_away() -> None:
    somebody = factories.person(role="admin")
    actor = factories.actor_of(somebody)
    (grant,) = RoleGrant.objects.all()
    with pytest.raises(Conflict, match="nobody who is an admin"):
        services.revoke_role(actor=actor, grant_id=grant.public_id)
    with pytest.raises(Conflict):
        services.set_active(actor=actor, username=somebody.username, active=False)
    other = factories.person(role="admin")
    services.set_active(actor=actor, username=other.username, active=False)
    with pytest.raises(Conflict):
        services.revoke_role(actor=actor, grant_id=grant.public_id)


@pytest.mark.django_db(transaction=True)
def test_two_admins_who_take_each_other_away_at_once_leave_one() -> None:
    people = [factories.person(role="admin") for _ in range(2)]
    outcomes: list[str] = []
    together = threading.Barrier(2)

    def take(mine: Person, other: Person) -> None:
        together.wait(10)
        try:
            services.set_active(
                actor=factories.actor_of(mine), username=other.username, active=False
            )
            outcomes.append("done")
        except Conflict:
            outcomes.append("refused")
        finally:
            connection.close()

    threads = [
        threading.Thread(target=take, args=pair) for pair in (people, list(reversed(people)))
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(20)
    assert sorted(outcomes) == ["done", "refused"]
    assert Person.objects.filter(is_active=True).count() == 1


# --- tokens -----------------------------------------------------------------------------------


def test_a_token_acts_as_its_owner_within_its_scopes() -> None:
    owner = factories.person(username="ada", role="operator")
    token, secret = services.create_token(
        actor=factories.actor_of(owner), name="ci", scopes=["registry.read"]
    )
    actor = identify.by_token(secret, address="10.0.0.1")
    assert (actor.kind, actor.name) == (ActorKind.TOKEN, "ada/ci")
    assert actor.verbs == frozenset({"registry.read"})
    assert secret not in str(vars(token)) + str(ApiToken.objects.values().get())


@pytest.mark.parametrize(
    ("given", "error"),
    [
        ({"name": ""}, Invalid),
        ({"name": "x" * 81}, Invalid),
        ({"name": "a\tb"}, Invalid),
        ({"name": "ci", "days": 0}, Invalid),
        ({"name": "ci", "days": 366}, Invalid),
        ({"name": "ci", "scopes": ["nonsense"]}, Invalid),
        ({"name": "ci", "scopes": []}, Invalid),
        ({"name": "taken"}, Conflict),
    ],
)
def test_a_token_that_makes_no_sense_is_refused(
    given: dict[str, object], error: type[Exception]
) -> None:
    owner = factories.person(role="viewer")
    factories.token(owner=owner, name="taken")
    with pytest.raises(error):
        services.create_token(actor=factories.actor_of(owner), **given)  # type: ignore[arg-type]


def test_a_token_cannot_make_a_stronger_one() -> None:
    owner = factories.person(role="admin")
    scopes = ["accounts.token.create", "registry.read"]
    _, secret = factories.token(owner=owner, scopes=scopes)
    actor = identify.by_token(secret)
    services.create_token(actor=actor, name="same", scopes=["registry.read"])
    for wider in (None, ["registry.read", "accounts.person.manage"]):
        with pytest.raises(Denied):
            services.create_token(actor=actor, name="wider", scopes=wider)


def test_a_token_that_is_over_is_refused_with_its_reason() -> None:
    owner = factories.person(role="viewer")
    actor = factories.actor_of(owner)
    revoked, secret = factories.token(owner=owner)
    services.revoke_token(actor=actor, token_id=revoked.public_id)
    _, old = factories.token(owner=owner, days=-1)
    _, orphaned = factories.token(owner=factories.person(role="viewer", active=False))
    for given, code in ((secret, "revoked"), (old, "expired"), (orphaned, "owner_left")):
        with pytest.raises(Denied) as refused:
            identify.by_token(given)
        assert refused.value.code == f"token.{code}"


def test_somebody_elses_token_is_not_there_except_for_admins() -> None:
    theirs, _ = factories.token(role="viewer")
    with pytest.raises(Missing):
        services.revoke_token(actor=factories.actor_with("operator"), token_id=theirs.public_id)
    services.revoke_token(actor=factories.actor_with("admin"), token_id=theirs.public_id)
    theirs.refresh_from_db()
    assert theirs.revoked_at is not None


def test_the_last_use_is_noted_once_a_minute_and_costs_nothing_between(
    django_assert_num_queries: pytest.FixtureRequest,
) -> None:
    token, secret = factories.token(role="viewer")
    identify.by_token(secret, address="10.0.0.1")
    with django_assert_num_queries(1):  # type: ignore[operator]
        identify.by_token(secret, address="10.0.0.2")
    token.refresh_from_db()
    assert token.last_used_from == "10.0.0.1"
    past = SystemClock().now() - timedelta(seconds=61)
    ApiToken.objects.filter(pk=token.pk).update(last_used_at=past)
    identify.by_token(secret, address="10.0.0.2")
    token.refresh_from_db()
    assert token.last_used_from == "10.0.0.2"


# --- signing in -------------------------------------------------------------------------------


def test_the_sixth_failure_waits_and_says_until_when() -> None:
    factories.person(username="ada")
    for _ in range(5):
        with pytest.raises(Invalid, match="wrong"):
            services.verify(username="ada", password="no", address="10.0.0.1")
    with pytest.raises(Throttled, match=r"Try again in [1-5] second") as refused:
        services.verify(username="ada", password=factories.PASSWORD, address="10.0.0.1")
    assert 1 <= refused.value.wait_seconds <= 5
    assert services.verify(username="ada", password=factories.PASSWORD, address="10.0.0.2")


def test_a_success_forgets_the_failures_of_that_account() -> None:
    factories.person(username="ada")
    for _ in range(3):
        for _ in range(4):
            with pytest.raises(Invalid):
                services.verify(username="ada", password="no", address="10.0.0.1")
        services.verify(username="ada", password=factories.PASSWORD, address="10.0.0.1")


def test_one_address_that_tries_many_names_waits_too() -> None:
    for n in range(50):
        with pytest.raises(Invalid):
            services.verify(username=f"name{n}", password="no", address="10.0.0.1")
    with pytest.raises(Throttled):
        services.verify(username="another", password="no", address="10.0.0.1")


def test_an_unknown_name_costs_a_hash_and_is_answered_like_a_wrong_password(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    from django.contrib.auth.hashers import MD5PasswordHasher

    hashed: list[str] = []
    encode = MD5PasswordHasher.encode
    monkeypatch.setattr(
        MD5PasswordHasher,
        "encode",
        lambda self, password, salt: hashed.append(password) or encode(self, password, salt),
    )
    factories.person(username="ada")
    factories.person(username="left", active=False)
    hashed.clear()
    said = set()
    for name in ("ada", "nobody", "left"):
        with pytest.raises(Invalid) as refused:
            services.verify(username=name, password="guess", address="10.0.0.1")
        said.add((refused.value.sentence, refused.value.code, refused.value.field))
    assert hashed == ["guess"] * 3
    assert len(said) == 1


@pytest.mark.django_db(transaction=True)
def test_many_attempts_at_the_same_moment_count_each() -> None:
    factories.person(username="ada")
    outcomes: list[str] = []

    def guess() -> None:
        try:
            services.verify(username="ada", password="no", address="10.0.0.1")
        except Throttled:
            outcomes.append("waits")
        except Invalid:
            outcomes.append("wrong")
        finally:
            connection.close()

    threads = [threading.Thread(target=guess) for _ in range(12)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(20)
    assert outcomes.count("wrong") == 5
    assert outcomes.count("waits") == 7


def test_old_failures_are_dropped() -> None:
    with pytest.raises(Invalid):
        services.verify(username="ada", password="no", address="10.0.0.1")
    now = SystemClock().now()
    assert services.forget_old_failures(now) == 0
    assert services.forget_old_failures(now + timedelta(hours=2)) == 2
    assert not SignInFailures.objects.exists()


@pytest.mark.parametrize("new", ["short", "password123", "correct horse battery"])
def test_a_weak_or_unchanged_password_is_refused(new: str) -> None:
    me = factories.actor_of(factories.person(role="viewer"))
    with pytest.raises(Invalid) as refused:
        services.change_password(actor=me, current=factories.PASSWORD, new=new)
    assert refused.value.field == "new"


def test_a_token_cannot_change_a_password() -> None:
    _, secret = factories.token(role="admin")
    with pytest.raises(Denied):
        services.change_password(
            actor=identify.by_token(secret), current=factories.PASSWORD, new="x" * 20
        )


def test_a_session_costs_two_queries_and_ends_with_the_password(
    client: object, django_assert_num_queries: pytest.FixtureRequest
) -> None:
    from django.test import Client

    browser = Client()
    somebody = factories.person(role="admin")
    browser.force_login(somebody)
    with django_assert_num_queries(2):  # type: ignore[operator]
        assert browser.get("/api/v1/me").json()["name"] == somebody.username
    services.reset_password(actor=factories.actor_with("admin"), username=somebody.username)
    assert browser.get("/api/v1/me").status_code == 401


def test_whoever_reads_people_sees_their_roles_in_a_fixed_number_of_queries(
    django_assert_num_queries: pytest.FixtureRequest,
) -> None:
    for _ in range(5):
        factories.person(role="viewer")
    with django_assert_num_queries(1):  # type: ignore[operator]
        assert [len(p.granted) for p in selectors.people(factories.actor_with("viewer"))] == [
            1
        ] * 5


def test_tidying_drops_what_is_over_and_keeps_the_rest() -> None:
    from django.contrib.sessions.models import Session
    from django.test import Client

    Client().force_login(factories.person())
    now = SystemClock().now()
    services.tidy(now)
    assert Session.objects.count() == 1
    services.tidy(now + timedelta(days=30))
    assert not Session.objects.exists()
