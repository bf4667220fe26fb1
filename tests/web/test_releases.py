"""The page of a release: every state, every role, without a script."""

import re

import pytest

from apps.registry.models import ModelVersion
from apps.releases import services
from tests import factories
from tests.governed import Governed
from tests.web.pages import HOSTILE, browser, read, sound, text

pytestmark = pytest.mark.django_db


def test_a_proposal_says_whose_turn_it_is(house: Governed) -> None:
    row = house.propose(summary="Catches more.")
    page = read(house, "viewer", f"/releases/{row.number}")
    sound(page)
    said = text(page)
    assert f"Ship {house.model.name} v1 to production" in said
    assert "“Catches more.”" in said
    assert "Nothing is live here yet: this would be the first." in said


def test_open_gates_stand_first_and_open_and_nobody_can_decide(house: Governed) -> None:
    row = house.propose()
    house.run(row)
    house.judge(house.fresh(row).checklist, "artifact.scanned", "failed")
    page = read(house, "reviewer", f"/releases/{row.number}")
    sound(page)
    assert "One required gate has failed and one is not known yet" in text(page)
    first = page.index('id="gate-artifact-scanned"')
    assert first < page.index('id="gate-artifact-digest"')
    assert f'action="/releases/{row.number}/approve"' not in page


def test_a_reviewer_sees_that_it_is_their_turn(house: Governed) -> None:
    row = house.waiting()
    page = read(house, "reviewer", f"/releases/{row.number}")
    sound(page)
    assert "It needs two approvals; the first can be yours." in text(page)
    assert "Your decision" in text(page)
    assert f'value="{house.digest(row)}"' in page
    assert "If you approve, nothing moves yet: one more approval is needed." in text(page)


@pytest.mark.parametrize(
    ("name", "why"),
    [
        ("maker", "You proposed this release, so your yes does not count."),
        ("author", "You made this version, so your yes does not count."),
        ("viewer", "It needs a reviewer of team fraud and an operator."),
    ],
)
def test_who_may_not_decide_reads_why(house: Governed, name: str, why: str) -> None:
    row = house.waiting()
    page = read(house, name, f"/releases/{row.number}")
    assert why in text(page)
    assert not re.search(r'<button class="button" data-kind="good"', page)


def test_the_second_seat_says_what_happens_next(house: Governed) -> None:
    row = house.waiting()
    house.approve(row, "reviewer")
    page = read(house, "operator", f"/releases/{row.number}")
    assert "One of two approvals is in; the second can be yours." in text(page)
    assert "its replica starts at once" in text(page)
    assert "reviewer approved" in text(page)


def test_a_freeze_is_said_where_one_decides(house: Governed) -> None:
    row = house.waiting()
    house.freeze()
    house.approve(row, "reviewer")
    page = read(house, "operator", f"/releases/{row.number}")
    assert "Year end" in text(page)
    assert 'data-state="frozen"' in page


def test_a_live_release_shows_what_it_shipped_and_the_way_back(house: Governed) -> None:
    first = house.live()
    house.next_version()
    row = house.live()
    house.run(first, "superseded")
    page = read(house, "operator", f"/releases/{row.number}")
    sound(page)
    said = text(page)
    assert f"{house.model.name} v2 is live in production" in said
    assert "Shipped exactly these bytes." in said
    assert "Roll back to v1" in said
    assert "Live, v1" in said, "it is held against what it replaced"
    viewer = read(house, "viewer", f"/releases/{row.number}")
    assert f'action="/releases/{row.number}/roll-back"' not in viewer


def test_a_declined_release_stays_readable(house: Governed) -> None:
    row = house.waiting()
    services.decline(
        actor=house.actor("reviewer"), number=row.number, digest=house.digest(row), reason="No."
    )
    house.run(row, "declined")
    page = read(house, "viewer", f"/releases/{row.number}")
    sound(page)
    assert "was declined" in text(page)


def test_a_missing_release_is_missing(house: Governed) -> None:
    read(house, "viewer", "/releases/999", status=404)


def test_whoever_may_not_see_the_model_does_not_see_its_release(house: Governed) -> None:
    row = house.waiting()
    stranger = factories.person(username="stranger")
    factories.grant(person=stranger, role="reviewer", team=factories.team(slug="parcels"))
    answer = browser(stranger).get(f"/releases/{row.number}")
    assert answer.status_code == 404


def test_what_people_write_is_shown_as_they_wrote_it(house: Governed) -> None:
    ModelVersion.objects.update(git_commit=HOSTILE[:60], dataset=HOSTILE, metrics={HOSTILE: 1.0})
    row = house.propose(summary=HOSTILE)
    row = house.run(row, lambda seen: seen.checklist_id is not None)
    house.pass_gates(row)
    row = house.run(row, "awaiting_approval")
    services.comment(actor=house.actor("viewer"), number=row.number, text=f"{HOSTILE} @ada `@b`")
    services.approve(
        actor=house.actor("reviewer"), number=row.number, digest=house.digest(row), reason=HOSTILE
    )
    page = read(house, "operator", f"/releases/{row.number}")
    assert "<script>alert" not in page
    assert '<strong class="mention">@ada</strong>' in page
    assert "<code>@b</code>" in page


@pytest.mark.parametrize("part", ["head", "track", "gates", "talk", "decision"])
def test_a_part_comes_alone_when_htmx_asks(house: Governed, part: str) -> None:
    row = house.waiting()
    answer = browser(house.people["reviewer"]).get(
        f"/releases/{row.number}?part={part}", headers={"hx-request": "true"}
    )
    page = answer.content.decode()
    assert answer.status_code == 200
    assert "<html" not in page
    assert f'hx-get="?part={part}"' in page
