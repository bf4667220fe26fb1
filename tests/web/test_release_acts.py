"""Acts on the page of a release: each is a form, and works without a script."""

import pytest

from apps.audit.models import AuditEvent
from apps.releases import services
from apps.releases.models import Release
from tests import governed
from tests.governed import Governed
from tests.web.pages import post, read, sound, text

pytestmark = pytest.mark.django_db


def test_approving_by_the_form_is_recorded(house: Governed) -> None:
    row = house.waiting()
    where = post(
        house, "reviewer", f"/releases/{row.number}/approve", digest=house.digest(row), reason="Ok"
    )
    assert where == f"/releases/{row.number}#decide"
    page = read(house, "reviewer", f"/releases/{row.number}")
    assert "You approved" in text(page)
    post(house, "reviewer", f"/releases/{row.number}/take-back")
    assert "You approved" not in text(read(house, "reviewer", f"/releases/{row.number}"))


def test_approving_what_has_changed_answers_409_and_says_what(house: Governed) -> None:
    row = house.waiting()
    seen = house.digest(row)
    services.revise(actor=house.actor("maker"), number=row.number, replicas=3)
    page = post(
        house, "reviewer", f"/releases/{row.number}/approve", 409, digest=seen, reason="All good."
    )
    sound(page)
    said = text(page)
    assert "Configuration, replicas : 1 to 3" in said
    assert "Nothing was recorded." in said
    assert AuditEvent.objects.filter(verb="approvals.approve").count() == 0
    assert "All good." in page or "decide" in page


def test_declining_without_a_reason_keeps_the_page_and_says_so(house: Governed) -> None:
    row = house.waiting()
    page = post(
        house, "reviewer", f"/releases/{row.number}/decline", 422, digest=house.digest(row)
    )
    assert "A reason is missing." in page
    sound(page)


def test_asking_for_changes_makes_it_the_proposers_turn(house: Governed) -> None:
    row = house.waiting()
    post(
        house, "reviewer", f"/releases/{row.number}/request-changes",
        digest=house.digest(row), reason="Show the slices.",
    )  # fmt: skip
    page = text(read(house, "maker", f"/releases/{row.number}"))
    assert "reviewer asked for changes: it is the proposer's turn." in page
    assert "Show the slices." in page
    assert "Changes asked of you" in text(read(house, "maker", "/inbox"))


def test_a_comment_joins_the_discussion(house: Governed) -> None:
    row = house.waiting()
    where = post(house, "viewer", f"/releases/{row.number}/comment", text="Is that **noise**?")
    assert where.startswith(f"/releases/{row.number}#comment-")
    page = read(house, "viewer", f"/releases/{row.number}")
    assert "Is that <strong>noise</strong>?" in page
    assert post(house, "viewer", f"/releases/{row.number}/comment", text=" ").endswith(
        "#discussion"
    )


def test_a_changed_release_says_what_changed_in_the_discussion(house: Governed) -> None:
    row = house.waiting()
    house.approve(row, "reviewer")
    services.revise(actor=house.actor("maker"), number=row.number, replicas=2, reason="Peak.")
    house.run(row)
    said = text(read(house, "viewer", f"/releases/{row.number}"))
    assert "voided the approvals" in said
    assert "replicas" in said


def test_withdrawing_by_the_form(house: Governed) -> None:
    row = house.waiting()
    post(house, "maker", f"/releases/{row.number}/withdraw")
    assert Release.objects.get(pk=row.pk).state == "withdrawn"


def test_rolling_back_by_the_form_needs_a_reason(house: Governed) -> None:
    first = house.live()
    house.next_version()
    row = house.live()
    house.run(first, "superseded")
    assert (
        post(house, "operator", f"/releases/{row.number}/roll-back")
        == f"/releases/{row.number}#back"
    )
    where = post(house, "operator", f"/releases/{row.number}/roll-back", reason="Slow.")
    page = text(read(house, "operator", where))
    assert f"Go back to {house.model.name} v1 in production" in page


def test_breaking_the_glass_says_what_it_means_and_needs_the_name(house: Governed) -> None:
    row = house.propose()
    house.run(row)
    path = f"/releases/{row.number}/break-glass"
    page = read(house, "operator", path)
    sound(page)
    assert "Everybody concerned is told at once" in text(page)
    assert "These required gates have not passed" in text(page)
    refused = post(house, "operator", path, 422, reason="Down.", name="something else")
    assert "is not the model" in text(refused)
    assert Release.objects.get(pk=row.pk).emergency_by == ""
    assert post(house, "operator", path, reason="Down.", name=house.model.name)
    row = house.run(row, "live")
    page = read(house, "reviewer", f"/releases/{row.number}")
    sound(page)
    assert "shipped without approval, and its review is still owed" in text(page)
    assert "Reviews that are owed" in text(read(house, "reviewer", "/inbox"))
    post(house, "reviewer", f"/releases/{row.number}/review", review="It was right.")
    assert "It was right." in read(house, "viewer", f"/releases/{row.number}")
    read(house, "viewer", path, status=403)


def test_the_glass_stays_whole_where_the_policy_says_so() -> None:
    house = governed.house(emergency={"allowed": False})
    row = house.propose()
    house.run(row)
    page = read(house, "operator", f"/releases/{row.number}/break-glass")
    assert "The glass cannot be broken here." in text(page)
    assert "Break the glass" not in text(read(house, "operator", f"/releases/{row.number}"))
