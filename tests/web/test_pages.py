"""Every page: it answers, empty and full; it costs the same at 1 and at 50 rows; it is safe."""

import html
import re
from dataclasses import dataclass

import pytest
from django.db import connection
from django.test import Client
from django.test.utils import CaptureQueriesContext

from apps.builds.models import Build
from apps.console.web import serving
from tests import factories
from tests.web import filling

pytestmark = pytest.mark.django_db
MOST_QUERIES = 12
HOSTILE = "<script>alert('x')</script>"


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
EMPTY = [
    "/", "/inbox", "/releases", "/releases/new", "/models", "/models/new", "/builds", "/policies",
    "/rollouts", "/endpoints", "/search", "/search?q=nothing",
]  # fmt: skip


@pytest.fixture
def yard(db: None) -> None:
    fill(1)


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


@pytest.mark.parametrize("path", EMPTY)
def test_a_page_of_an_empty_yard_says_what_to_do_first(ada: Client, path: str) -> None:
    answer = ada.get(path)
    assert answer.status_code == 200
    assert "<h1>" in answer.content.decode()


@pytest.mark.usefixtures("yard")
@pytest.mark.parametrize("case", CASES, ids=PATHS)
def test_a_page_costs_what_its_baseline_says(ada: Client, case: Case) -> None:
    path = path_of(case.path)
    ada.get(path)
    assert case.queries <= MOST_QUERIES
    assert queries_of(ada, path) == case.queries


def test_a_page_costs_the_same_at_one_and_at_fifty_rows(ada: Client) -> None:
    fill(50)
    costs = {case.path: queries_of(ada, path_of(case.path)) for case in CASES}
    assert costs == {case.path: case.queries for case in CASES}


@pytest.mark.usefixtures("yard")
@pytest.mark.parametrize("path", PATHS)
def test_a_page_holds_no_script_and_no_handler_of_its_own(ada: Client, path: str) -> None:
    page = ada.get(path_of(path)).content.decode()
    for attributes, body in re.findall(r"<script([^>]*)>(.*?)</script>", page, re.S):
        data = 'type="application/json"' in attributes
        assert data or ("src=" in attributes and not body.strip()), attributes
    assert not re.search(r"<[^>]+\son\w+\s*=", page)
    assert "javascript:" not in page
    assert not re.search(r'(?:src|href)="(?:https?:)?//', page), "no CDN"


@pytest.mark.usefixtures("yard")
@pytest.mark.parametrize("path", PATHS)
def test_a_page_is_sound_markup(ada: Client, path: str) -> None:
    page = ada.get(path_of(path)).content.decode()
    assert page.count("<h1>") == 1
    ids = re.findall(r'\sid="([^"]+)"', page)
    assert len(ids) == len(set(ids)), [i for i in ids if ids.count(i) > 1]
    for wanted in re.findall(r'<label[^>]*\sfor="([^"]+)"', page):
        assert wanted in ids
    for form in re.findall(r'<form[^>]*method="post".*?</form>', page, re.S):
        assert "csrfmiddlewaretoken" in form, form[:200]
    assert "{{" not in page
    assert "{%" not in page


@pytest.mark.usefixtures("yard")
@pytest.mark.parametrize("path", PATHS)
def test_nobody_reads_a_page_before_signing_in(client: Client, path: str) -> None:
    answer = client.get(path_of(path))
    assert answer.status_code == 302
    assert answer["Location"].startswith("/sign-in")


@pytest.mark.usefixtures("yard")
@pytest.mark.parametrize(
    "path", [p for p in PATHS if not p.partition("?")[0].endswith(("/new", "/edit", "/register"))]
)
def test_a_viewer_reads_every_page_and_is_offered_no_verb(viewer: Client, path: str) -> None:
    page = viewer.get(path_of(path))
    assert page.status_code == 200
    forms = re.findall(r'<form[^>]*method="post"[^>]*action="([^"]*)"', page.content.decode())
    assert set(forms) <= {"/theme", "/sign-out", "/endpoints/dev/iris/predict#try"}


