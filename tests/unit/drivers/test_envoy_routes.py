"""A route becomes Envoy's resources, and is read out of them again."""

from dataclasses import replace
from itertools import product
from typing import Any

import orjson
import pytest

from apps.endpoints.domain import routing
from apps.endpoints.domain.values import Route, RouteSeen, Segment, Share, Sticky, StickyBy
from controlplane.drivers.envoy import routes
from controlplane.drivers.envoy.in_force import InForce, compare

SEGMENTS = (Segment("x-region", "nörth; a=b", 30), Segment("x-tier", "gold", 0))
STICKIES = (None, Sticky(StickyBy.HEADER, "X-User"), Sticky(StickyBy.COOKIE, "who"))


def route(**more: Any) -> Route:
    known: dict[str, Any] = {
        "endpoint": "abc", "generation": 1, "environment": "dev", "name": "a model",
        "shares": (Share(1, 90, (1001,)), Share(2, 10, (1002, 1003))),
        "unavailable": "Nobody is ready.", "timeout_ms": 500, "max_request_bytes": 10,
        "admitted": ("k1",), "candidate": 2,
    }  # fmt: skip
    return Route(**{**known, **more})


def in_force(*asked: Route) -> InForce:
    """Return what Envoy would say, had it taken up everything."""
    return InForce(
        routes=[{"route_config": routes.route_configuration(asked)}],
        clusters=[{"cluster": cluster} for cluster in routes.clusters(asked)],
    )


TRIALS = [
    route(mirror=mirror, preview=preview, sticky=sticky, segments=segments)
    for mirror, preview, sticky, segments in product(
        (0, 7, 100), (False, True), STICKIES, ((), SEGMENTS)
    )
] + [route(preview=True, faulty=True), route(mirror=7, preview=True, faulty=True)]


@pytest.mark.parametrize("asked", TRIALS)
def test_a_route_is_read_out_of_what_was_made_of_it(asked: Route) -> None:
    other = route(endpoint="other", name="b", preview=True)
    assert compare(asked, in_force(other, asked)) == RouteSeen(asked, intact=True)
    nobody = replace(asked, shares=(Share(1, 0, (1001,)), Share(2, 0, ())))
    assert compare(nobody, in_force(nobody)) == RouteSeen(routing.possible(nobody), intact=True)


@pytest.mark.parametrize("asked", TRIALS)
def test_another_trial_in_force_is_told_from_the_one_that_was_meant(asked: Route) -> None:
    for other in TRIALS:
        seen = compare(asked, in_force(other))
        assert seen == RouteSeen(other, intact=other == asked)


@pytest.mark.parametrize("asked", TRIALS)
def test_the_table_keeps_a_route_as_it_is(asked: Route) -> None:
    assert routes.from_json(orjson.loads(orjson.dumps(routes.to_json(asked)))) == asked


def test_a_route_kept_before_there_were_trials_is_still_read() -> None:
    kept = routes.to_json(route())
    for name in ("candidate", "mirror", "preview", "sticky", "segments", "faulty"):
        del kept[name]
    assert routes.from_json(kept) == route(candidate=None)


def test_only_the_preview_address_can_be_made_to_fail() -> None:
    asked = route(preview=True, faulty=True)
    made = routes.leaf(asked)["action"]["typed_config"]["routes"]
    limits = {r["match"].get("path", ""): r["route"]["timeout"] for r in made}
    assert limits[routes.infer_address(asked, routes.PREVIEW)] == "0.001s"
    assert limits[routes.infer_address(asked)] == "0.500s"
    assert not routing.possible(route(faulty=True)).faulty


def test_an_endpoint_that_envoy_does_not_know_shows_nothing() -> None:
    seen = compare(TRIALS[-1], InForce(routes=[], clusters=[]))
    shares = (Share(1, 0, ()), Share(2, 0, ()))
    assert seen == RouteSeen(route(shares=shares), intact=False)


def test_a_mirror_without_a_fraction_or_with_a_finer_one_is_told_in_percent() -> None:
    asked = route(mirror=7)
    for fraction, percent in (
        ({}, 100),
        ({"runtime_fraction": {"default_value": {}}}, 0),
        ({"runtime_fraction": {"default_value": {
            "numerator": 1200, "denominator": "TEN_THOUSAND"}}}, 12),
    ):  # fmt: skip
        text = orjson.dumps(routes.route_configuration([asked]))
        configuration = orjson.loads(text)
        host = configuration["virtual_hosts"][0]
        (leaf,) = host["matcher"]["matcher_tree"]["prefix_match_map"]["map"].values()
        first = leaf["action"]["typed_config"]["routes"][0]
        first["route"]["request_mirror_policies"] = [{"cluster": "abc-2", **fraction}]
        clusters = [{"cluster": c} for c in routes.clusters([asked])]
        changed = InForce(routes=[{"route_config": configuration}], clusters=clusters)
        assert compare(asked, changed) == RouteSeen(replace(asked, mirror=percent), intact=False)


def test_only_predictions_at_the_endpoint_s_own_address_are_mirrored() -> None:
    asked = route(mirror=50, preview=True, sticky=STICKIES[2], segments=SEGMENTS)
    made = routes.leaf(asked)["action"]["typed_config"]["routes"]
    mirrored = [r["match"] for r in made if routes.MIRRORS in r["route"]]
    assert {match["path"] for match in mirrored} == {routes.infer_address(asked)}
    assert len(mirrored) == 2 * (len(SEGMENTS) + 1)
    marked = [r["match"] for r in made if "request_headers_to_add" in r]
    assert marked == mirrored
