"""`manage.py demo_people`: the three people of the demonstration, and a token for each."""

import json
import secrets
from typing import Any

from django.core.management.base import BaseCommand

from apps.accounts import selectors, services
from apps.accounts.models import ApiToken, Person
from controlplane.drivers.local.home import Home
from controlplane.kernel.actor import Actor, Role
from controlplane.project.settings.env import current

FILE = "demo-people.json"
PEOPLE = (
    ("ada", "Ada, data scientist", Role.CONTRIBUTOR),
    ("grace", "Grace, lead", Role.REVIEWER),
    ("lin", "Lin, operations", Role.OPERATOR),
)


class Command(BaseCommand):
    """Make the people who are missing, and write passwords and fresh tokens into the secrets."""

    help = __doc__

    def handle(self, **options: Any) -> None:
        """Print the path of the file: {"ada": {"password": ..., "token": ...}, ...}."""
        home = Home(current().home)
        path = home.path / "secrets" / FILE
        known = json.loads(path.read_text()) if path.exists() else {}
        told = {name: self._person(name, title, role, known) for name, title, role in PEOPLE}
        self.stdout.write(str(home.keep_secret(FILE, json.dumps(told, indent=1))))

    def _person(
        self, name: str, title: str, role: Role, known: dict[str, dict[str, str]]
    ) -> dict[str, str]:
        if not Person.objects.filter(username=name).exists():
            known[name] = {"password": self._make(name, title, role)}
        password = known.get(name, {}).get("password", "")
        return {"title": title, "password": password, "token": self._token(name)}

    def _make(self, name: str, title: str, role: Role) -> str:
        admin = _actor("admin")
        _, once = services.create_person(actor=admin, username=name, display_name=title)
        services.grant_role(actor=admin, username=name, role=role)
        password = secrets.token_urlsafe(9)
        services.change_password(actor=_actor(name), current=once, new=password)
        return password

    def _token(self, name: str) -> str:
        actor = _actor(name)
        for old in ApiToken.objects.filter(owner=actor.person_id, name="demo", revoked_at=None):
            services.revoke_token(actor=actor, token_id=old.public_id, reason="made anew")
        return services.create_token(actor=actor, name="demo", days=1)[1]


def _actor(name: str) -> Actor:
    person = Person.objects.get(username=name)
    found = selectors.person_with_grants(str(person.pk))
    if found is None:
        raise LookupError(name)
    return selectors.actor_of_person(found)
