"""Reading a policy's document, and saying it in sentences."""

import copy
import re
from datetime import timedelta
from itertools import pairwise

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from apps.gates.domain.catalogue import CATALOGUE
from apps.gates.domain.catalogue_page import PARAMETERS as SAID
from apps.gates.domain.default_policies import REQUIRED, default_policy
from apps.gates.domain.parameters import PARAMETERS
from apps.gates.domain.policy import (
    SUPERSEDE,
    ApprovalRules,
    EmergencyRules,
    GateRule,
    PolicyDocument,
    Seat,
    WaiverRules,
    as_document,
    parse,
)
from apps.gates.domain.policy_words import diff, seat, span
from apps.registry.domain.kinds import RiskTier
from apps.rollouts.domain.strategy import StrategyKind
from controlplane.kernel.actor import Role
from controlplane.kernel.errors import Invalid

SEAT = {"title": "Operations", "roles": ["operator"], "team": None}
SMALL = {"gates": [{"gate": "artifact.scanned"}], "approvals": {"seats": [SEAT]}}


def better(**parameters):
    return {"gate": "quality.better", "parameters": parameters}


def changed(path, value):
    """Return SMALL with one thing in it replaced; `path` as a list of names and indices."""
    document = copy.deepcopy(SMALL)
    at = document
    for step in path[:-1]:
        at = at[step]
    at[path[-1]] = value
    return document


def test_what_is_left_out_has_careful_defaults():
    policy = parse(SMALL)
    assert policy.gates == (GateRule("artifact.scanned", required=True),)
    assert policy.approvals.seats == (Seat("Operations", (Role.OPERATOR,)),)
    assert not policy.emergency.allowed
    assert set(policy.strategies) == set(StrategyKind)
    assert policy.minimum_score == 0


@pytest.mark.parametrize(
    ("path", "value", "where"),
    [
        (["gates"], None, "gates"),
        (["gates"], "artifact.scanned", "gates"),
        (["approvals"], None, "approvals"),
        (["approvals", "seats"], None, "approvals.seats"),
        (["gates", 0, "max_age_days"], -1, "gates[0].max_age_days"),
        (["gates", 0, "max_age_days"], 0, "gates[0].max_age_days"),
        (["gates", 0, "max_age_days"], "30", "gates[0].max_age_days"),
        (["gates", 0, "max_age_days"], True, "gates[0].max_age_days"),
        (["gates", 0, "max_age_days"], float("nan"), "gates[0].max_age_days"),
        (["gates", 0, "max_age_days"], 10**9, "gates[0].max_age_days"),
        (["gates", 0, "required"], "yes", "gates[0].required"),
        (["gates", 0, "requierd"], True, "gates[0].requierd"),
        (["gates", 0, "gate"], "artifact.scaned", "gates[0].gate"),
        (["gates", 0, "gate"], ["x"], "gates[0].gate"),
        (["gates", 0, "parameters"], [1], "gates[0].parameters"),
        (["gates", 0, "parameters"], {"a": 1}, "gates[0].parameters"),
        (["gates", 0], better(metric=["auc"]), "gates[0].parameters.metric"),
        (["gates", 0], better(metrics="auc"), "gates[0].parameters.metrics"),
        (["gates", 0], better(metrics=[]), "gates[0].parameters.metrics"),
        (["gates", 0], better(margin="1"), "gates[0].parameters.margin"),
        (["gates", 0], better(slices=0), "gates[0].parameters.slices"),
        (["gates"], [{"gate": "artifact.scanned"}] * 2, "gates[1].gate"),
        (["approvals", "seats", 0, "roles"], ["viewer"], "approvals.seats[0].roles[0]"),
        (["approvals", "seats", 0, "roles"], [], "approvals.seats[0].roles"),
        (["approvals", "seats", 0, "title"], "  ", "approvals.seats[0].title"),
        (["approvals", "seats"], [SEAT, SEAT], "approvals.seats[1].title"),
        (["approvals", "expires_after_hours"], 0, "approvals.expires_after_hours"),
        (["approvals", "remind_after_hours"], 72, "approvals.remind_after_hours"),
        (["minimum_score"], 8, "minimum_score"),
        (["minimum_score"], -0.5, "minimum_score"),
        (["waivers"], {"longest_days": -1}, "waivers.longest_days"),
        (["emergency"], {"allowed": "no"}, "emergency.allowed"),
        (["strategies"], ["big_bang"], "strategies[0]"),
        (["strategies"], [], "strategies"),
        (["supersede"], "both", "supersede"),
        (["gatez"], [], "gatez"),
    ],
)
def test_a_fault_is_named_with_its_place_and_what_to_write(path, value, where):
    with pytest.raises(Invalid) as caught:
        parse(changed(path, value), catalogue=CATALOGUE)
    assert caught.value.field == where
    assert caught.value.sentence.startswith(where)
    assert caught.value.remedy
    assert caught.value.code == "policy.invalid"


