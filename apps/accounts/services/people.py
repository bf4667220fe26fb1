"""People, teams, and the roles that people hold."""

import re
import secrets
from typing import Any

from django.contrib.auth import password_validation
from django.core.exceptions import ValidationError
from django.core.validators import validate_email
from django.db import IntegrityError, connection, transaction
from django.db.models import Q

from apps.accounts.domain import access
from apps.accounts.models import Person, RoleGrant, Team
from apps.audit import services as audit
from controlplane.kernel.actor import Actor, ActorKind, Role, worker
from controlplane.kernel.errors import Conflict, Denied, Invalid, Missing

USERNAME = re.compile(r"[a-z0-9][a-z0-9._-]{0,79}")
SLUG = re.compile(r"[a-z0-9][a-z0-9-]{0,39}")
FIRST_TEAM = ("platform", "Platform")
FIRST_ADMIN = "admin"
ADMINS_LOCK = 0x41444D494E  # "ADMIN"


@transaction.atomic
def create_person(
    *, actor: Actor, username: str, display_name: str = "", email: str = ""
) -> tuple[Person, str]:
    """Create somebody and return them with a password that works once.

    Raises:
        Denied: The actor may not.
        Invalid: The name is not allowed.
        Conflict: Somebody has that name.
    """
    access.require_everywhere(actor, "accounts.person.manage")
    _match(USERNAME, username, "username", "small letters, digits, dots, hyphens; 80 at most")
    password = _one_time_password()
    if Person.objects.filter(username__iexact=username).exists():
        raise _name_taken(username)
    person = Person(
        username=username, display_name=display_name, email=email, must_change_password=True
    )
    person.set_password(password)
    try:
        with transaction.atomic():
            person.save()
    except IntegrityError as error:
        raise _name_taken(username) from error
    audit.record(
        actor=actor,
        verb="accounts.person.manage",
        target=f"person/{username}",
        subject=username,
        after={"display_name": display_name, "email": email, "active": True},
    )
    return person, password


@transaction.atomic
def reset_password(*, actor: Actor, username: str, reason: str = "") -> tuple[Person, str]:
    """Give somebody a new password that works once; it ends all their sessions.

    Raises:
        Denied: The actor may not.
        Missing: There is nobody of that name.
    """
    access.require_everywhere(actor, "accounts.person.manage")
    person = _locked_person(username)
    password = _one_time_password()
    person.set_password(password)
    person.must_change_password = True
    person.save(update_fields=["password", "must_change_password"])
    audit.record(
        actor=actor,
        verb="accounts.person.manage",
        target=f"person/{username}",
        subject=username,
        after={"password": "set to a one-time password"},
        reason=reason,
    )
    return person, password


@transaction.atomic
def change_password(*, actor: Actor, current: str, new: str) -> Person:
    """Change one's own password.

    Raises:
        Denied: The actor is not a person who is signed in.
        Invalid: The current password is wrong, or the new one too weak.
    """
    if actor.kind is not ActorKind.PERSON or actor.person_id is None:
        raise Denied("Only people have passwords.", code="accounts.no_password")
    person = Person.objects.select_for_update().filter(pk=actor.person_id).first()
    if person is None:
        raise Denied("Only people have passwords.", code="accounts.no_password")
    if not person.check_password(current):
        raise Invalid("That is not your password.", field="current", code="password.wrong")
    if new == current:
        raise Invalid("The new password is the old one.", field="new", code="password.same")
    try:
        password_validation.validate_password(new, person)
    except ValidationError as error:
        raise Invalid(" ".join(error.messages), field="new", code="password.weak") from error
    person.set_password(new)
    person.must_change_password = False
    person.save(update_fields=["password", "must_change_password"])
    audit.record(
        actor=actor,
        verb="accounts.password.change",
        target=f"person/{person.username}",
        subject=person.username,
    )
    return person


