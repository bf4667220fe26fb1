"""Signing in and out, slowly for whoever guesses."""

import hashlib
from datetime import datetime

import structlog
from django.contrib.auth import authenticate
from django.contrib.sessions.models import Session
from django.db import transaction

from apps.accounts.domain import throttle
from apps.accounts.domain.throttle import FREE, FREE_PER_ADDRESS, Failures
from apps.accounts.models import Person, SignInFailures
from apps.audit import services as audit
from controlplane.kernel.actor import Actor, ActorKind
from controlplane.kernel.clock import SystemClock
from controlplane.kernel.errors import Invalid, Throttled

log = structlog.get_logger()


def verify(*, username: str, password: str, address: str) -> Person:
    """Return the person whose name and password these are.

    The attempt is counted before the password is looked at, so that many attempts at the same
    moment cannot slip through together. An unknown name costs as much time as a wrong password
    and is answered the same.

    Raises:
        Throttled: Too many attempts failed; the sentence says when to try again.
        Invalid: The name or the password is wrong.
    """
    now = SystemClock().now()
    account = _key(f"{username.lower()}\n{address}")
    _count_attempt(account, _key(address), now=now)
    person = authenticate(username=username, password=password)
    if not isinstance(person, Person):
        log.info("sign_in.failed", account=username[:150], address=address)
        raise Invalid(
            "The name or the password is wrong.",
            remedy="Check both; an admin can set a new password.",
            code="sign_in.wrong",
        )
    SignInFailures.objects.filter(key=account).delete()
    return person


@transaction.atomic
def signed_in(*, person: Person, address: str) -> None:
    """Write to the ledger that somebody signed in."""
    audit.record(
        actor=_self(person),
        verb="accounts.sign_in",
        target=f"person/{person.username}",
        subject=person.username,
        after={"address": address},
    )


@transaction.atomic
def signed_out(*, actor: Actor) -> None:
    """Write to the ledger that somebody signed out."""
    audit.record(
        actor=actor, verb="accounts.sign_out", target=f"person/{actor.name}", subject=actor.name
    )


def forget_old_failures(now: datetime) -> int:
    """Drop the failures that no longer count, and return how many rows there were."""
    old = SignInFailures.objects.filter(last_at__lt=now - throttle.FORGOTTEN_AFTER)
    return old.delete()[0]


def tidy(now: datetime) -> None:
    """Drop failures that no longer count, and sessions that are over."""
    forget_old_failures(now)
    Session.objects.filter(expire_date__lt=now).delete()


def _self(person: Person) -> Actor:
    return Actor(ActorKind.PERSON, person.username, person.pk)


def _key(text: str) -> str:
    return hashlib.sha256(text.encode()).hexdigest()


@transaction.atomic
def _count_attempt(account: str, address: str, *, now: datetime) -> None:
    """Count one attempt for both keys, or refuse it while one of them must wait."""
    limits = {account: FREE, address: FREE_PER_ADDRESS}
    for key in sorted(limits):  # one order of locks for everybody
        SignInFailures.objects.get_or_create(key=key)
    rows = list(SignInFailures.objects.select_for_update().filter(key__in=limits).order_by("key"))
    waits = [
        throttle.wait(Failures(row.count, row.last_at), now=now, free=limits[row.key])
        for row in rows
    ]
    seconds = -(-max(waits).total_seconds() // 1) if waits else 0
    if seconds > 0:
        raise Throttled(
            f"Too many attempts failed. Try again in {throttle.say(int(seconds))}.",
            wait_seconds=int(seconds),
            code="sign_in.too_many",
        )
    for row in rows:
        counted = throttle.after_failure(Failures(row.count, row.last_at), now=now)
        row.count, row.last_at = counted.count, counted.last_at
        row.save(update_fields=["count", "last_at"])
