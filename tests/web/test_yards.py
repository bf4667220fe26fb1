"""Pages of other yards: of an empty one, of one with fifty of everything, of a hostile one."""

import html
import re

import pytest
from django.test import Client

from apps.console.web import serving
from tests import factories
from tests.web import filling
from tests.web.yards import CASES, PATHS, fill, path_of, queries_of

pytestmark = pytest.mark.django_db
HOSTILE = "<script>alert('x')</script>"
EMPTY = [
    "/", "/inbox", "/releases", "/releases/new", "/models", "/models/new", "/builds", "/policies",
    "/rollouts", "/endpoints", "/search", "/search?q=nothing",
]  # fmt: skip


@pytest.mark.parametrize("path", EMPTY)
def test_a_page_of_an_empty_yard_says_what_to_do_first(ada: Client, path: str) -> None:
    answer = ada.get(path)
    assert answer.status_code == 200
    assert "<h1>" in answer.content.decode()


def test_a_page_costs_the_same_at_one_and_at_fifty_rows(ada: Client) -> None:
    fill(50)
    costs = {case.path: queries_of(ada, path_of(case.path)) for case in CASES}
    assert costs == {case.path: case.queries for case in CASES}


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
