"""Saving, importing and trying policies."""

import copy
import threading
from datetime import timedelta
from typing import Any

import pytest
from django.db import connections

from apps.audit.models import AuditEvent
from apps.environments.models import Environment
from apps.gates import policy_rows, selectors, services, trials
from apps.gates.domain import policy_yaml
from apps.gates.domain.dry_run import Effect
from apps.gates.domain.policy_yaml import PolicyFile
from apps.gates.domain.states import GateState
from apps.gates.models import Checklist, Evidence, GateResult, Policy
from apps.gates.services import policies
from apps.registry.domain.kinds import RiskTier
from controlplane.kernel.actor import Actor, worker
from controlplane.kernel.clock import SystemClock
from controlplane.kernel.errors import Conflict, Denied, Invalid, Missing
from tests import factories

pytestmark = pytest.mark.django_db
ADMIN = factories.actor_with("admin")
SMALL: dict[str, Any] = {
    "gates": [{"gate": "artifact.scanned"}, {"gate": "variant.parity"}],
    "approvals": {"seats": [{"title": "Operations", "roles": ["operator"]}]},
}


def place(slug: str = "production") -> Environment:
    return Environment.objects.get(slug=slug)


def save(document: object = None, **given: Any) -> policies.Saved:
    values = {
        "actor": ADMIN,
        "environment": "production",
        "risk_tier": "medium",
        "document": SMALL if document is None else document,
        "reason": "We agreed on it.",
        **given,
    }
    return policies.save(**values)


def small(**changes: Any) -> dict[str, Any]:
    return {**copy.deepcopy(SMALL), **changes}


def opened(
    *known: tuple[str, str], tier: str = "medium", age: timedelta | None = None
) -> Checklist:
    """Return an open checklist in production, with verdicts about some gates."""
    model = factories.model(risk_tier=tier)
    variant = factories.variant(version=factories.version(model=model))
    checklist = services.open_checklist(
        actor=worker("releases"),
        version=variant.version,
        variant=variant,
        environment=place(),
        configuration={"runtime": "onnxruntime", "replicas": 1, "settings": {}},
        proposer_id=None,
    )
    at = SystemClock().now() - (age or timedelta(0))
    for gate, verdict in known:
        evidence = Evidence.objects.create(
            key=gate, subject=variant.bundle_digest, version=variant.version, verdict=verdict,
            sentence="Seen.", source="measured", measured_at=at, recorded_by="test",
            digest=f"{gate} of {variant.pk}",
        )  # fmt: skip
        GateResult.objects.filter(checklist=checklist, gate=gate).update(
            state=verdict, verdict=verdict, evidence=evidence, measured_at=at,
            expires_at=at + timedelta(days=30),
        )  # fmt: skip
    return checklist


def test_a_fresh_house_has_a_policy_for_every_environment_and_tier() -> None:
    rows = Policy.objects.values_list("environment__slug", "risk_tier", "number")
    assert sorted(rows) == sorted(
        (slug, str(tier), 1) for slug in ("dev", "staging", "production") for tier in RiskTier
    )


def test_what_is_saved_is_a_new_version_and_the_old_one_stays() -> None:
    first = policy_rows.policy_in_force(place(), "medium")
    saved = save()
    assert saved.is_new
    assert saved.policy.number == first.number + 1
    assert policy_rows.policy_in_force(place(), "medium") == saved.policy
    assert Policy.objects.get(pk=first.pk).document == first.document
    assert policy_rows.policy_in_force(place(), "high").number == 1


def test_the_ledger_says_what_changed_and_why() -> None:
    save()
    save(small(minimum_score=2))
    event = AuditEvent.objects.filter(verb="gates.policy.edit").latest("id")
    assert event.reason == "We agreed on it."
    assert event.subject == "production, medium, version 3"
    assert event.after["changes"] == ["The ML Test Score must be at least 2 (it was 0)."]


def test_saying_the_same_again_saves_nothing() -> None:
    first = save()
    again = save(small(supersede="replace", minimum_score=0))
    assert not again.is_new
    assert again.policy == first.policy


@pytest.mark.parametrize(
    "actor",
    [
        factories.actor_with("operator"),
        factories.actor_with("reviewer"),
        factories.actor_with("admin", team="fraud"),
        factories.actor_with("admin", environment="staging"),
    ],
)
def test_only_an_admin_of_the_environment_writes_its_policies(actor: Actor) -> None:
    with pytest.raises(Denied):
        save(actor=actor)
    with pytest.raises(Denied):
        trials.try_policy(
            actor=actor, environment="production", risk_tier="medium", document=SMALL
        )
    assert not Policy.objects.filter(number__gt=1).exists()


