"""API tokens: created, shown once, used, revoked."""

import secrets as randomness
from collections.abc import Iterable
from datetime import datetime, timedelta

from django.db import IntegrityError, transaction
from django.db.models import Q

from apps.accounts.domain import access, secrets
from apps.accounts.models import ApiToken
from apps.accounts.selectors import LiveToken
from apps.audit import services as audit
from controlplane.kernel.actor import Actor, ActorKind
from controlplane.kernel.clock import SystemClock
from controlplane.kernel.errors import Conflict, Denied, Invalid, Missing

DEFAULT_DAYS = 90
MAX_DAYS = 365
MAX_TOKENS = 100
USE_NOTED_EVERY = timedelta(minutes=1)


@transaction.atomic
def create_token(
    *, actor: Actor, name: str, scopes: Iterable[str] | None = None, days: int = DEFAULT_DAYS
) -> tuple[ApiToken, str]:
    """Create a token of the actor's own and return it with its secret, which is not kept.

    Args:
        actor: The owner-to-be; a token may make only tokens within its own scopes.
        name: What the token is for ("ci"), unique among the owner's live tokens.
        scopes: The verbs it is limited to; None for everything its owner may do.
        days: How long it lives, 1 to 365.

    Raises:
        Denied: The actor may not, or asks for more than it has.
        Invalid: The name, a scope or the life is not allowed.
        Conflict: The owner has a live token of that name, or too many.
    """
    access.require(actor, "accounts.token.create")
    if actor.person_id is None:
        raise Denied("Only people own tokens.", code="token.no_owner")
    wanted = None if scopes is None else _known(scopes)
    _refuse_widening(actor, wanted)
    _check(name, days)
    if ApiToken.objects.filter(owner_id=actor.person_id, revoked_at=None).count() >= MAX_TOKENS:
        raise Conflict(
            f"You have {MAX_TOKENS} tokens already.",
            remedy="Revoke those that nobody uses.",
            code="token.too_many",
        )
    secret = secrets.new_token(randomness.choice)
    token = _insert(actor, actor.person_id, name, secret, wanted, days)
    audit.record(
        actor=actor,
        verb="accounts.token.create",
        target=f"token/{token.public_id}",
        subject=f"token {name}",
        after={"name": name, "scopes": token.scopes, "expires_at": str(token.expires_at)},
    )
    return token, secret


@transaction.atomic
def revoke_token(*, actor: Actor, token_id: str, reason: str = "") -> ApiToken:
    """End a token at once: one's own, or for an admin anybody's. Revoking twice is no error.

    Raises:
        Denied: The actor may not.
        Missing: There is no such token, or it is somebody else's.
    """
    access.require(actor, "accounts.token.revoke")
    token = (
        ApiToken.objects.select_for_update(of=("self",))
        .select_related("owner")
        .filter(public_id=token_id)
        .first()
    )
    others = access.allows_everywhere(actor, "accounts.person.manage")
    if token is None or (token.owner_id != actor.person_id and not others):
        raise Missing("There is no such token.", code="token.missing")
    if token.revoked_at is not None:
        return token
    token.revoked_at = SystemClock().now()
    token.save(update_fields=["revoked_at", "changed_at"])
    audit.record(
        actor=actor,
        verb="accounts.token.revoke",
        target=f"token/{token.public_id}",
        subject=f"token {token.name} of {token.owner.username}",
        before={"revoked_at": None},
        after={"revoked_at": str(token.revoked_at)},
        reason=reason,
    )
    return token


def note_use(token: LiveToken, *, address: str, now: datetime) -> None:
    """Remember when and from where `token` was used, at most once a minute.

    Not in the ledger: it is an observation, not a change that somebody made.
    """
    if token.last_used_at is not None and now - token.last_used_at < USE_NOTED_EVERY:
        return
    stale = Q(last_used_at=None) | Q(last_used_at__lt=now - USE_NOTED_EVERY)
    ApiToken.objects.filter(stale, pk=token.pk).update(
        last_used_at=now, last_used_from=address[:64]
    )


def _known(scopes: Iterable[str]) -> frozenset[str]:
    wanted = frozenset(scopes)
    unknown = sorted(wanted - set(access.TABLE))
    if unknown:
        raise Invalid(
            f"{unknown[0]} is not a verb.",
            remedy="GET /api/v1/me lists the verbs that you may do.",
            field="scopes",
            code="token.unknown_scope",
        )
    if not wanted:
        raise Invalid(
            "A token without a scope could do nothing.", field="scopes", code="token.no_scope"
        )
    return wanted


def _refuse_widening(actor: Actor, wanted: frozenset[str] | None) -> None:
    """Refuse a token that makes a token which may do more than itself."""
    if actor.kind is not ActorKind.TOKEN or actor.verbs is None:
        return
    if wanted is None or not wanted <= actor.verbs:
        raise Denied(
            f"The token {actor.name} may only make tokens within its own scopes.",
            remedy="Create this token from the browser.",
            code="access.scope",
        )


def _check(name: str, days: int) -> None:
    if not name.strip() or len(name) > 80 or not name.isprintable():
        raise Invalid(
            "The name of a token has 1 to 80 printable characters.",
            field="name",
            code="token.bad_name",
        )
    if not 1 <= days <= MAX_DAYS:
        raise Invalid(
            f"A token lives 1 to {MAX_DAYS} days; {days} were asked for.",
            field="days",
            code="token.bad_life",
        )


def _insert(
    actor: Actor,
    owner_id: int,
    name: str,
    secret: str,
    scopes: frozenset[str] | None,
    days: int,
) -> ApiToken:
    try:
        with transaction.atomic():
            return ApiToken.objects.create(
                owner_id=owner_id,
                name=name.strip(),
                prefix=secret[: secrets.SHOWN],
                secret_hash=secrets.hash_of(secret),
                scopes=None if scopes is None else sorted(scopes),
                expires_at=SystemClock().now() + timedelta(days=days),
            )
    except IntegrityError as error:
        raise Conflict(
            f"You have a token called {name} already.",
            remedy="Choose another name, or revoke the old one first.",
            field="name",
            code="token.name_taken",
        ) from error
