"""Pages of rollouts: every state, every role, every act, without a script."""

import re

import pytest
from django.db import connection
from django.test import Client
from django.test.utils import CaptureQueriesContext

from apps.analysis.models import AnalysisRun
from apps.rollouts import planning
from apps.rollouts.models import Rollout
from apps.rollouts.web.judged import baselines
from tests import factories
from tests.web import rolling
from tests.web.pages import sound, text
from tests.web.rolling import Scene

pytestmark = pytest.mark.django_db
HOSTILE = "<script>alert('x')</script>"
PAGE, LIST, COUNT = 11, 6, 3  # queries
PARTS = ("head", "acts", "ladder", "judge", "sides", "aside")
SCENES = {
    "climbing": rolling.climbing,
    "late": rolling.late,
    "gone back": rolling.gone_back,
    "taken over": rolling.taken_over,
    "shadowed": rolling.shadowed,
    "bandit": rolling.bandit,
    "experiment": rolling.experiment,
    "waiting": rolling.waiting,
}


def browser(role: str, **limits: object) -> Client:
    made = Client()
    made.force_login(factories.person(role=role))
    return made


@pytest.fixture
def operator(db: None) -> Client:
    return browser("operator")


def read(client: Client, scene: Scene | Rollout, query: str = "") -> str:
    row = scene.row if isinstance(scene, Scene) else scene
    answer = client.get(f"/rollouts/{row.public_id}{query}")
    assert answer.status_code == 200, answer.content.decode()[:2000]
    return answer.content.decode()


def offered(page: str) -> list[str]:
    """Return the verbs whose buttons a page has."""
    return re.findall(r'id="do-(\w+)"', page)


def state_of(scene: Scene) -> str:
    return Rollout.objects.get(pk=scene.row.pk).state


# --- reading ----------------------------------------------------------------------------------


@pytest.mark.parametrize("name", SCENES)
def test_a_rollout_in_every_state_has_a_sound_page(operator: Client, name: str) -> None:
    sound(read(operator, SCENES[name]()))


def test_a_climbing_canary_says_what_is_so_and_what_comes_next(operator: Client) -> None:
    said = text(read(operator, rolling.climbing()))
    assert "parcel-eta v2 is taking over from v1 in production" in said
    assert "25 % of requests go to the canary. It goes to 50 % in about 9 minutes" in said
    assert (
        "“Slower than 250 ms” and “Arrived within the promised hour” are judged not worse" in said
    )
    assert "Authorized as R-314" in said


def test_the_ladder_tells_what_was_said_of_each_step_and_when(operator: Client) -> None:
    page = read(operator, rolling.climbing())
    rungs = re.findall(r'<li class="rung" data-place="(\w+)"', page)
    assert rungs == ["travelled", "travelled", "here", "ahead", "ahead"]
    said = text(page)
    assert re.search(r"5 % Not worse \d\d:\d\d, held 10 min", said)
    assert re.search(r"25 % Not yet decided since \d\d:\d\d; minimum hold of 20 min ended", said)
    assert "then v2 is stable; v1 stays warm 1 d" in said


def test_the_judge_shows_numbers_evidence_and_what_it_has_nothing_of(operator: Client) -> None:
    page = read(operator, rolling.climbing())
    said = text(page)
    assert "Aborts at most 1 in 20 healthy rollouts, however often it looks" in said
    assert "0.31 % 41 of 13,260" in said
    assert "If it cannot by" in said
    assert "No labels yet" in page
    assert page.count('data-series="good" d="M') == 3, "a curve for each metric that has looks"
    assert "stands at 38.9 of 20, that it is worse at 0.12 of 20" in page


def test_without_a_curve_there_is_hatching_and_no_line(operator: Client) -> None:
    made = rolling.climbing(looks=0)
    page = read(operator, made)
    assert 'data-series="good" d=' not in page
    assert page.count("hatch-area") == 4


def test_an_analysis_that_nobody_has_made_for_a_while_is_said_first(operator: Client) -> None:
    made = rolling.climbing()
    AnalysisRun.objects.update(looked_at=made.row.created_at)
    said = text(read(operator, made))
    assert "The judge is blind. Nobody has looked at the numbers" in said
    assert "nothing goes on by itself" in said


def test_a_rollout_that_waits_for_a_person_says_why_and_what_they_can_do(operator: Client) -> None:
    page = read(operator, rolling.late())
    said = text(page)
    assert "It stands still until somebody decides." in said
    assert "The judge had no answer in time. The canary is slower" in said
    assert "Resume goes on without its answer: it goes to 50 %." in said
    assert "Abort sends every request back to v1." in said
    assert offered(page) == ["resume", "skip", "promote", "abort"]


