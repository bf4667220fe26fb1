"""What of a release leaves the house."""

import json
import re

import pytest

from apps.approvals.domain import digestset
from apps.releases import selectors, services
from apps.releases.web import export
from tests.governed import Governed
from tests.web.pages import HOSTILE

pytestmark = pytest.mark.django_db


def test_an_export_holds_what_every_digest_was_made_of(house: Governed) -> None:
    row = house.waiting(summary="Better.")
    house.approve(row, "reviewer")
    services.comment(actor=house.actor("viewer"), number=row.number, text=HOSTILE)
    seen = selectors.release(house.actor("viewer"), row.number)
    files = export.documents(house.actor("viewer"), seen)
    told = json.loads(files["release.json"])
    sealed = digestset.seal(told["content"])
    assert sealed.digest == told["digest"] == house.digest(row)
    assert dict(sealed.parts) == told["digest_set"]
    assert [d["by"] for d in told["requests"][0]["decisions"]] == ["reviewer"]
    assert {g["state"] for g in told["gates"]} == {"passed"}
    page = files["release.html"].decode()
    assert page.count("<h1>") == 1
    assert "<form" not in page
    assert "<script" not in page
    assert not re.search(r'(?:src|href)="/', page), "nothing leads to a server that is not there"
    assert "@font-face" not in page
    assert house.digest(row).removeprefix("sha256:")[:16] in page


@pytest.mark.parametrize("state", ["proposed", "checking", "live"])
def test_a_release_of_every_kind_can_be_exported(house: Governed, state: str) -> None:
    if state == "live":
        row = house.live()
    else:
        row = house.propose()
        if state == "checking":
            house.run(row)
    seen = selectors.release(house.actor("viewer"), row.number)
    files = export.documents(house.actor("viewer"), seen)
    assert json.loads(files["release.json"])["release"]["state"] == state
    assert b"</html>" in files["release.html"]
