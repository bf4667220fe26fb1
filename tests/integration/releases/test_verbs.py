"""Promoting, standing in, talking: verbs on releases beside the long way."""

from datetime import timedelta

import pytest

from apps.approvals import selectors as approved
from apps.approvals import services as approvals
from apps.environments.models import Environment
from apps.notifications.models import Notification
from apps.releases import selectors, services
from controlplane.kernel.errors import Conflict, Denied, Invalid, Missing
from tests import governed
from tests.governed import Governed

pytestmark = pytest.mark.django_db


@pytest.fixture
def house() -> Governed:
    return governed.house()


def away(house: Governed, who: str, substitute: str) -> str:
    """Let somebody stand in for somebody, from a moment ago until tomorrow."""
    row = approvals.delegate(
        actor=house.actor(who), substitute=substitute, reason="Holiday.",
        starts_at=house.now - timedelta(minutes=1), ends_at=house.now + timedelta(days=1),
    )  # fmt: skip
    return row.public_id


def test_a_release_is_promoted_as_it_is(house: Governed) -> None:
    staging = Environment.objects.get(slug="staging")
    source = house.propose(replicas=2, summary="Faster.")
    row, created = services.promote(
        actor=house.actor("maker"), number=source.number, environment=staging.slug
    )
    assert created
    assert (row.version_id, row.summary, row.strategy) == (
        source.version_id,
        "Faster.",
        source.strategy,
    )
    assert row.promoted_from_id == source.pk
    again, created = services.promote(
        actor=house.actor("maker"), number=source.number, environment=staging.slug
    )
    assert (again.pk, created) == (row.pk, False)
    with pytest.raises(Conflict) as refused:
        services.promote(
            actor=house.actor("maker"), number=source.number, environment=governed.WHERE
        )
    assert refused.value.code == "releases.same_environment"


def test_a_substitute_fills_the_seat_of_whoever_is_away(house: Governed) -> None:
    row = house.waiting()
    with pytest.raises(Denied):
        house.approve(row, "viewer")
    away(house, "reviewer", "viewer")
    assert [r.number for r in selectors.waiting_for(house.actor("viewer"))] == [row.number]
    house.approve(row, "viewer", "operator")
    request = house.fresh(row).request
    assert request.state == "granted"
    seat = approved.view(request).seats[0]
    assert seat.filled_by is not None
    assert seat.on_behalf_of is not None
    assert (seat.filled_by.username, seat.on_behalf_of.username) == ("viewer", "reviewer")


def test_somebody_and_their_substitute_are_not_two(house: Governed) -> None:
    seat = {"title": "A reviewer", "roles": ["reviewer"], "team": "owner"}
    house.set_policy(seats=[seat, {**seat, "title": "Another reviewer"}])
    row = house.waiting()
    away(house, "reviewer", "viewer")
    house.approve(row, "reviewer", "viewer")
    assert house.fresh(row).request.state == "open"
    house.approve(row, "second")
    assert house.fresh(row).request.state == "granted"


def test_nobody_stands_in_for_the_author(house: Governed) -> None:
    row = house.waiting()
    away(house, "author", "viewer")
    with pytest.raises(Denied):
        house.approve(row, "viewer")


def test_whoever_is_back_early_decides_alone(house: Governed) -> None:
    row = house.waiting()
    delegation = away(house, "reviewer", "viewer")
    approvals.end_delegation(actor=house.actor("reviewer"), delegation=delegation)
    with pytest.raises(Denied):
        house.approve(row, "viewer")
    with pytest.raises(Missing):
        approvals.end_delegation(actor=house.actor("operator"), delegation=delegation)


def test_one_cannot_delegate_to_oneself_or_into_the_past(house: Governed) -> None:
    for substitute, days in (("reviewer", 1), ("viewer", -1)):
        with pytest.raises(Invalid):
            approvals.delegate(
                actor=house.actor("reviewer"), substitute=substitute, starts_at=house.now,
                ends_at=house.now + timedelta(days=days),
            )  # fmt: skip


def test_who_is_mentioned_is_told_and_who_takes_part_as_well(house: Governed) -> None:
    row = house.propose()
    services.comment(actor=house.actor("reviewer"), number=row.number, text="Why, @lead @second?")
    services.comment(actor=house.actor("operator"), number=row.number, text="Indeed.")
    told = Notification.objects.order_by("id").values_list("person__username", "kind", "body")
    assert ("second", "release.mentioned", "Why, @lead @second?") in told
    assert ("maker", "release.commented", "Indeed.") in told
    assert ("reviewer", "release.commented", "Indeed.") in told
    assert ("operator", "release.commented", "Indeed.") not in told


@pytest.mark.parametrize("text", ["", "  \n", "x" * 10_001])
def test_an_empty_or_endless_comment_is_refused(house: Governed, text: str) -> None:
    row = house.propose()
    with pytest.raises(Invalid) as refused:
        services.comment(actor=house.actor("maker"), number=row.number, text=text)
    assert refused.value.field == "text"


@pytest.mark.parametrize(
    ("change", "field"),
    [
        ({"replicas": 0}, "replicas"),
        ({"replicas": 99}, "replicas"),
        ({"strategy": {"kind": "hope"}}, "strategy.kind"),
        ({"strategy": {"kind": "all_at_once", "pace": 2}}, "strategy.pace"),
        ({"variant": "onnx-fp16"}, "variant"),
        ({"runtime": "abacus"}, "runtime"),
    ],
)
def test_what_does_not_fit_is_refused_by_name(
    house: Governed, change: dict[str, object], field: str
) -> None:
    with pytest.raises((Invalid, Missing)) as refused:
        house.propose(**change)
    assert refused.value.field == field
    assert refused.value.remedy
