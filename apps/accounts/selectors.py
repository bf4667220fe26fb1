"""Reading people, teams, grants and tokens."""

import json
from collections.abc import Collection
from dataclasses import dataclass
from datetime import datetime, timedelta

from django.contrib.postgres.expressions import ArraySubquery
from django.db import connection
from django.db.models import Count, OuterRef, Q, QuerySet
from django.db.models.functions import JSONObject

from apps.accounts.domain import access, secrets
from apps.accounts.models import ApiToken, Person, RoleGrant, Team
from controlplane.kernel.actor import Actor, ActorKind, Grant, Role
from controlplane.kernel.errors import Denied, Missing

STILL_LISTED = timedelta(days=30)  # how long a dead token stays on its owner's page


@dataclass(frozen=True)
class LiveToken:
    """A token that may be used now, with its owner and what the owner was given.

    Attributes:
        pk: The row of the token.
        name: What its owner calls it.
        owner_id: The row of its owner.
        owner: The owner's name.
        scopes: The verbs it is limited to; None for no limit.
        last_used_at: When its use was last noted.
        granted: What its owner was given, as {"role", "team", "environment"}.
    """

    pk: int
    name: str
    owner_id: int
    owner: str
    scopes: list[str] | None
    last_used_at: datetime | None
    granted: list[dict[str, str | None]]


@dataclass(frozen=True)
class Holder:
    """Somebody and the roles they hold now.

    Attributes:
        pk: The row of the person.
        username: What they sign in with, and the ledger's name for them.
        title: What pages call them.
        grants: What they were given.
    """

    pk: int
    username: str
    title: str
    grants: frozenset[Grant]


# Both are asked at every request, and written by hand: through the query builder they took 4 of
# the 5 ms of processor time of a small request (measured), nearly all of it compiling SQL.
GRANTS = """
    (SELECT jsonb_agg(jsonb_build_object('role', g.role, 'team', m.slug, 'environment',
        g.environment)) FROM accounts_rolegrant g LEFT JOIN accounts_team m ON m.id = g.team_id
        WHERE g.person_id = p.id)
"""
TOKEN = f"""
    SELECT t.id, t.name, t.owner_id, p.username, t.scopes, t.last_used_at, {GRANTS},
        t.revoked_at, t.expires_at, p.is_active
    FROM accounts_apitoken t JOIN accounts_person p ON p.id = t.owner_id
    WHERE t.secret_hash = %s
"""  # noqa: S608
PERSON = f"SELECT p.*, {GRANTS} AS granted FROM accounts_person p WHERE p.id = %s"  # noqa: S608


def person_with_grants(pk: str) -> Person | None:
    """Return the person with all grants, by one query."""
    if not (pk.isascii() and pk.isdigit()):
        return None
    found = next(iter(Person.objects.raw(PERSON, [int(pk)])), None)
    if found is not None:
        found.granted = json.loads(found.granted or "[]")  # type: ignore[attr-defined]  # annotated
    return found


def live_token(secret: str, *, now: datetime) -> LiveToken:
    """Return the token that `secret` is, with its owner and the owner's grants, by one query.

    Raises:
        Denied: It is unknown, expired or revoked, or its owner has left.
    """
    if not secrets.is_token(secret):
        raise _bad_token("is not a token of Modelyard", "token.malformed")
    with connection.cursor() as cursor:
        cursor.execute(TOKEN, [secrets.hash_of(secret)])
        row = cursor.fetchone()
    if row is None:
        raise _bad_token("is not known", "token.unknown")
    pk, name, owner_id, owner, scopes, used_at, granted, revoked_at, expires_at, here = row
    if revoked_at is not None:
        raise _bad_token("was revoked", "token.revoked")
    if expires_at is not None and expires_at <= now:
        raise _bad_token(f"expired on {expires_at:%-d %B %Y}", "token.expired")
    if not here:
        raise _bad_token("belongs to somebody who has left", "token.owner_left")
    verbs = json.loads(scopes) if scopes else None
    return LiveToken(pk, name, owner_id, owner, verbs, used_at, json.loads(granted or "[]"))


def actor_of_person(person: Person) -> Actor:
    """Return the actor of somebody from `person_with_grants`.

    Whoever must change a password that somebody else has seen may do nothing before.
    """
    granted = [] if person.must_change_password else getattr(person, "granted", [])
    return Actor(ActorKind.PERSON, person.username, person.pk, _as_grants(granted))


def actor_of_token(token: LiveToken) -> Actor:
    """Return the actor of a token: its owner, within its scopes."""
    name = f"{token.owner}/{token.name}"
    verbs = None if token.scopes is None else frozenset(token.scopes)
    return Actor(ActorKind.TOKEN, name, token.owner_id, _as_grants(token.granted), verbs)


def tokens(actor: Actor, *, now: datetime) -> QuerySet[ApiToken]:
    """Return the actor's own tokens, newest first; dead ones for a month."""
    access.require(actor, "accounts.read")
    recent = now - STILL_LISTED
    dead = Q(revoked_at__lt=recent) | Q(expires_at__lt=recent)
    mine = ApiToken.objects.filter(owner_id=actor.person_id).exclude(dead)
    return mine.select_related("owner").order_by("-id")


