"""Pages of releases: every state, every role, every act, without a script."""

import json
import re

import pytest
from django.test import Client

from apps.accounts.models import Person
from apps.approvals.domain import digestset
from apps.audit.models import AuditEvent
from apps.registry.models import ModelVersion
from apps.releases import selectors, services
from apps.releases.models import Release
from apps.releases.web import export
from apps.rollouts.models import StrategyTemplate
from tests import factories, governed
from tests.governed import Governed

pytestmark = pytest.mark.django_db
HOSTILE = "<script>alert('x')</script>"


@pytest.fixture
def house() -> Governed:
    return governed.house()


def browser(somebody: Person) -> Client:
    made = Client()
    made.force_login(somebody)
    return made


def read(house: Governed, name: str, path: str, *, status: int = 200) -> str:
    answer = browser(house.people[name]).get(path)
    assert answer.status_code == status, answer.content.decode()[:2000]
    return answer.content.decode()


def text(page: str) -> str:
    """Return what a page says, without markup."""
    page = re.sub(r"<(script|style|svg).*?</\1>", " ", page, flags=re.S)
    plain = re.sub(r"<[^>]+>", " ", page).replace("\u202f", " ")
    return re.sub(r"\s+", " ", plain.replace("&#x27;", "'"))


def sound(page: str) -> None:
    """Hold a page to what every page is held to."""
    assert page.count("<h1>") == 1
    ids = re.findall(r'\sid="([^"]+)"', page)
    assert len(ids) == len(set(ids)), [i for i in ids if ids.count(i) > 1]
    for wanted in re.findall(r'<label[^>]*\sfor="([^"]+)"', page):
        assert wanted in ids
    for form in re.findall(r'<form[^>]*method="post".*?</form>', page, re.S):
        assert "csrfmiddlewaretoken" in form
    assert "{{" not in page
    assert "{%" not in page
    assert "None" not in text(page)


# --- reading ----------------------------------------------------------------------------------


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


# --- acts -------------------------------------------------------------------------------------


def post(house: Governed, by: str, path: str, status: int = 302, /, **body: str) -> str:
    answer = browser(house.people[by]).post(path, body)
    assert answer.status_code == status, answer.content.decode()[:1000]
    return answer["Location"] if status == 302 else answer.content.decode()


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


# --- proposing --------------------------------------------------------------------------------


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


# --- lists ------------------------------------------------------------------------------------


@pytest.mark.parametrize("path", ["/releases", "/releases?tab=mine", "/releases?tab=live",
                                  "/releases?tab=ended", "/inbox", "/releases/new"])  # fmt: skip
def test_an_empty_list_says_what_to_do(house: Governed, path: str) -> None:
    sound(read(house, "boss", path))


def test_the_tabs_hold_what_they_say(house: Governed) -> None:
    row = house.waiting()
    link = f"/releases/{row.number}"
    assert link in read(house, "viewer", "/releases")
    assert link in read(house, "reviewer", "/releases?tab=mine")
    assert link not in read(house, "maker", "/releases?tab=mine")
    assert link not in read(house, "viewer", "/releases?tab=live")
    house.approve(row, "reviewer", "operator")
    house.run(row, "live")
    assert link in read(house, "viewer", "/releases?tab=live")
    assert link not in read(house, "reviewer", "/releases?tab=mine")


def test_the_inbox_holds_what_waits_and_no_more(house: Governed) -> None:
    row = house.waiting()
    page = read(house, "reviewer", "/inbox")
    sound(page)
    assert "1 thing waits for you" in text(page)
    house.approve(row, "reviewer")
    assert "Nothing waits for you" in text(read(house, "reviewer", "/inbox"))
    assert "Nothing waits for you" in text(read(house, "second", "/inbox")), "the seat is taken"
    assert "1 thing waits for you" in text(read(house, "operator", "/inbox"))
    assert "Nothing waits for you" in text(read(house, "maker", "/inbox"))


def test_somebody_stands_in(house: Governed) -> None:
    row = house.waiting()
    house.approve(row, "reviewer")
    deputy = factories.person(username="deputy", role="viewer")
    house.people["deputy"] = deputy
    assert "Nothing waits for you" in text(read(house, "deputy", "/inbox"))
    post(
        house, "operator", "/delegations", substitute="deputy",
        starts_at="2020-01-01T08:00", ends_at="2099-01-01T08:00", reason="Holiday",
    )  # fmt: skip
    page = read(house, "deputy", "/inbox")
    assert "1 thing waits for you" in text(page)
    assert "You stand in for operator" in text(page)
    mine = read(house, "operator", "/inbox")
    end = re.search(r'action="(/delegations/[^"]+/end)"', mine)
    assert end
    post(house, "operator", end[1])
    assert "Nothing waits for you" in text(read(house, "deputy", "/inbox"))
    assert post(house, "operator", "/delegations", substitute="deputy", starts_at="x", ends_at="y")


# --- leaving the house ------------------------------------------------------------------------


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


# --- gates ------------------------------------------------------------------------------------


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