@pytest.mark.usefixtures("yard")
@pytest.mark.parametrize(
    "path",
    [
        "/models/new", "/models/iris/edit", "/models/iris/register",
        "/strategies/new?environment=production",
    ],
)  # fmt: skip
def test_a_viewer_is_refused_with_a_page_that_says_who_could(viewer: Client, path: str) -> None:
    answer = viewer.get(path)
    assert answer.status_code == 403
    assert "Ask an admin" in answer.content.decode()


PARTS = [
    ("/", part) for part in ("head", "wrong", "live", "making", "lately")
] + [
    ("/models/iris", "versions"),
    ("/models/iris", "places"),
    ("/models/iris/versions/1", "head"),
    ("/models/iris/versions/1", "variants"),
    ("/models/iris/versions/1", "serve"),
    ("/builds", "list"),
    ("/builds/{build}", "head"),
    ("/builds/{build}", "steps"),
    ("/endpoints", "list"),
    ("/endpoints/dev/iris", "head"),
    ("/endpoints/dev/iris", "traffic"),
    ("/endpoints/dev/iris", "revisions"),
]  # fmt: skip


@pytest.mark.usefixtures("yard")
@pytest.mark.parametrize(("path", "part"), PARTS)
def test_a_live_part_is_what_the_page_itself_includes(ada: Client, path: str, part: str) -> None:
    path = path_of(path)
    alone = ada.get(f"{path}?part={part}", headers={"HX-Request": "true"}).content.decode()
    whole = ada.get(path).content.decode()
    assert "<html" not in alone
    assert "data-live=" in alone, "it must look again by itself"
    for address in re.findall(r'hx-get="([^"]+)"', alone):
        assert f"part={part}" in address
        assert f'hx-get="{address}"' in whole, "the page holds the same part"


@pytest.mark.usefixtures("yard")
def test_a_part_without_htmx_is_the_whole_page(ada: Client) -> None:
    assert "<html" in ada.get("/?part=head").content.decode()


def test_whatever_people_write_is_shown_as_they_wrote_it(ada: Client) -> None:
    places = filling.environments()
    model = filling.model(
        name="iris",
        team=factories.team(slug="fraud"),
        description=HOSTILE,
        card=HOSTILE,
        task=HOSTILE,
    )
    version = model.versions.get()
    version.description = version.git_commit = version.registered_by = version.dataset = HOSTILE
    version.metrics, version.params = {HOSTILE: 1.0}, {HOSTILE: HOSTILE}
    version.tags, version.facts = {HOSTILE: HOSTILE}, {HOSTILE: HOSTILE}
    version.inputs = [{"name": HOSTILE, "datatype": HOSTILE, "shape": [-1]}]
    version.save()
    built = filling.build(version, state="failed")
    built.problem = built.remedy = HOSTILE
    built.save()
    built.log.update(text=HOSTILE)
    good = filling.build(version, number=2)
    good.variants.filter(state="skipped").update(reason=HOSTILE)
    endpoint = filling.endpoint(version, places[0])
    endpoint.revisions.update(problem=HOSTILE, golden={"example": [{"name": HOSTILE}]})
    for path in [*PATHS, f"/builds/{built.public_id}", f"/search?q={HOSTILE}"]:
        page = ada.get(path_of(path)).content.decode()
        assert "<script>alert" not in page, path


def test_every_endpoint_is_on_some_page_of_the_list(
    ada: Client, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(serving, "PAGE_ROWS", 3)
    for number in range(7):
        environment = "dev" if number % 2 else "staging"
        factories.endpoint(environment=environment)
    listed: list[str] = []
    address, pages = "/endpoints", 0
    while address:
        page = ada.get(address).content.decode()
        listed += re.findall(r'<a data-row href="(/endpoints/[^"]+)"', page)
        again = re.search(r'hx-get="(\?[^"]*part=list)"', page)
        assert again is not None
        part = ada.get("/endpoints" + html.unescape(again[1])).content.decode()
        assert re.findall(r'data-row href="([^"]+)"', part) == listed[3 * pages :]
        following = re.search(r'rel="next" href="(\?[^"]+)"', page)
        address = "/endpoints" + html.unescape(following[1]) if following else ""
        pages += 1
    assert pages == 3
    assert len(set(listed)) == len(listed) == 7
    assert [path.split("/")[2] for path in listed] == ["dev"] * 3 + ["staging"] * 4