@transaction.atomic
def set_email(*, actor: Actor, email: str) -> Person:
    """Say where one's own mail goes; "" for nowhere. It signs nobody in.

    Raises:
        Denied: The actor is not a person who may choose how to hear of things.
        Invalid: It is not a mail address.
    """
    access.require(actor, "notifications.follow")
    if actor.kind is not ActorKind.PERSON or actor.person_id is None:
        raise Denied("Only people who are signed in have mail.", code="accounts.no_mail")
    try:
        if email:
            validate_email(email)
    except ValidationError as error:
        raise Invalid(
            f"{email[:100]!r} is not a mail address.", field="email", code="accounts.bad_email"
        ) from error
    person = Person.objects.select_for_update().get(pk=actor.person_id)
    before, person.email = person.email, email
    if before != email:
        person.save(update_fields=["email"])
        audit.record(
            actor=actor,
            verb="accounts.email.change",
            target=f"person/{person.username}",
            subject=person.username,
            before={"email": before},
            after={"email": email},
        )
    return person


@transaction.atomic
def set_active(*, actor: Actor, username: str, active: bool, reason: str = "") -> Person:
    """Let somebody in again, or keep them and their tokens out.

    Raises:
        Denied: The actor may not.
        Missing: There is nobody of that name.
        Conflict: It would leave the house without an admin.
    """
    access.require_everywhere(actor, "accounts.person.manage")
    person = _locked_person(username)
    if person.is_active == active:
        return person
    person.is_active = active
    person.save(update_fields=["is_active"])
    _keep_an_admin()
    audit.record(
        actor=actor,
        verb="accounts.person.manage",
        target=f"person/{username}",
        subject=username,
        before={"active": not active},
        after={"active": active},
        reason=reason,
    )
    return person


@transaction.atomic
def create_team(*, actor: Actor, slug: str, name: str = "") -> Team:
    """Create a team.

    Raises:
        Denied: The actor may not.
        Invalid: The slug is not allowed.
        Conflict: There is such a team.
    """
    access.require_everywhere(actor, "accounts.team.manage")
    _match(SLUG, slug, "slug", "small letters, digits, hyphens; 40 at most")
    try:
        with transaction.atomic():
            team = Team.objects.create(slug=slug, name=name or slug)
    except IntegrityError as error:
        raise Conflict(
            f"There is a team {slug} already.", field="slug", code="accounts.team_taken"
        ) from error
    audit.record(
        actor=actor,
        verb="accounts.team.manage",
        target=f"team/{team.public_id}",
        subject=slug,
        after={"slug": slug, "name": team.name},
    )
    return team


@transaction.atomic
def grant_role(
    *,
    actor: Actor,
    username: str,
    role: str,
    team: str | None = None,
    environment: str | None = None,
    reason: str = "",
) -> RoleGrant:
    """Give somebody a role; giving it twice is no error.

    Args:
        actor: An admin of at least as much as is granted.
        username: Who gets it.
        role: A `Role`.
        team: The team it is limited to; None for every team.
        environment: The environment it is limited to; None for every environment.
        reason: Why, for the ledger.

    Raises:
        Denied: The actor may not, there.
        Missing: There is no such person or team.
        Invalid: There is no such role.
    """
    _require_over(actor, team, environment)
    person = _locked_person(username)
    grant, fresh = RoleGrant.objects.get_or_create(
        person=person,
        role=_role(role),
        team=_team(team) if team else None,
        environment=environment or None,
    )
    if fresh:
        audit.record(
            actor=actor,
            verb="accounts.grant.manage",
            target=f"person/{username}",
            subject=username,
            after=_shown(grant, team),
            reason=reason,
        )
    return grant


@transaction.atomic
def revoke_role(*, actor: Actor, grant_id: str, reason: str = "") -> None:
    """Take a role away.

    Raises:
        Denied: The actor may not, there.
        Missing: There is no such grant.
        Conflict: It would leave the house without an admin.
    """
    access.require(actor, "accounts.grant.manage")
    grant = (
        RoleGrant.objects.select_for_update(of=("self",))
        .select_related("person", "team")
        .filter(public_id=grant_id)
        .first()
    )
    if grant is None:
        raise Missing("There is no such grant.", code="accounts.grant_missing")
    team = grant.team.slug if grant.team else None
    _require_over(actor, team, grant.environment)
    shown, username = _shown(grant, team), grant.person.username
    grant.delete()
    _keep_an_admin()
    audit.record(
        actor=actor,
        verb="accounts.grant.manage",
        target=f"person/{username}",
        subject=username,
        before=shown,
        reason=reason,
    )


