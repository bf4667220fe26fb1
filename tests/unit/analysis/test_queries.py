"""What other sources are asked, and how it is filled in."""

from dataclasses import replace

import pytest

from apps.analysis.domain.queries import Side, Target, check, fill, in_promql
from controlplane.kernel.errors import Invalid

CANARY = Target(Side.CANARY, 7, "abc123", 42, "card-fraud", "production")


def filled(text: str, target: Target = CANARY) -> str:
    return fill(text, target.values(), quoted=in_promql)


def test_every_placeholder_is_filled() -> None:
    text = "{side} {revision} {endpoint} {version} {model} {environment}"
    assert filled(text) == "canary 7 abc123 42 card-fraud production"


def test_promqls_own_braces_stay() -> None:
    query = 'sum(rate(errors{cluster="{endpoint}-{revision}", job=~"a{2}"}[1m])) or up{}'
    assert filled(query) == ('sum(rate(errors{cluster="abc123-7", job=~"a{2}"}[1m])) or up{}')


def test_what_is_filled_in_is_not_filled_again() -> None:
    assert filled("{model}", replace(CANARY, model="{side}")) == "{side}"


@pytest.mark.parametrize("name", ["pod", "Side", "side_", "__class__"])
def test_a_placeholder_that_nothing_fills_is_refused(name: str) -> None:
    with pytest.raises(Invalid, match=f"Nothing fills {{{name}}}") as refused:
        check(f"up{{pod='{{{name}}}'}}", field="metrics[0].query")
    assert refused.value.field == "metrics[0].query"
    assert "{side}, {revision}" in refused.value.remedy
    with pytest.raises(Invalid):
        filled(f"{{{name}}}")


def test_a_value_cannot_leave_its_quotes() -> None:
    for value in ('a"b', "a'b", "a`b"):
        assert not set(in_promql(value)) & set("\"'`")
    assert in_promql("a\\") == "a\\\\"
    assert in_promql("a\nb\r\t") == "a\\nb\\r\\t"
    assert in_promql("Zürich-7.x_{1}") == "Zürich-7.x_{1}"
