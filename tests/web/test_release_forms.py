"""Proposing a release and changing one, by a form, without a script."""

import re

import pytest

from apps.releases.models import Release
from apps.rollouts.models import StrategyTemplate
from tests.governed import Governed
from tests.web.pages import post, read, sound, text

pytestmark = pytest.mark.django_db


def test_the_form_says_what_will_be_checked_and_who_must_agree(house: Governed) -> None:
    path = f"/releases/new?model={house.model.name}&version=1&environment=production"
    page = read(house, "maker", path)
    sound(page)
    said = text(page)
    assert "Owner's reviewer" in said
    assert "Nothing in the files runs code" in said
    assert "Propose it" in said


def test_proposing_by_the_form(house: Governed) -> None:
    body = {"model": house.model.name, "version": "1", "environment": "production"}
    where = post(
        house, "maker", "/releases/new", summary="Better.", replicas="2", strategy="all_at_once",
        **body,
    )  # fmt: skip
    row = Release.objects.get()
    assert where == f"/releases/{row.number}"
    assert (row.replicas, row.summary) == (2, "Better.")
    assert post(house, "maker", "/releases/new", strategy="all_at_once", replicas="2", **body)
    assert Release.objects.count() == 1, "the same proposal is one"


def chosen(page: str) -> list[str]:
    """Return the strategies that a form has chosen."""
    return re.findall(r'name="strategy" value="([^"]*)" checked', page)


def test_the_form_offers_templates_first_and_all_at_once_unless_told(house: Governed) -> None:
    path = f"/releases/new?model={house.model.name}&version=1&environment=production"
    page = read(house, "maker", path)
    values = re.findall(r'name="strategy" value="([^"]*)"', page)
    assert values == [
        "template:blue-green", "template:careful-canary", "template:quick-canary",
        "template:shadow-then-canary", "all_at_once", "canary", "linear", "blue_green", "shadow",
        "recreate",
    ]  # fmt: skip
    assert chosen(page) == ["all_at_once"]
    assert "5, 10, 25, 50, then 100 %; each at least 10 min and judged not worse" in text(page)
    StrategyTemplate.objects.filter(name="quick-canary").update(is_default=True)
    assert chosen(read(house, "maker", path)) == ["template:quick-canary"]


def test_the_form_offers_only_what_the_policy_allows(house: Governed) -> None:
    house.set_policy(strategies=["canary", "shadow"])
    path = f"/releases/new?model={house.model.name}&version=1&environment=production"
    page = read(house, "maker", path)
    assert re.findall(r'name="strategy" value="([^"]*)"', page) == [
        "template:careful-canary", "template:quick-canary", "template:shadow-then-canary",
        "canary", "shadow",
    ]  # fmt: skip
    body = {"model": house.model.name, "version": "1", "environment": "production"}
    refused = post(house, "maker", "/releases/new", 422, strategy="all_at_once", **body)
    assert "is not one of the available choices" in refused


def test_a_release_is_proposed_by_a_template(house: Governed) -> None:
    body = {"model": house.model.name, "version": "1", "environment": "production"}
    post(house, "maker", "/releases/new", replicas="1", strategy="template:careful-canary", **body)
    kept = Release.objects.get().strategy
    assert [step["weight"] for step in kept["steps"]] == [5, 10, 25, 50]


def test_changing_a_release_keeps_its_strategy_whatever_became_of_the_template(
    house: Governed,
) -> None:
    row = house.propose(strategy={"template": "careful-canary"})
    path = f"/releases/{row.number}/revise"
    assert chosen(read(house, "maker", path)) == ["template:careful-canary"]
    StrategyTemplate.objects.all().delete()
    page = read(house, "maker", path)
    sound(page)
    assert chosen(page) == ["keep"]
    post(house, "maker", path, replicas="2", strategy="keep", reason="Peak.")
    changed = Release.objects.get(pk=row.pk)
    assert (changed.replicas, changed.strategy) == (2, row.strategy)


@pytest.mark.parametrize(
    ("field", "value", "said"),
    [
        ("replicas", "0", "greater than or equal to 1"),
        ("configuration", "nonsense", "is not “name = whole number”"),
        ("variant", "tensorrt", "is not one of the available choices"),
    ],
)
def test_a_wrong_proposal_keeps_what_was_typed(
    house: Governed, field: str, value: str, said: str
) -> None:
    body = {"model": house.model.name, "version": "1", "environment": "production"}
    page = post(house, "maker", "/releases/new", 422, **body, **{"summary": "Kept.", field: value})
    assert said in page
    assert "Kept." in page
    assert Release.objects.count() == 0


def test_choosing_a_version_first(house: Governed) -> None:
    sound(read(house, "maker", "/releases/new"))
    sound(read(house, "maker", f"/releases/new?model={house.model.name}"))
    read(house, "viewer", "/releases/new", status=403)


def test_changing_a_release_by_the_form(house: Governed) -> None:
    row = house.waiting()
    path = f"/releases/{row.number}/revise"
    page = read(house, "maker", path)
    sound(page)
    assert "every approval is void" in text(page)
    post(
        house, "maker", path, replicas="2", strategy="all_at_once", reason="Peak.", variant="onnx"
    )
    assert Release.objects.get(pk=row.pk).replicas == 2
    read(house, "viewer", path, status=403)