def test_an_admin_of_one_environment_writes_policies_there() -> None:
    assert save(actor=factories.actor_with("admin", environment="production")).is_new


@pytest.mark.parametrize(
    ("given", "error", "field"),
    [
        ({"reason": "  "}, Invalid, "reason"),
        ({"environment": "mars"}, Missing, "environment"),
        ({"risk_tier": "huge"}, Invalid, "risk_tier"),
        ({"document": small(gates=[{"gate": "nope"}])}, Invalid, "gates[0].gate"),
        ({"document": {}}, Invalid, "gates"),
        ({"document": []}, Invalid, ""),
        (
            {
                "document": small(
                    approvals={"seats": [{"title": "R", "roles": ["reviewer"], "team": "ghosts"}]}
                )
            },
            Invalid,
            "approvals.seats[0].team",
        ),
    ],
)
def test_what_is_wrong_is_refused_and_nothing_saved(
    given: dict[str, Any], error: type[Exception], field: str
) -> None:
    with pytest.raises(error) as caught:
        save(**given)
    assert caught.value.field == field  # type: ignore[attr-defined]
    assert caught.value.remedy  # type: ignore[attr-defined]
    assert not Policy.objects.filter(number__gt=1).exists()


def test_a_minimum_score_that_would_stop_nothing_is_refused() -> None:
    idle = [*SMALL["gates"], {"gate": "score.minimum", "required": False}]
    with pytest.raises(Invalid, match="only advises") as caught:
        save(small(gates=idle, minimum_score=2))
    assert caught.value.field == "gates[2].required"


def test_a_minimum_score_brings_its_gate() -> None:
    rules = selectors.rules(save(small(minimum_score=2)).policy)
    (rule,) = [rule for rule in rules if rule.gate == "score.minimum"]
    assert rule.required


def test_a_seat_of_a_team_that_exists_is_taken() -> None:
    factories.team(slug="risk")
    seats = [{"title": "Risk", "roles": ["reviewer"], "team": "risk"}]
    assert save(small(approvals={"seats": seats})).is_new


def test_whoever_looked_at_an_older_version_is_told() -> None:
    save(base=1)
    with pytest.raises(Conflict, match="Version 2 came into force since") as caught:
        save(small(minimum_score=1), base=1)
    assert caught.value.code == "policy.changed_meanwhile"
    assert policy_rows.policy_in_force(place(), "medium").number == 2