def test_a_rollout_that_was_paused_says_by_whom(operator: Client) -> None:
    made = rolling.climbing()
    made.stands(state="paused", pause="person", pause_reason="I look.", paused_by="bea")
    assert "bea paused it: I look. Resume goes on where it stands." in text(read(operator, made))


def test_a_rollout_that_went_back_is_a_record_of_why_and_how_long_it_took(
    operator: Client,
) -> None:
    page = read(operator, rolling.gone_back())
    said = text(page)
    assert "churn v2 was rolled back to v1 in production" in said
    assert "v1 answers every request again. Going back took 1.3 s" in said
    assert "Why it went back: The canary fails more often" in said
    assert offered(page) == []
    assert 'data-place="back"' in page
    assert 'class="dialog"' not in page


def test_a_rollout_that_took_over_says_how_long_it_took(operator: Client) -> None:
    said = text(read(operator, rolling.taken_over()))
    assert "prices v2 took over from v1 in production" in said
    assert "v2 answers every request. It took 1 h 56 min." in said


def test_a_pending_rollout_says_what_it_lacks_and_what_helps(operator: Client) -> None:
    page = read(operator, rolling.waiting())
    said = text(page)
    assert "vision v2 waits to take over from v1" in said
    assert "Both revisions do not fit at once: 2480 MB of memory are needed" in said
    assert "propose it with the strategy recreate" in said
    assert "The plan Once it begins" in said
    assert offered(page) == ["abort"]


def test_a_shadow_shows_how_both_answered_the_same_requests(operator: Client) -> None:
    said = text(read(operator, rolling.shadowed()))
    assert "plates v2 answers in the shadow of v1" in said
    assert "Copies of 100 % of requests go to the canary; nobody gets its answers." in said
    assert "Agree 99.1 % 12,291 of 12,400 answers" in said
    assert "motorcycle 900 93.4 %" in said
    assert "“label” is bicycle, not motorcycle." in said


def test_a_bandit_shows_its_split_by_segment(operator: Client) -> None:
    said = text(read(operator, rolling.bandit()))
    assert "offers v2 is on trial against v1" in said
    assert "between 5 and 95 %" in said
    assert re.search(r"eu 81 % 5.3 % of 4,000 4.1 % of 4,000 (9\d|100) %", said)
    assert re.search(r"us 34 % 3.5 % of 4,900 4.1 % of 4,900 \d %", said)
    assert "The rest 62 % no data no data" in said
    assert "by segment" in said


def test_a_bandit_says_what_each_segment_gives_the_canary(operator: Client) -> None:
    split = "81 % of “eu”, 34 % of “us”, 58 % of “apac” and 62 % of the rest go to the canary."
    said = text(read(operator, rolling.bandit()))
    assert split in said
    assert "Traffic: 60 % to the canary" in said, "what came of all of them"
    assert split in text(operator.get("/rollouts").content.decode())


def test_an_experiment_shows_what_is_believed_and_how_sure_one_may_be(operator: Client) -> None:
    page = read(operator, rolling.experiment())
    said = text(page)
    assert "banner v2 is on trial against v1" in said
    assert "“The new banner is clicked more often.”" in said
    assert "Canary minus stable: +0.60 points, between −0.20 points and +1.4 points" in said
    assert 'class="interval"' in page
    assert "Everybody 50 % 4.7 % of 9,000 4.1 % of 9,000" in said
    assert "callers are told apart by cookie visitor" in said


def test_an_experiment_that_is_over_still_shows_what_was_told(operator: Client) -> None:
    made = rolling.experiment()
    made.stands(
        state="promoted", step=1, step_seen_at=None, decided_at=made.now, settled_at=made.now,
        ended_at=made.now, waits_for="",
    )  # fmt: skip
    said = text(read(operator, made))
    assert "Everybody 50 % 4.7 % of 9,000 4.1 % of 9,000" in said


def test_a_shadow_is_compared_by_its_own_metric_of_answers_alone() -> None:
    own = {"name": "answers", "source": "disagreement", "tolerance": {"absolute": 0.1},
           "margin": {"absolute": 0.2}}  # fmt: skip
    made = rolling.scene("plates", strategy={"kind": "shadow", "metrics": [own]})
    plan = planning.analysis_plan(made.row)
    assert [metric["name"] for metric in plan["metrics"]] == ["answers"]


@pytest.mark.parametrize(("good", "bad"), [(90.0, 92.0), (92.0, 90.0), (126.0, 126.0), (20, 120)])
def test_the_labels_of_a_curve_never_cover_each_other(good: float, bad: float) -> None:
    labels = baselines(good, bad, 128.0)
    assert abs(labels[0] - labels[1]) >= 15
    assert max(labels) <= 128 + 8