@pytest.mark.parametrize("value", [float("inf"), "\x00", {1: "a"}, {"b": [object()]}])
def test_a_parameter_that_no_database_holds_is_refused_on_record_too(value):
    with pytest.raises(Invalid) as caught:
        parse(changed(["gates", 0, "parameters"], {"a": value}))
    assert caught.value.field == "gates[0].parameters.a"


def test_every_parameter_that_is_taken_is_on_the_page_of_gates():
    named = {gate: set(re.findall(r"`(\w+)`:?", text)) for gate, text in SAID.items()}
    for gate, known in PARAMETERS.items():
        assert set(known) <= named[gate]
    assert set(SAID) == set(PARAMETERS)


@pytest.mark.parametrize("document", [None, [], "gates: []", 7])
def test_what_is_no_document_is_refused(document):
    with pytest.raises(Invalid, match="The document"):
        parse(document)


def test_a_misspelt_gate_is_answered_with_the_one_that_was_meant():
    with pytest.raises(Invalid) as caught:
        parse(changed(["gates", 0, "gate"], "artifact.scaned"), catalogue=CATALOGUE)
    assert "Did you mean artifact.scanned?" in caught.value.remedy


def test_a_policy_on_record_reads_although_its_gate_is_gone():
    assert parse(changed(["gates", 0, "gate"], "gone.since")).gates[0].gate == "gone.since"


@pytest.mark.parametrize("environment", [*REQUIRED, "lab"])
@pytest.mark.parametrize("tier", RiskTier)
@pytest.mark.parametrize("protected", [True, False])
def test_every_default_reads_back_as_itself(environment, tier, protected):
    policy = default_policy(environment, tier, protected=protected)
    assert parse(as_document(policy), catalogue=CATALOGUE) == policy
    assert {rule.gate for rule in policy.gates} | {"score.minimum"} == set(CATALOGUE)
    assert bool(policy.minimum_score) == (policy.rule("score.minimum") is not None)


def test_a_higher_tier_never_asks_for_less():
    tiers = [default_policy("production", t, protected=True) for t in RiskTier]
    for lower, higher in pairwise(tiers):
        assert {r.gate for r in lower.required} <= {r.gate for r in higher.required}
        assert len(lower.approvals.seats) <= len(higher.approvals.seats)
        assert lower.minimum_score <= higher.minimum_score


def test_an_environment_made_later_is_ruled_like_production_when_protected():
    tier = RiskTier.HIGH
    assert default_policy("eu-west", tier, protected=True) == default_policy(
        "production", tier, protected=True
    )
    assert default_policy("lab", tier, protected=False) == default_policy(
        "staging", tier, protected=False
    )