@pytest.mark.django_db(transaction=True)
def test_eight_admins_at_once_write_eight_versions_one_after_another() -> None:
    problems: list[BaseException] = []

    def write(n: int) -> None:
        try:
            save(small(minimum_score=(n + 1) / 2))
        except BaseException as error:
            problems.append(error)
        finally:
            connections.close_all()

    threads = [threading.Thread(target=write, args=(n,)) for n in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert not problems
    numbers = policy_rows.history(place(), "medium").values_list("number", flat=True)
    assert list(numbers) == list(range(9, 0, -1))


@pytest.mark.django_db(transaction=True)
def test_of_two_admins_who_looked_at_the_same_version_one_is_told() -> None:
    told: list[str] = []

    def write(n: int) -> None:
        try:
            save(small(minimum_score=n + 1), base=1)
        except Conflict as error:
            told.append(error.code)
        finally:
            connections.close_all()

    threads = [threading.Thread(target=write, args=(n,)) for n in range(2)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert told == ["policy.changed_meanwhile"]
    assert policy_rows.history(place(), "medium").count() == 2


def test_an_environment_made_later_gets_the_default_when_asked_about() -> None:
    lab = Environment.objects.create(slug="eu-west", title="EU West", rank=40, protected=True)
    shown = policy_rows.policy_shown(lab, "high")
    assert (shown.number, shown.pk) == (0, None)
    policy = selectors.policy_in_force(lab, "high")
    assert policy.number == 1
    assert policy.document == policy_rows.policy_in_force(place(), "high").document
    assert selectors.policy_in_force(lab, "high") == policy
    event = AuditEvent.objects.get(verb="gates.policy.edit")
    assert event.actor_name == "worker:policies"


def exported() -> str:
    rows = Policy.objects.select_related("environment").order_by("id")
    return policy_yaml.write(PolicyFile(p.environment.slug, p.risk_tier, p.document) for p in rows)


def test_what_was_exported_can_be_imported_and_changes_nothing() -> None:
    saved = policies.import_policies(
        actor=ADMIN, policies=policy_yaml.read(exported()), reason="From the file."
    )
    assert len(saved) == 12
    assert not any(s.is_new for s in saved)


def test_an_import_saves_what_differs() -> None:
    text = exported().replace("longest_days: 7", "longest_days: 3")
    saved = policies.import_policies(
        actor=ADMIN, policies=policy_yaml.read(text), reason="Shorter waivers."
    )
    assert [(s.policy.risk_tier, s.policy.number) for s in saved if s.is_new] == [("critical", 2)]


def test_an_import_with_one_fault_saves_nothing_and_names_the_place() -> None:
    both = [
        PolicyFile("production", "low", SMALL, "policies[0].policy"),
        PolicyFile("production", "high", small(gates=[{"gate": "x"}]), "policies[1].policy"),
    ]
    with pytest.raises(Invalid) as caught:
        policies.import_policies(actor=ADMIN, policies=both, reason="All at once.")
    assert caught.value.field == "policies[1].policy.gates[0].gate"
    assert "production, high" in caught.value.sentence


def test_an_import_that_names_a_place_twice_is_refused() -> None:
    twice = [PolicyFile("production", "low", SMALL)] * 2
    with pytest.raises(Invalid, match="two policies for production, low"):
        policies.import_policies(actor=ADMIN, policies=twice, reason="Twice.")


def test_open_checklists_are_looked_at_again_when_their_policy_changes() -> None:
    checklist = opened()
    later = SystemClock().now() + timedelta(hours=1)
    Checklist.objects.filter(pk=checklist.pk).update(next_reconcile_at=later)
    save()
    checklist.refresh_from_db()
    assert checklist.next_reconcile_at < later


def try_(document: object, **given: Any) -> trials.DryRun:
    return trials.try_policy(
        actor=ADMIN, environment="production", risk_tier="medium", document=document, **given
    )


def test_a_dry_run_says_which_open_release_a_policy_would_stop() -> None:
    save()
    passing = opened(("artifact.scanned", "passed"), ("variant.parity", "passed"))
    more = small(gates=[*SMALL["gates"], {"gate": "card.complete"}])
    run = try_(more)
    assert [t.checklist for t in run.stopped] == [passing]
    (gate,) = run.stopped[0].outcome.changed
    assert (gate.gate, gate.after, gate.stops) == ("card.complete", GateState.UNKNOWN, True)
    assert "measured first" in gate.why
    assert policy_rows.policy_in_force(place(), "medium").number == 2


def test_a_dry_run_says_which_open_release_a_policy_would_let_through() -> None:
    save()
    stopped = opened(("artifact.scanned", "passed"), ("variant.parity", "failed"))
    milder = small(
        gates=[{"gate": "artifact.scanned"}, {"gate": "variant.parity", "required": False}]
    )
    run = try_(milder)
    assert [t.checklist for t in run.let_through] == [stopped]
    assert run.stopped == ()


def test_the_same_policy_changes_nothing() -> None:
    save()
    opened(("artifact.scanned", "passed"), ("variant.parity", "failed"))
    (tried,) = try_(SMALL).tried
    assert tried.outcome.effect is Effect.SAME
    assert tried.outcome.changed == ()


def test_a_shorter_age_makes_what_was_found_too_old() -> None:
    save()
    old = timedelta(days=20)
    opened(("artifact.scanned", "passed"), ("variant.parity", "passed"), age=old)
    shorter = small(
        gates=[{"gate": "artifact.scanned", "max_age_days": 7}, {"gate": "variant.parity"}]
    )
    (tried,) = try_(shorter).stopped
    (gate,) = tried.outcome.changed
    assert (gate.gate, gate.before, gate.after) == (
        "artifact.scanned", GateState.PASSED, GateState.UNKNOWN,
    )  # fmt: skip


def test_other_parameters_make_a_finding_unknown_until_it_is_measured_again() -> None:
    save(small(gates=[{"gate": "card.complete"}]))
    opened(("card.complete", "passed"))
    sections = {"sections": ["Intended use"]}
    other = small(gates=[{"gate": "card.complete", "parameters": sections}])
    (tried,) = try_(other).stopped
    assert "parameters" in tried.outcome.changed[0].why


def test_a_closed_checklist_and_one_of_another_tier_are_not_looked_at() -> None:
    services.close_checklist(actor=worker("releases"), checklist=opened())
    opened(tier="high")
    assert try_(SMALL).tried == ()


def test_the_queries_of_a_dry_run_do_not_grow_with_the_releases(
    django_assert_max_num_queries: Any,
) -> None:
    save()
    for _ in range(5):
        opened(("artifact.scanned", "passed"))
    with django_assert_max_num_queries(8):
        try_(small(minimum_score=1))
