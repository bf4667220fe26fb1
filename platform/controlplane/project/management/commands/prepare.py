"""`manage.py prepare`: bring the database up to this code, and make the first admin."""

import os
import secrets
from typing import Any

from django.core.management import call_command
from django.core.management.base import BaseCommand

from apps.accounts import services
from apps.accounts.models import Person
from controlplane.drivers.local.home import Home
from controlplane.project.settings.env import current

PASSWORD = "admin-password"  # noqa: S105  the name of a file below secrets/, not a password


class Command(BaseCommand):
    """Migrate, then make sure that somebody can sign in; may run any number of times."""

    help = __doc__
    requires_system_checks = ()

    def handle(self, **options: Any) -> None:
        """Migrate and make the first admin."""
        call_command("migrate", interactive=False, verbosity=1, stdout=self.stdout)
        if not Person.objects.exists():
            self._make_first_admin()

    def _make_first_admin(self) -> None:
        """Use the password that the environment names, or one that is kept in the secrets.

        It is written before the account is made: a death in between loses nobody's key.
        """
        password = os.environ.get("MODELYARD_DEMO_PASSWORD") or secrets.token_urlsafe(12)
        path = Home(current().home).keep_secret(PASSWORD, password)
        services.ensure_first_admin(password)
        self.stdout.write(f"Made the first admin; the password is in {path}.")
