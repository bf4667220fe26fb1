"""Print a fresh API token for whoever has the machine: the demo, the smoke, a locked-out admin."""

from django.core.management.base import BaseCommand, CommandError, CommandParser

from apps.accounts import selectors, services
from apps.accounts.models import ApiToken, Person
from controlplane.kernel.errors import ControlPlaneError


class Command(BaseCommand):
    """Create a token of a person; a live one of the same name is revoked first."""

    help = __doc__

    def add_arguments(self, parser: CommandParser) -> None:
        """Take the token's name, and whose it is."""
        parser.add_argument("name", help="what the token is for")
        parser.add_argument("--person", default="admin", help="its owner (admin)")
        parser.add_argument("--days", type=int, default=1, help="how long it lives (1)")

    def handle(self, *, name: str, person: str, days: int, **options: object) -> None:
        """Print the secret, alone on its line."""
        named = Person.objects.filter(username=person, is_active=True).first()
        owner = selectors.person_with_grants(str(named.pk)) if named else None
        if owner is None:
            raise CommandError(f"There is nobody named {person}; `manage.py up` makes the first.")
        actor = selectors.actor_of_person(owner)
        try:
            for old in ApiToken.objects.filter(owner=owner, name=name, revoked_at=None):
                services.revoke_token(actor=actor, token_id=old.public_id, reason="made anew")
            _, secret = services.create_token(actor=actor, name=name, days=days)
        except ControlPlaneError as error:
            raise CommandError(f"{error.sentence} {error.remedy}") from error
        self.stdout.write(secret)
