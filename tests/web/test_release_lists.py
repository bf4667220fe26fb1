"""Lists of releases, and the inbox: what waits for whom."""

import re

import pytest

from tests import factories
from tests.governed import Governed
from tests.web.pages import post, read, sound, text

pytestmark = pytest.mark.django_db


@pytest.mark.parametrize("path", ["/releases", "/releases?tab=mine", "/releases?tab=live",
                                  "/releases?tab=ended", "/inbox", "/releases/new"])  # fmt: skip
def test_an_empty_list_says_what_to_do(house: Governed, path: str) -> None:
    sound(read(house, "boss", path))


def test_the_tabs_hold_what_they_say(house: Governed) -> None:
    row = house.waiting()
    link = f"/releases/{row.number}"
    assert link in read(house, "viewer", "/releases")
    assert link in read(house, "reviewer", "/releases?tab=mine")
    assert link not in read(house, "maker", "/releases?tab=mine")
    assert link not in read(house, "viewer", "/releases?tab=live")
    house.approve(row, "reviewer", "operator")
    house.run(row, "live")
    assert link in read(house, "viewer", "/releases?tab=live")
    assert link not in read(house, "reviewer", "/releases?tab=mine")


def test_the_inbox_holds_what_waits_and_no_more(house: Governed) -> None:
    row = house.waiting()
    page = read(house, "reviewer", "/inbox")
    sound(page)
    assert "1 thing waits for you" in text(page)
    house.approve(row, "reviewer")
    assert "Nothing waits for you" in text(read(house, "reviewer", "/inbox"))
    assert "Nothing waits for you" in text(read(house, "second", "/inbox")), "the seat is taken"
    assert "1 thing waits for you" in text(read(house, "operator", "/inbox"))
    assert "Nothing waits for you" in text(read(house, "maker", "/inbox"))


def test_somebody_stands_in(house: Governed) -> None:
    row = house.waiting()
    house.approve(row, "reviewer")
    deputy = factories.person(username="deputy", role="viewer")
    house.people["deputy"] = deputy
    assert "Nothing waits for you" in text(read(house, "deputy", "/inbox"))
    post(
        house, "operator", "/delegations", substitute="deputy",
        starts_at="2020-01-01T08:00", ends_at="2099-01-01T08:00", reason="Holiday",
    )  # fmt: skip
    page = read(house, "deputy", "/inbox")
    assert "1 thing waits for you" in text(page)
    assert "You stand in for operator" in text(page)
    mine = read(house, "operator", "/inbox")
    end = re.search(r'action="(/delegations/[^"]+/end)"', mine)
    assert end
    post(house, "operator", end[1])
    assert "Nothing waits for you" in text(read(house, "deputy", "/inbox"))
    assert post(house, "operator", "/delegations", substitute="deputy", starts_at="x", ends_at="y")
