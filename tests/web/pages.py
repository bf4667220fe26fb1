"""Pages of a governed house as somebody gets them, and what every page is held to."""

import re

from django.test import Client

from apps.accounts.models import Person
from tests.governed import Governed

HOSTILE = "<script>alert('x')</script>"


def browser(somebody: Person) -> Client:
    made = Client()
    made.force_login(somebody)
    return made


def read(house: Governed, name: str, path: str, *, status: int = 200) -> str:
    answer = browser(house.people[name]).get(path)
    assert answer.status_code == status, answer.content.decode()[:2000]
    return answer.content.decode()


def post(house: Governed, by: str, path: str, status: int = 302, /, **body: str) -> str:
    answer = browser(house.people[by]).post(path, body)
    assert answer.status_code == status, answer.content.decode()[:1000]
    return answer["Location"] if status == 302 else answer.content.decode()


def text(page: str) -> str:
    """Return what a page says, without markup."""
    page = re.sub(r"<(script|style|svg).*?</\1>", " ", page, flags=re.S)
    plain = re.sub(r"<[^>]+>", " ", page).replace("\u202f", " ")
    return re.sub(r"\s+", " ", plain.replace("&#x27;", "'"))


def sound(page: str) -> None:
    """Hold a page to what every page is held to."""
    assert page.count("<h1>") == 1
    ids = re.findall(r'\sid="([^"]+)"', page)
    assert len(ids) == len(set(ids)), [i for i in ids if ids.count(i) > 1]
    for wanted in re.findall(r'<label[^>]*\sfor="([^"]+)"', page):
        assert wanted in ids
    for form in re.findall(r'<form[^>]*method="post".*?</form>', page, re.S):
        assert "csrfmiddlewaretoken" in form
    assert "{{" not in page
    assert "{%" not in page
    assert "None" not in text(page)
