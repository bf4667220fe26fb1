"""The page that the `type` of every problem document leads to."""

import re
from pathlib import Path

import pytest
from django.test import Client

from controlplane.http import catalogue
from controlplane.http.catalogue import GAP

ROOT = Path(__file__).resolve().parents[2]
GIVEN = re.compile(r"""\bcode(?:: str)?\s*=\s*["']([a-z_]+(?:\.[a-z0-9_]+)+)["']""")
AS_PROBLEM = re.compile(r"""Problem\(\s*\d{3},.+?["']([a-z_]+\.[a-z0-9_]+)["']""")


def codes_in_the_source() -> set[str]:
    """Return every code that a plain search finds, as somebody who reads the code would."""
    found: set[str] = set()
    for folder in ("apps", "platform/controlplane", "workers"):
        for path in (ROOT / folder).rglob("*.py"):
            text = path.read_text()
            found |= set(GIVEN.findall(text)) | set(AS_PROBLEM.findall(text))
    return found


def test_every_code_of_the_source_has_its_place_on_the_page(client: Client) -> None:
    page = client.get("/docs/problems").content.decode()
    anchors = re.findall(r'class="problem" id="([^"]+)"', page)
    assert len(anchors) == len(set(anchors))
    codes = codes_in_the_source()
    assert len(codes) > 250
    assert codes - set(anchors) == set()


def test_every_entry_says_what_it_means_and_what_to_do() -> None:
    for entry in catalogue.catalogue():
        assert all(text.strip(f" {GAP}.") for text in (*entry.meaning, *entry.advice)), entry.code


def test_an_entry_says_it_in_the_code_s_own_words(client: Client) -> None:
    entry = next(e for e in catalogue.catalogue() if e.code == "registry.model_archived")
    assert "The model … is archived." in entry.sentences
    assert "Restore it first." in entry.remedies
    assert entry.status == 409


@pytest.mark.django_db
def test_the_type_of_a_problem_leads_to_its_entry(client: Client) -> None:
    problem = client.get("/api/v1/models", headers={"Accept": "application/json"}).json()
    address, _, anchor = problem["type"].partition("#")
    page = client.get("/" + address.split("/", 3)[3])
    assert page.status_code == 200
    assert f'id="{anchor}"' in page.content.decode()
