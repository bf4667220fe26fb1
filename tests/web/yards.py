"""The pages of a yard, what each costs, and yards to look at them in."""

from dataclasses import dataclass

from django.db import connection
from django.test import Client
from django.test.utils import CaptureQueriesContext

from apps.builds.models import Build
from tests import database, factories
from tests.web import filling


@dataclass(frozen=True)
class Case:
    """One page, and how many queries it makes, whatever there is. Two of them are the session."""

    path: str
    queries: int


# The baselines: a page that grows must say so here.
CASES = [
    Case("/", 11),
    Case("/models", 7),
    Case("/models?q=iris&sort=name", 7),
    Case("/models/new", 4),
    Case("/models/iris", 11),
    Case("/models/iris/edit", 5),
    Case("/models/iris/register", 4),
    Case("/models/iris/compare", 11),
    Case("/models/iris/versions/1", 11),
    Case("/models/iris/versions/1?tab=build", 10),
    Case("/models/iris/versions/1?tab=readiness", 11),
    Case("/models/iris/versions/1?tab=lineage", 11),
    Case("/models/iris/versions/1?tab=files", 11),
    Case("/models/iris/versions/1?tab=releases", 11),
    Case("/inbox", 8),
    Case("/releases", 5),
    Case("/releases?tab=mine", 5),
    Case("/releases?tab=ended", 5),
    Case("/releases/new", 4),
    Case("/releases/new?model=iris&version=1&environment=production", 12),
    Case("/strategies", 5),
    Case("/strategies/new?environment=production", 4),
    Case("/strategies/production/careful-canary", 5),
    Case("/strategies/preview?strategy=canary", 3),
    Case("/freezes", 5),
    Case("/freezes?add=calendar", 5),
    Case("/models/iris/objectives", 6),
    Case("/policies", 7),
    Case("/policies/production/medium", 7),
    Case("/builds", 7),
    Case("/builds/{build}", 7),
    Case("/rollouts", 5),
    Case("/rollouts?state=running&environment=dev", 6),
    Case("/endpoints", 7),
    Case("/endpoints/dev/iris", 8),
    Case("/search", 3),
    Case("/search?q=iris", 7),
]
PATHS = [case.path for case in CASES]


def fill(count: int) -> None:
    """Fill the yard with `count` of everything; "iris" is always among it."""
    places = filling.environments()
    team = factories.team(slug="fraud")
    for number in range(count):
        model = filling.model(
            name="iris" if not number else f"iris-{number}",
            team=team,
            versions=count if not number else 1,
        )
        for version in model.versions.order_by("number"):
            filling.build(version)
        newest = model.versions.order_by("-number")[0]
        filling.endpoint(newest, places[0])
        if number:
            filling.endpoint(newest, places[2], state="failed", traffic=False)
    if count > 1:
        database.analyse()


def path_of(path: str) -> str:
    build = Build.objects.filter(version__model__name="iris", version__number=1).first()
    return path.replace("{build}", build.public_id if build else "")


def queries_of(ada: Client, path: str) -> int:
    with CaptureQueriesContext(
        connection,
    ) as caught:
        answer = ada.get(path)
    assert answer.status_code == 200, answer.content[:2000]
    return len(caught)