def test_the_way_back_says_how_long_it_took_the_last_time(operator: Client) -> None:
    before = rolling.gone_back()
    candidate = factories.revision(endpoint=before.endpoint, state="shifting")
    row = factories.rollout(candidate=candidate, stable=before.stable, state="progressing")
    said = text(read(operator, row))
    assert re.search(r"Last time \d+ \w+, 1.3 s", said)
    assert "It is a change of route: nothing is redeployed." in said


def test_the_first_rollout_of_an_endpoint_has_nothing_to_go_back_to(operator: Client) -> None:
    made = rolling.scene(first=True)
    page = read(operator, made)
    sound(page)
    assert "Nothing was live here before." in text(page)


def test_the_log_shows_the_newest_and_all_of_it_when_asked(operator: Client) -> None:
    made = rolling.climbing()
    for place in range(40):
        made.tell(0, "resumed", f"Line {place}.", actor="ada", reason="Why not.")
    page = read(operator, made)
    assert "All 49" in text(page)
    assert "Line 39." in page
    assert "Line 1." not in page
    assert "ada : “Why not.”" in text(page)
    assert "Line 1." in read(operator, made, "?log=all")


def test_what_people_write_is_shown_as_they_wrote_it(operator: Client) -> None:
    made = rolling.climbing()
    made.stands(state="paused", pause="person", pause_reason=HOSTILE, paused_by=HOSTILE)
    made.tell(0, "paused", HOSTILE, HOSTILE, actor=HOSTILE)
    page = read(operator, made)
    assert "<script>alert" not in page
    assert "&lt;script&gt;alert" in page


def test_a_missing_rollout_is_missing(operator: Client) -> None:
    assert operator.get("/rollouts/nothing00000").status_code == 404


def test_whoever_may_not_see_the_model_does_not_see_its_rollout() -> None:
    made = rolling.climbing()
    stranger = factories.person(username="stranger")
    factories.grant(person=stranger, role="operator", team=factories.team(slug="parcels"))
    client = Client()
    client.force_login(stranger)
    assert client.get(f"/rollouts/{made.row.public_id}").status_code == 404
    assert "parcel-eta" not in client.get("/rollouts").content.decode()


@pytest.mark.parametrize("part", PARTS)
def test_a_part_comes_alone_when_htmx_asks(operator: Client, part: str) -> None:
    made = rolling.climbing()
    answer = operator.get(
        f"/rollouts/{made.row.public_id}?part={part}", headers={"hx-request": "true"}
    )
    page = answer.content.decode()
    assert answer.status_code == 200
    assert "<html" not in page
    assert f"part={part}" in page
    assert "data-live=" in page


# --- acts -------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("role", "verbs"),
    [
        ("viewer", []),
        ("contributor", ["pause", "abort"]),
        ("operator", ["pause", "skip", "promote", "abort"]),
    ],
)
def test_only_what_is_possible_and_allowed_is_offered(role: str, verbs: list[str]) -> None:
    page = read(browser(role), rolling.climbing())
    assert offered(page) == verbs
    for verb in verbs:
        assert f'href="/rollouts/{rolling_id(page)}/{verb}"' in page, "it works without a script"


def rolling_id(page: str) -> str:
    found = re.search(r'data-live="rollout/(\w+)', page)
    assert found is not None
    return found[1]


@pytest.mark.parametrize(
    ("verb", "scene", "after"),
    [
        ("pause", rolling.climbing, "paused"),
        ("resume", rolling.late, "progressing"),
        ("skip", rolling.climbing, "progressing"),
        ("promote", rolling.climbing, "promoting"),
        ("abort", rolling.climbing, "rolling_back"),
        ("abort", rolling.waiting, "cancelled"),
    ],
)
def test_an_act_is_a_page_that_says_what_happens_and_a_form_that_does_it(
    operator: Client, verb: str, scene: object, after: str
) -> None:
    made: Scene = scene()  # type: ignore[operator]
    path = f"/rollouts/{made.row.public_id}/{verb}"
    page = operator.get(path).content.decode()
    sound(page)
    answer = operator.post(path, {"reason": "The on-call said so."})
    assert answer.status_code == 302, answer.content.decode()[:1000]
    assert answer["Location"] == f"/rollouts/{made.row.public_id}"
    assert state_of(made) == after
    assert "The on-call said so." in read(operator, made)


def test_an_act_without_its_reason_is_asked_again_where_it_was_asked(operator: Client) -> None:
    made = rolling.climbing()
    answer = operator.post(f"/rollouts/{made.row.public_id}/abort", {"reason": " "})
    page = answer.content.decode()
    assert answer.status_code == 422
    sound(page)
    assert "To abort a rollout needs a reason." in text(page)
    assert 'aria-invalid="true"' in page
    assert state_of(made) == "progressing"


