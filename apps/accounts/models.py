"""Rows of people and machines."""

from typing import ClassVar

from django.contrib.auth.models import AbstractUser
from django.db import models
from django.db.models import Q

from controlplane.db.base import Row
from controlplane.kernel.actor import Role


class Person(AbstractUser):
    """Somebody who signs in."""

    display_name = models.CharField(max_length=120, blank=True)
    time_zone = models.CharField(max_length=64, default="UTC")
    must_change_password = models.BooleanField(default=False)  # it was set by somebody else


class Team(Row):
    """A group of people that owns registered models."""

    slug = models.SlugField(max_length=40, unique=True)
    name = models.CharField(max_length=80)

    def __str__(self) -> str:
        """Name the team."""
        return self.slug


class RoleGrant(Row):
    """A role of one person, everywhere or within a team or an environment."""

    person = models.ForeignKey(Person, on_delete=models.CASCADE, related_name="role_grants")
    role = models.CharField(max_length=12, choices=[(r.value, r.value) for r in Role])
    team = models.ForeignKey(Team, null=True, blank=True, on_delete=models.CASCADE)
    # A slug, not a key: environments are an app above this one.
    environment = models.CharField(max_length=40, null=True, blank=True)  # noqa: DJ001

    class Meta:
        """Rules that hold whoever writes the row."""

        constraints: ClassVar = [
            models.UniqueConstraint(
                fields=["person", "role", "team", "environment"],
                name="role_granted_once",
                nulls_distinct=False,
            )
        ]

    def __str__(self) -> str:
        """Name the grant uniquely."""
        return f"{self.role} of person {self.person_id}"


class SignInFailures(models.Model):
    """Failed attempts to sign in, per account and address, and per address alone."""

    key = models.CharField(max_length=64, unique=True)  # a hash: names and addresses stay private
    count = models.PositiveIntegerField(default=0)
    last_at = models.DateTimeField(null=True)

    def __str__(self) -> str:
        """Name the row uniquely."""
        return f"{self.count} failures, {self.key[:8]}"


class ApiToken(Row):
    """A secret a program signs in with; only its hash is kept."""

    owner = models.ForeignKey(Person, on_delete=models.CASCADE, related_name="tokens")
    name = models.CharField(max_length=80)
    prefix = models.CharField(max_length=12)
    secret_hash = models.CharField(max_length=64, unique=True)
    scopes = models.JSONField(
        null=True, blank=True
    )  # list of verbs; null for all its owner may do
    expires_at = models.DateTimeField(null=True, blank=True)
    last_used_at = models.DateTimeField(null=True, blank=True)
    last_used_from = models.CharField(max_length=64, blank=True)
    revoked_at = models.DateTimeField(null=True, blank=True)

    class Meta:
        """Rules that hold whoever writes the row."""

        constraints: ClassVar = [
            models.UniqueConstraint(
                fields=["owner", "name"],
                condition=Q(revoked_at=None),
                name="token_name_used_once_per_person",
            )
        ]

    def __str__(self) -> str:
        """Name the token as the ledger does."""
        return f"{self.owner_id}/{self.name}"
