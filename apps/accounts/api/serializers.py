"""What accounts looks like as JSON: one read serializer a noun, one command serializer a verb."""

from typing import Any

from rest_framework import serializers

from apps.accounts.domain import access
from apps.accounts.models import ApiToken, Person, RoleGrant, Team
from apps.accounts.services.tokens import DEFAULT_DAYS, MAX_DAYS
from controlplane.http.api import Command
from controlplane.kernel.actor import ActorKind, Role


class GrantAnswer(serializers.Serializer[Any]):
    """One role, everywhere or within a team or an environment."""

    id = serializers.CharField()
    role = serializers.ChoiceField(choices=[str(r) for r in Role])
    team = serializers.CharField(allow_null=True, help_text="Null for every team.")
    environment = serializers.CharField(allow_null=True, help_text="Null for every environment.")


class MeAnswer(serializers.Serializer[Any]):
    """Who asks, and what they may do."""

    name = serializers.CharField()
    kind = serializers.ChoiceField(choices=[str(k) for k in ActorKind])
    grants = serializers.SerializerMethodField()
    verbs = serializers.SerializerMethodField()

    def get_grants(self, actor: Any) -> list[dict[str, str | None]]:
        """Return the roles held."""
        rows = sorted(actor.grants, key=lambda g: (g.role, g.team or "", g.environment or ""))
        return [{"role": g.role, "team": g.team, "environment": g.environment} for g in rows]

    def get_verbs(self, actor: Any) -> list[str]:
        """Return the verbs that are possible at least somewhere."""
        return [verb for verb in access.TABLE if access.allows(actor, verb)]


class TokenAnswer(serializers.ModelSerializer[ApiToken]):
    """An API token, without its secret."""

    id = serializers.CharField(source="public_id")
    owner = serializers.CharField(source="owner.username")
    scopes = serializers.ListField(
        child=serializers.CharField(), allow_null=True, help_text="Null for all its owner may do."
    )

    class Meta:
        """Which columns are shown."""

        model = ApiToken
        fields = (
            "id", "name", "owner", "prefix", "scopes", "created_at", "expires_at",
            "last_used_at", "last_used_from", "revoked_at",
        )  # fmt: skip


class NewTokenAnswer(TokenAnswer):
    """An API token just made, with its secret."""

    secret = serializers.SerializerMethodField()

    def get_secret(self, token: ApiToken) -> str | None:
        """Return the secret; it is never shown again."""
        secret: str | None = self.context.get("secret")
        return secret

    class Meta(TokenAnswer.Meta):
        """Which columns are shown."""

        fields = (*TokenAnswer.Meta.fields, "secret")  # type: ignore[assignment]


class CreateToken(Command):
    """Make an API token."""

    name = serializers.CharField(max_length=80)
    scopes = serializers.ListField(
        child=serializers.CharField(max_length=64), allow_null=True, default=None, max_length=200
    )
    days = serializers.IntegerField(min_value=1, max_value=MAX_DAYS, default=DEFAULT_DAYS)


class PersonAnswer(serializers.ModelSerializer[Person]):
    """Somebody who signs in."""

    grants = serializers.SerializerMethodField()
    active = serializers.BooleanField(source="is_active")

    def get_grants(self, person: Person) -> list[dict[str, str | None]]:
        """Return the roles held."""
        granted: list[dict[str, str | None]] = getattr(person, "granted", [])
        return granted

    class Meta:
        """Which columns are shown."""

        model = Person
        fields = ("username", "display_name", "email", "active", "grants", "date_joined")


class NewPersonAnswer(PersonAnswer):
    """Somebody just created, or given a new password, with the password that works once."""

    one_time_password = serializers.SerializerMethodField()

    def get_one_time_password(self, person: Person) -> str | None:
        """Return the password; it is never shown again."""
        password: str | None = self.context.get("password")
        return password

    class Meta(PersonAnswer.Meta):
        """Which columns are shown."""

        fields = (*PersonAnswer.Meta.fields, "one_time_password")  # type: ignore[assignment]


class CreatePerson(Command):
    """Create somebody."""

    username = serializers.CharField(max_length=80)
    display_name = serializers.CharField(max_length=120, allow_blank=True, default="")
    email = serializers.EmailField(allow_blank=True, default="")


class EditPerson(Command):
    """Let somebody in, or keep them out."""

    active = serializers.BooleanField()
    reason = serializers.CharField(max_length=2000, allow_blank=True, default="")


class GiveRole(Command):
    """Give somebody a role."""

    role = serializers.ChoiceField(choices=[str(r) for r in Role])
    team = serializers.CharField(max_length=40, allow_null=True, default=None)
    environment = serializers.CharField(max_length=40, allow_null=True, default=None)
    reason = serializers.CharField(max_length=2000, allow_blank=True, default="")


class TeamAnswer(serializers.ModelSerializer[Team]):
    """A team."""

    members = serializers.SerializerMethodField()

    def get_members(self, team: Team) -> int:
        """Return how many people hold a role in it."""
        return int(getattr(team, "member_count", 0))

    class Meta:
        """Which columns are shown."""

        model = Team
        fields = ("slug", "name", "members", "created_at")


class CreateTeam(Command):
    """Create a team."""

    slug = serializers.CharField(max_length=40)
    name = serializers.CharField(max_length=80, allow_blank=True, default="")


def shown(grant: RoleGrant) -> dict[str, Any]:
    """Return a grant as `GrantAnswer` shows it."""
    return {
        "id": grant.public_id,
        "role": grant.role,
        "team": grant.team.slug if grant.team else None,
        "environment": grant.environment,
    }
