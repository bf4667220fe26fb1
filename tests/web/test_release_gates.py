"""Gates on the page of a release: waiving one, and looking again."""

import pytest

from apps.audit.models import AuditEvent
from tests.governed import Governed
from tests.web.pages import post, read, text

pytestmark = pytest.mark.django_db


def test_waiving_a_gate_by_the_form_is_seen_where_the_gate_is(house: Governed) -> None:
    row = house.propose()
    house.run(row)
    checklist = house.fresh(row).checklist
    house.judge(checklist, "artifact.digest", "passed")
    house.judge(checklist, "artifact.scanned", "failed")
    page = read(house, "reviewer", f"/releases/{row.number}")
    path = f"/releases/{row.number}/gates/artifact.scanned/waive"
    assert f'action="{path}"' in page
    assert f'action="{path}"' not in read(house, "maker", f"/releases/{row.number}")
    where = post(house, "reviewer", path, reason="The finding is a test file.", days="5")
    assert where == f"/releases/{row.number}#gate-artifact-scanned"
    said = text(read(house, "maker", f"/releases/{row.number}"))
    assert "“The finding is a test file.” Waived by reviewer" in said
    assert house.run(row, "awaiting_approval")


@pytest.mark.parametrize("days", ["", "0", "999", "many"])
def test_a_waiver_of_no_sensible_length_changes_nothing(house: Governed, days: str) -> None:
    row = house.propose()
    house.run(row)
    house.judge(house.fresh(row).checklist, "artifact.scanned", "failed")
    post(
        house, "reviewer", f"/releases/{row.number}/gates/artifact.scanned/waive",
        reason="Why.", days=days,
    )  # fmt: skip
    assert house.fresh(row).checklist.waivers.count() == 0


def test_looking_again_asks_for_it(house: Governed) -> None:
    row = house.propose()
    house.run(row)
    house.judge(house.fresh(row).checklist, "artifact.scanned", "failed")
    post(house, "maker", f"/releases/{row.number}/gates/artifact.scanned/run")
    result = house.fresh(row).checklist.results.get(gate="artifact.scanned")
    assert result.due_at is not None
    assert AuditEvent.objects.filter(verb="gates.run").count() == 1


def test_a_waiver_that_ends_soon_stands_in_the_inbox(house: Governed) -> None:
    row = house.propose()
    house.run(row)
    house.judge(house.fresh(row).checklist, "artifact.scanned", "failed")
    post(
        house, "reviewer", f"/releases/{row.number}/gates/artifact.scanned/waive",
        reason="A test file.", days="1",
    )  # fmt: skip
    assert "Waivers that end soon" in text(read(house, "reviewer", "/inbox"))
    assert "Waivers that end soon" in text(read(house, "maker", "/inbox")), "it is their release"
    assert "Waivers that end soon" not in text(read(house, "second", "/inbox"))
