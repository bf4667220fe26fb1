"""The access table: every verb the code asks for stands in it, and limits hold."""

import re
from pathlib import Path

import pytest

from apps.accounts.domain import access
from controlplane.kernel.actor import ANONYMOUS, Actor, ActorKind, Grant, Role, worker
from controlplane.kernel.errors import Denied

ROOT = Path(__file__).resolve().parents[3]
ASKED = re.compile(
    r"""(?:access\.)?(?:require|allows)(?:_everywhere)?\(\s*[\w.()\[\]]+,\s*(?:verb=)?["']([a-z_.]+)["']"""
)


def person(*grants: Grant, verbs: frozenset[str] | None = None) -> Actor:
    kind = ActorKind.PERSON if verbs is None else ActorKind.TOKEN
    return Actor(kind, "ada", 1, frozenset(grants), verbs)


def asked_for() -> dict[str, Path]:
    found: dict[str, Path] = {}
    for folder in ("apps", "platform/controlplane"):
        for path in (ROOT / folder).rglob("*.py"):
            for verb in ASKED.findall(path.read_text()):
                found.setdefault(verb, path)
    return found


def test_every_verb_that_the_code_asks_for_stands_in_the_table() -> None:
    found = asked_for()
    assert len(found) > 8
    missing = {verb: str(path) for verb, path in found.items() if verb not in access.TABLE}
    assert missing == {}


def test_every_verb_is_given_to_admins_and_to_nobody_unknown() -> None:
    for verb, roles in access.TABLE.items():
        assert Role.ADMIN in roles, verb
        assert not access.allows(ANONYMOUS, verb)


def test_whoever_may_change_may_read() -> None:
    for verb, roles in access.TABLE.items():
        reading = f"{verb.partition('.')[0]}.read"
        assert roles <= access.TABLE[reading], verb


def test_a_viewer_changes_nothing_but_their_own_and_may_speak() -> None:
    viewer = person(Grant(Role.VIEWER))
    may = {verb for verb in access.TABLE if access.allows(viewer, verb)}
    assert {v for v in may if not v.endswith(".read")} == {
        "accounts.token.create",
        "accounts.token.revoke",
        "notifications.follow",
        "releases.comment",
    }


@pytest.mark.parametrize(
    ("team", "environment", "allowed"),
    [
        (None, None, True),
        ("fraud", None, True),
        ("fraud", "dev", True),
        ("fraud", "production", False),
        ("parcels", "dev", False),
        (access.EVERYWHERE, None, False),
        (None, access.EVERYWHERE, False),
    ],
)
def test_a_grant_holds_within_its_limits(
    team: str | None, environment: str | None, allowed: bool
) -> None:
    actor = person(Grant(Role.OPERATOR, "fraud", "dev"))
    assert access.allows(actor, "endpoints.scale", team=team, environment=environment) is allowed


def test_a_token_never_may_more_than_its_scopes_or_its_owner() -> None:
    scoped = person(Grant(Role.VIEWER), verbs=frozenset({"registry.read", "builds.start"}))
    assert access.allows(scoped, "registry.read")
    assert not access.allows(scoped, "builds.read")
    assert not access.allows(scoped, "builds.start")


def test_a_verb_that_nobody_wrote_down_is_refused_to_everybody_but_never_an_accident() -> None:
    everything = person(*[Grant(role) for role in Role])
    assert not access.allows(everything, "registry.delete_everything")
    assert not access.allows(worker("builds"), "registry.delete_everything")
    assert access.allows(worker("builds"), "builds.start")


@pytest.mark.parametrize(
    ("actor", "code", "words"),
    [
        (person(Grant(Role.VIEWER)), "access.denied", "admin, contributor, operator"),
        (person(verbs=frozenset({"registry.read"})), "access.scope", "scope builds.start"),
    ],
)
def test_a_refusal_says_who_could(actor: Actor, code: str, words: str) -> None:
    with pytest.raises(Denied) as refused:
        access.require(actor, "builds.start", team="fraud")
    assert refused.value.code == code
    assert words in refused.value.remedy
