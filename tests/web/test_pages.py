"""Every page of a yard with one of everything: it costs what it may; it is sound and safe."""

import re
from collections.abc import Iterator

import pytest
from django.test import Client, override_settings
from pytest_django import DjangoDbBlocker

from tests import database
from tests.web.yards import CASES, PATHS, Case, fill, path_of, queries_of

pytestmark = [pytest.mark.django_db, pytest.mark.usefixtures("yard")]
MOST_QUERIES = 12


@pytest.fixture(scope="module", autouse=True)
def own_folders(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    """Keep the yard's blobs and uploads as long as the yard."""
    folder = tmp_path_factory.mktemp("yard")
    with override_settings(BLOB_ROOT=folder / "blobs", UPLOAD_ROOT=folder / "uploads"):
        yield


@pytest.fixture(scope="module")
def yard(
    own_folders: None, django_db_setup: None, django_db_blocker: DjangoDbBlocker
) -> Iterator[None]:
    """Fill one yard for all: they only look."""
    with database.shared(django_db_blocker, lambda: fill(1)):
        yield


@pytest.mark.parametrize("case", CASES, ids=PATHS)
def test_a_page_costs_what_its_baseline_says(ada: Client, case: Case) -> None:
    path = path_of(case.path)
    ada.get(path)
    assert case.queries <= MOST_QUERIES
    assert queries_of(ada, path) == case.queries


@pytest.mark.parametrize("path", PATHS)
def test_a_page_holds_no_script_and_no_handler_of_its_own(ada: Client, path: str) -> None:
    page = ada.get(path_of(path)).content.decode()
    for attributes, body in re.findall(r"<script([^>]*)>(.*?)</script>", page, re.S):
        data = 'type="application/json"' in attributes
        assert data or ("src=" in attributes and not body.strip()), attributes
    assert not re.search(r"<[^>]+\son\w+\s*=", page)
    assert "javascript:" not in page
    assert not re.search(r'(?:src|href)="(?:https?:)?//', page), "no CDN"


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


@pytest.mark.parametrize("path", PATHS)
def test_nobody_reads_a_page_before_signing_in(client: Client, path: str) -> None:
    answer = client.get(path_of(path))
    assert answer.status_code == 302
    assert answer["Location"].startswith("/sign-in")


@pytest.mark.parametrize(
    "path", [p for p in PATHS if not p.partition("?")[0].endswith(("/new", "/edit", "/register"))]
)
def test_a_viewer_reads_every_page_and_is_offered_no_verb(viewer: Client, path: str) -> None:
    page = viewer.get(path_of(path))
    assert page.status_code == 200
    forms = re.findall(r'<form[^>]*method="post"[^>]*action="([^"]*)"', page.content.decode())
    assert set(forms) <= {"/theme", "/sign-out", "/endpoints/dev/iris/predict#try"}


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


def test_a_part_without_htmx_is_the_whole_page(ada: Client) -> None:
    assert "<html" in ada.get("/?part=head").content.decode()