@transaction.atomic
def ensure_first_admin(password: str, *, username: str = FIRST_ADMIN) -> Person:
    """Make sure that somebody can sign in: the first admin and the first team.

    Idempotent: an admin who exists keeps their password and their roles.

    Args:
        password: Of the admin, when there is none yet.
        username: The admin's name.
    """
    actor = worker("first-start")
    team, fresh_team = Team.objects.get_or_create(
        slug=FIRST_TEAM[0], defaults={"name": FIRST_TEAM[1]}
    )
    if fresh_team:
        audit.record(
            actor=actor,
            verb="accounts.team.manage",
            target=f"team/{team.public_id}",
            subject=team.slug,
            after={"slug": team.slug, "name": team.name},
        )
    person = Person.objects.filter(username=username).first()
    if person is not None:
        return person
    person = Person(username=username, display_name="First admin")
    person.set_password(password)
    person.save()
    RoleGrant.objects.create(person=person, role=Role.ADMIN)
    audit.record(
        actor=actor,
        verb="accounts.person.manage",
        target=f"person/{username}",
        subject=username,
        after={"role": Role.ADMIN, "active": True},
        reason="first start",
    )
    return person


def _one_time_password() -> str:
    """Return four groups of five letters and digits: readable aloud, 100 bits."""
    letters = "abcdefghjkmnpqrstuvwxyz23456789"
    return "-".join("".join(secrets.choice(letters) for _ in range(5)) for _ in range(4))


def _match(pattern: re.Pattern[str], value: str, field: str, allowed: str) -> None:
    if not pattern.fullmatch(value):
        raise Invalid(
            f"{value[:40]!r} is not allowed here.",
            remedy=f"Use {allowed}, beginning with a letter or digit.",
            field=field,
            code="accounts.bad_name",
        )


def _name_taken(username: str) -> Conflict:
    return Conflict(
        f"Somebody is called {username} already.", field="username", code="accounts.name_taken"
    )


def _locked_person(username: str) -> Person:
    person = Person.objects.select_for_update().filter(username=username).first()
    if person is None:
        raise Missing(
            f"There is nobody called {username}.", field="person", code="accounts.person_missing"
        )
    return person


def _team(slug: str) -> Team:
    team = Team.objects.filter(slug=slug).first()
    if team is None:
        raise Missing(f"There is no team {slug}.", field="team", code="accounts.team_missing")
    return team


def _role(name: str) -> Role:
    try:
        return Role(name)
    except ValueError as error:
        raise Invalid(
            f"{name[:40]!r} is not a role.",
            remedy=f"Use one of {', '.join(Role)}.",
            field="role",
            code="accounts.unknown_role",
        ) from error


def _require_over(actor: Actor, team: str | None, environment: str | None) -> None:
    """Refuse to grant, or to take, more than the actor is an admin of."""
    access.require(
        actor,
        "accounts.grant.manage",
        team=team or access.EVERYWHERE,
        environment=environment or access.EVERYWHERE,
    )


def _keep_an_admin() -> None:
    """Refuse a change after which nobody could undo it."""
    unlimited = Q(role_grants__role=Role.ADMIN, role_grants__team=None)
    everywhere = Q(role_grants__environment=None)
    # One lock for every change of admins: two who remove each other must not both succeed.
    with connection.cursor() as cursor:
        cursor.execute("SELECT pg_advisory_xact_lock(%s)", [ADMINS_LOCK])
    admins = Person.objects.filter(unlimited & everywhere, is_active=True)
    if not admins.exists():
        raise Conflict(
            "That would leave nobody who is an admin.",
            remedy="Make somebody else an admin first.",
            code="accounts.last_admin",
        )


def _shown(grant: RoleGrant, team: str | None) -> dict[str, Any]:
    return {"role": str(grant.role), "team": team, "environment": grant.environment}