def people(actor: Actor) -> QuerySet[Person]:
    """Return everybody, by name, with grants and the number of tokens."""
    access.require(actor, "accounts.read")
    live = Count("tokens", filter=Q(tokens__revoked_at=None))
    return Person.objects.annotate(granted=_grants_of("pk"), token_count=live).order_by("username")


def person(actor: Actor, username: str) -> Person:
    """Return one person.

    Raises:
        Missing: There is nobody of that name.
    """
    found = people(actor).filter(username=username).first()
    if found is None:
        raise Missing(f"There is nobody called {username}.", code="accounts.person_missing")
    return found


def teams(actor: Actor) -> QuerySet[Team]:
    """Return the teams, by name, with the number of people who hold a role in them."""
    access.require(actor, "accounts.read")
    members = Count("rolegrant__person", distinct=True)
    return Team.objects.annotate(member_count=members).order_by("slug")


def team(slug: str) -> Team:
    """Return one team.

    Raises:
        Missing: There is no such team.
    """
    found = Team.objects.filter(slug=slug).first()
    if found is None:
        raise Missing(
            f"There is no team {slug}.",
            remedy="GET /api/v1/teams lists them.",
            field="team",
            code="accounts.team_missing",
        )
    return found


def email_of(actor: Actor) -> str:
    """Return where the actor's own mail goes; "" when nowhere."""
    if actor.person_id is None:
        return ""
    found = Person.objects.filter(pk=actor.person_id).values_list("email", flat=True).first()
    return found or ""


def locked_person(pk: int) -> Person:
    """Lock a person that there is, so that what belongs to them changes once at a time."""
    return Person.objects.select_for_update(no_key=True).get(pk=pk)


def recipients(people: Collection[int], teams: Collection[int]) -> list[Person]:
    """Return who is meant by some people and some teams, in the order of their keys.

    A team is everybody who holds a role in it. When nobody does, the admins of the whole house
    stand in, so that what is said to a team is never said to nobody. Whoever has left is not told.
    """
    named = RoleGrant.objects.filter(team__in=teams)
    manned = set(named.filter(person__is_active=True).values_list("team_id", flat=True))
    meant = Q(pk__in=people) | Q(pk__in=named.values("person"))
    if set(teams) - manned:
        everywhere = RoleGrant.objects.filter(role=Role.ADMIN, team=None, environment=None)
        meant |= Q(pk__in=everywhere.values("person"))
    return list(Person.objects.filter(meant, is_active=True).order_by("pk"))


def all_teams() -> QuerySet[Team]:
    """Return every team, for choosing one."""
    return Team.objects.order_by("slug")


def grants(actor: Actor) -> QuerySet[RoleGrant]:
    """Return every grant, by person, role and id."""
    access.require(actor, "accounts.read")
    found = RoleGrant.objects.select_related("person", "team")
    return found.order_by("person__username", "role", "id")


def holders(roles: Collection[Role]) -> list[Holder]:
    """Return everybody who is here and holds one of `roles` anywhere, by name, with all grants."""
    rows = Person.objects.filter(is_active=True, must_change_password=False)
    holding = rows.filter(role_grants__role__in=[str(r) for r in roles]).distinct()
    return [_holder(p) for p in holding.annotate(granted=_grants_of("pk")).order_by("username")]


def holders_by_key(people: Collection[int]) -> dict[int, Holder]:
    """Return people with what they hold now; somebody who has left holds nothing."""
    rows = Person.objects.filter(pk__in=people).annotate(granted=_grants_of("pk"))
    return {p.pk: _holder(p) for p in rows}


def key_behind(name: str) -> int | None:
    """Return the key of the person behind an actor's name ("ada", "ada/ci"); None for workers."""
    return Person.objects.filter(username=name.split("/")[0]).values_list("pk", flat=True).first()


def _holder(person: Person) -> Holder:
    granted = getattr(person, "granted", [])
    here = person.is_active and not person.must_change_password
    return Holder(
        pk=person.pk,
        username=person.username,
        title=person.display_name or person.username,
        grants=_as_grants(granted) if here else frozenset(),
    )


def _grants_of(outer: str) -> ArraySubquery:
    rows = RoleGrant.objects.filter(person=OuterRef(outer)).order_by("role", "id")
    return ArraySubquery(
        rows.values(
            shown=JSONObject(
                id="public_id", role="role", team="team__slug", environment="environment"
            )
        )
    )


def _as_grants(granted: list[dict[str, str | None]]) -> frozenset[Grant]:
    return frozenset(Grant(Role(str(g["role"])), g["team"], g["environment"]) for g in granted)


def _bad_token(what: str, code: str) -> Denied:
    return Denied(
        f"The token that was sent {what}.", remedy="Create a new one under /tokens.", code=code
    )