words = st.text("abcdefgh.", min_size=1, max_size=12)
spans = st.integers(1, 8000).map(lambda h: timedelta(hours=h))
plain = (
    st.none()
    | st.booleans()
    | st.integers(-9, 9)
    | words
    | st.lists(words, max_size=2)
    | st.dictionaries(words, st.integers(), max_size=2)
)
rules = st.builds(
    GateRule,
    gate=st.sampled_from(sorted(CATALOGUE)),
    required=st.booleans(),
    max_age=st.none() | st.integers(1, 3650).map(lambda d: timedelta(days=d)),
    parameters=st.dictionaries(words, plain, max_size=2),
)
seats = st.builds(
    Seat,
    title=words,
    roles=st.lists(
        st.sampled_from([Role.REVIEWER, Role.OPERATOR, Role.ADMIN]), min_size=1, unique=True
    ).map(tuple),
    team=st.none() | st.just("owner") | words,
)
policies = st.builds(
    PolicyDocument,
    gates=st.lists(rules, max_size=5, unique_by=lambda r: r.gate).map(tuple),
    approvals=st.builds(
        lambda seats, hours: ApprovalRules(
            tuple(seats), timedelta(hours=hours + 1), timedelta(hours=hours / 2 + 0.5)
        ),
        st.lists(seats, max_size=3, unique_by=lambda s: s.title),
        st.integers(1, 8000),
    ),
    minimum_score=st.integers(0, 14).map(lambda n: n / 2),
    waivers=st.builds(WaiverRules, st.integers(0, 3650).map(lambda d: timedelta(days=d))),
    emergency=st.builds(EmergencyRules, st.booleans(), spans, spans),
    strategies=st.just(("all_at_once",)),
    supersede=st.sampled_from(SUPERSEDE),
)


# Two policies are a lot to make on a busy machine; that says nothing about the code.
UNHURRIED = settings(deadline=None, suppress_health_check=[HealthCheck.too_slow])


@UNHURRIED
@given(policies)
def test_whatever_a_policy_says_its_document_reads_back_as_it(policy):
    assert parse(as_document(policy)) == policy


@UNHURRIED
@given(policies, policies)
def test_the_difference_is_silent_only_about_what_means_the_same(before, after):
    said = diff(before, after)
    ordered = (
        {rule.gate: rule for rule in before.gates},
        {s.title: s for s in before.approvals.seats},
    )
    other = {rule.gate: rule for rule in after.gates}, {s.title: s for s in after.approvals.seats}
    same = ordered == other and all(
        getattr(before, name) == getattr(after, name)
        for name in ("minimum_score", "waivers", "emergency", "supersede")
    )
    same = same and before.approvals.expires_after == after.approvals.expires_after
    same = same and before.approvals.remind_after == after.approvals.remind_after
    assert (said == ()) == same
    assert all(sentence.endswith(".") for sentence in said)


def test_the_difference_is_said_in_sentences():
    before = parse(SMALL)
    after = parse(
        {
            "gates": [{"gate": "artifact.digest", "max_age_days": 7}],
            "approvals": {
                "seats": [{"title": "Owner's lead", "roles": ["reviewer"], "team": "owner"}],
                "expires_after_hours": 48,
                "remind_after_hours": 24,
            },
            "emergency": {"allowed": True},
        }
    )
    assert diff(before, after) == (
        "artifact.digest is asked for now (required), with evidence at most 7 days old.",
        "artifact.scanned is no longer asked for (it was required).",
        "One more approval is needed. Owner's lead: a reviewer of the team that owns the model.",
        "One approval less is needed. It was Operations: an operator of any team.",
        "A request for approval expires after 48 hours (it was 72 hours).",
        "In an emergency an operator may ship without approval, for 24 hours; a review is due "
        "within 72 hours. Before: Nobody may ship without approval, also not in an emergency.",
    )


def test_a_seat_open_to_two_roles_says_so():
    assert (
        seat(Seat("Risk", (Role.REVIEWER, Role.ADMIN), "risk"))
        == "Risk: a reviewer or an admin of team risk"
    )


@pytest.mark.parametrize(
    ("given_span", "said"),
    [
        (timedelta(hours=1), "1 hour"),
        (timedelta(hours=72), "72 hours"),
        (timedelta(days=14), "14 days"),
        (timedelta(hours=97), "97 hours"),
        (timedelta(minutes=30), "30 minutes"),
    ],
)
def test_a_span_is_said_as_people_say_it(given_span, said):
    assert span(given_span) == said
