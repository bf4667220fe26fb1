"""Reading people, teams, grants and tokens."""

from datetime import datetime, timedelta

from django.contrib.postgres.expressions import ArraySubquery
from django.db.models import Count, OuterRef, Q, QuerySet
from django.db.models.functions import JSONObject

from apps.accounts.domain import access, secrets
from apps.accounts.models import ApiToken, Person, RoleGrant, Team
from controlplane.kernel.actor import Actor, ActorKind, Grant, Role
from controlplane.kernel.errors import Denied, Missing

STILL_LISTED = timedelta(days=30)  # how long a dead token stays on its owner's page


def person_with_grants(pk: str) -> Person | None:
    """Return the person with all grants, by one query."""
    if not pk.isdigit():
        return None
    return Person.objects.filter(pk=int(pk)).annotate(granted=_grants_of("pk")).first()


def live_token(secret: str, *, now: datetime) -> ApiToken:
    """Return the token that `secret` is, with its owner and the owner's grants, by one query.

    Raises:
        Denied: It is unknown, expired or revoked, or its owner has left.
    """
    if not secrets.is_token(secret):
        raise _bad_token("is not a token of Modelyard", "token.malformed")
    token = (
        ApiToken.objects.filter(secret_hash=secrets.hash_of(secret))
        .select_related("owner")
        .annotate(granted=_grants_of("owner"))
        .first()
    )
    if token is None:
        raise _bad_token("is not known", "token.unknown")
    if token.revoked_at is not None:
        raise _bad_token("was revoked", "token.revoked")
    if token.expires_at is not None and token.expires_at <= now:
        raise _bad_token(f"expired on {token.expires_at:%-d %B %Y}", "token.expired")
    if not token.owner.is_active:
        raise _bad_token("belongs to somebody who has left", "token.owner_left")
    return token


def actor_of_person(person: Person) -> Actor:
    """Return the actor of somebody from `person_with_grants`.

    Whoever must change a password that somebody else has seen may do nothing before.
    """
    granted = [] if person.must_change_password else getattr(person, "granted", [])
    return Actor(ActorKind.PERSON, person.username, person.pk, _as_grants(granted))


def actor_of_token(token: ApiToken) -> Actor:
    """Return the actor of a token from `live_token`: its owner, within its scopes."""
    return Actor(
        ActorKind.TOKEN,
        f"{token.owner.username}/{token.name}",
        token.owner_id,
        _as_grants(getattr(token, "granted", [])),
        None if token.scopes is None else frozenset(token.scopes),
    )


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


def all_teams() -> QuerySet[Team]:
    """Return every team, for choosing one."""
    return Team.objects.order_by("slug")


def grants(actor: Actor) -> QuerySet[RoleGrant]:
    """Return every grant, by person, role and id."""
    access.require(actor, "accounts.read")
    found = RoleGrant.objects.select_related("person", "team")
    return found.order_by("person__username", "role", "id")


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