def test_an_act_that_came_too_late_says_so(operator: Client) -> None:
    made = rolling.gone_back()
    answer = operator.post(f"/rollouts/{made.row.public_id}/promote", {"reason": "Now."})
    page = answer.content.decode()
    assert answer.status_code == 409
    sound(page)
    assert "This rollout is rolled back, and cannot promote now." in text(page)
    assert "Nothing was done." in text(page)


def test_who_may_not_act_is_refused_and_nothing_moves() -> None:
    made = rolling.climbing()
    path = f"/rollouts/{made.row.public_id}/promote"
    somebody = browser("contributor")
    assert somebody.get(path).status_code == 403
    assert somebody.post(path, {"reason": "Please."}).status_code == 403
    assert state_of(made) == "progressing"


# --- lists ------------------------------------------------------------------------------------


def test_the_list_shows_what_runs_first(operator: Client) -> None:
    rolling.climbing()
    rolling.gone_back()
    rolling.late()
    page = operator.get("/rollouts").content.decode()
    sound(page)
    order = [page.index(f">{name} v2<") for name in ("card-fraud", "parcel-eta", "churn")]
    assert order == sorted(order)
    said = text(page)
    assert "2 rollouts are under way" in said
    assert "asks you" in said
    assert page.count("ladder-mini") >= 3


@pytest.mark.parametrize(
    ("query", "shown"),
    [
        ("state=running", {"parcel-eta", "card-fraud"}),
        ("state=rolled_back", {"churn"}),
        ("state=ended", {"churn"}),
        ("model=parcel", {"parcel-eta"}),
        ("environment=dev", set()),
        ("state=nonsense", {"parcel-eta", "card-fraud", "churn"}),
    ],
)
def test_the_list_is_filtered(operator: Client, query: str, shown: set[str]) -> None:
    rolling.climbing()
    rolling.late()
    rolling.gone_back()
    page = operator.get(f"/rollouts?{query}").content.decode()
    assert set(re.findall(r">([\w-]+) v2</a>", page)) == shown


def test_an_empty_list_says_where_rollouts_come_from(operator: Client) -> None:
    page = operator.get("/rollouts").content.decode()
    sound(page)
    assert "No traffic has moved yet" in page


def test_the_yard_line_counts_what_runs(operator: Client) -> None:
    assert operator.get("/rollouts/count").content.decode().strip() == ""
    rolling.climbing()
    rolling.gone_back()
    assert operator.get("/rollouts/count").content.decode().strip().startswith("1<")
    assert 'hx-get="/rollouts/count"' in operator.get("/models").content.decode()


def test_the_front_page_shows_what_moves_and_what_waits_for_a_person_first(
    operator: Client,
) -> None:
    rolling.climbing()
    rolling.late()
    page = operator.get("/").content.decode()
    sound(page)
    said = text(page)
    waits = said.index("card-fraud v2 stands still on its way from v1")
    assert waits < said.index("parcel-eta v2 is taking over from v1")
    assert "25 % of requests go to the canary." in said


# --- what they cost ---------------------------------------------------------------------------


def queries_of(client: Client, path: str) -> int:
    client.get(path)
    with CaptureQueriesContext(connection) as caught:
        assert client.get(path).status_code == 200
    return len(caught)


@pytest.mark.parametrize(("looks", "lines"), [(2, 0), (700, 300)])
def test_a_rollout_costs_the_same_with_hundreds_of_looks_and_log_lines(
    operator: Client, looks: int, lines: int
) -> None:
    made = rolling.climbing(looks=looks)
    for _ in range(4 + lines):
        made.tell(0, "reallocated", "The bandit gives the candidate 25 %.", weight=25)
    assert queries_of(operator, f"/rollouts/{made.row.public_id}") == PAGE


@pytest.mark.parametrize("count", [1, 25])
def test_the_lists_cost_the_same_at_one_and_at_many_rows(operator: Client, count: int) -> None:
    for number in range(count):
        rolling.waiting(f"vision-{number}")
    assert queries_of(operator, "/rollouts") == LIST
    assert queries_of(operator, "/rollouts/count") == COUNT


def test_of_many_looks_some_are_left_out_and_the_newest_is_there(operator: Client) -> None:
    page = read(operator, rolling.climbing(looks=700))
    drawn = re.findall(r'data-series="good" d="([^"]+)"', page)
    assert all(100 <= path.count("L") + path.count("M") <= 160 for path in drawn)
    assert "not worse 38.9" in page
