"""Pages of policies and of readiness: what they say, and that nothing is saved unseen."""

import re

import pytest
from django.test import Client

from apps.gates import policy_rows
from apps.gates.domain import policy_yaml
from apps.gates.models import Evidence, Policy
from apps.registry.models import ModelVersion
from tests import factories

pytestmark = pytest.mark.django_db
ONE = "/policies/production/medium"


def text_of(path: str, client: Client) -> str:
    answer = client.get(path)
    assert answer.status_code == 200, answer.content[:500]
    return re.sub(r"\s+", " ", answer.content.decode())


def yaml_now() -> str:
    policy = Policy.objects.get(environment__slug="production", risk_tier="medium", number=1)
    return policy_yaml.write_document(policy_rows.file_of(policy).document)


def checked(page: str) -> str:
    found = re.search(r'name="checked" value="([0-9a-f]+)"', page)
    assert found, page
    return found[1]


def test_the_table_leads_to_every_policy(ada: Client) -> None:
    page = text_of("/policies", ada)
    for slug in ("dev", "staging", "production"):
        for tier in ("low", "medium", "high", "critical"):
            assert f'href="/policies/{slug}/{tier}"' in page
    assert "2 approvals, 23 gates" in page
    assert "No waiver is in force" in page


def test_a_policy_is_said_in_sentences(ada: Client) -> None:
    page = text_of("/policies/production/high", ada)
    assert "2 people must approve, and 15 gates of 23 must be passed" in page
    assert "a reviewer of the team that owns the model" in page
    assert "A waiver holds for at most 14 days." in page


def test_a_change_is_tried_first_and_saved_only_as_it_was_shown(ada: Client) -> None:
    text = yaml_now().replace("minimum_score: 0", "minimum_score: 2")
    posted = {"text": text, "reason": "The board asked.", "base": "1", "act": "check"}
    tried = ada.post(ONE, posted).content.decode()
    assert "The ML Test Score must be at least 2 (it was 0)." in tried
    assert "No open release would fare differently" in tried
    assert not Policy.objects.filter(number=2).exists()
    unseen = {**posted, "act": "save", "text": text + "\n", "checked": checked(tried)}
    ada.post(ONE, unseen)
    assert not Policy.objects.filter(number=2).exists()
    answer = ada.post(ONE, {**posted, "act": "save", "checked": checked(tried)})
    assert (answer.status_code, answer["Location"]) == (302, ONE)
    saved = Policy.objects.get(number=2)
    assert (saved.document["minimum_score"], saved.reason) == (2, "The board asked.")
    page = text_of(ONE, ada)
    assert "Version 2" in page
    assert "The ML Test Score must be at least 2 (it was 0)." in page
    old = text_of(f"{ONE}?number=1", ada)
    assert "This version is no longer in force" in old


def test_a_fault_is_shown_where_it_is_and_what_was_typed_stays(ada: Client) -> None:
    text = yaml_now().replace("artifact.scanned", "artifact.scaned")
    answer = ada.post(ONE, {"text": text, "reason": "", "base": "1", "act": "check"})
    page = answer.content.decode()
    assert answer.status_code == 422
    assert "gates[0].gate is &#x27;artifact.scaned&#x27;." in page
    assert "Did you mean artifact.scanned?" in page
    assert "artifact.scaned, required" in page


def test_saving_without_a_reason_says_so_beside_the_field(ada: Client) -> None:
    text = yaml_now().replace("minimum_score: 0", "minimum_score: 1")
    posted = {"text": text, "reason": "", "base": "1", "act": "check"}
    stamp = checked(ada.post(ONE, posted).content.decode())
    answer = ada.post(ONE, {**posted, "act": "save", "checked": stamp})
    assert answer.status_code == 422
    assert 'id="reason-error"' in answer.content.decode()
    assert not Policy.objects.filter(number=2).exists()


def test_an_editor_that_began_with_an_older_version_is_told(ada: Client) -> None:
    text = yaml_now().replace("minimum_score: 0", "minimum_score: 1")
    posted = {"text": text, "reason": "r", "base": "1", "act": "check"}
    stamp = checked(ada.post(ONE, posted).content.decode())
    ada.post(ONE, {**posted, "act": "save", "checked": stamp})
    other = {**posted, "text": text.replace("minimum_score: 1", "minimum_score: 3")}
    stamp = checked(ada.post(ONE, other).content.decode())
    answer = ada.post(ONE, {**other, "act": "save", "checked": stamp})
    assert "Version 2 came into force since you looked at version 1" in answer.content.decode()


def test_whoever_may_only_look_sees_no_editor(viewer: Client) -> None:
    assert "<textarea" not in text_of(ONE, viewer)
    assert "<textarea" not in text_of("/policies", viewer)
    assert viewer.post(ONE, {"text": yaml_now(), "act": "check"}).status_code == 403
    assert viewer.post("/policies", {"text": "x", "act": "check"}).status_code in (403, 422)


def test_a_file_is_checked_and_then_imported(ada: Client) -> None:
    rows = Policy.objects.select_related("environment").order_by("id")
    text = policy_yaml.write(policy_rows.file_of(p) for p in rows)
    text = text.replace("longest_days: 7", "longest_days: 5")
    posted = {"text": text, "reason": "Shorter.", "act": "check"}
    tried = ada.post("/policies", posted).content.decode()
    assert "1 of 12 policies would change" in tried
    assert not Policy.objects.filter(number=2).exists()
    ada.post("/policies", {**posted, "act": "save", "checked": checked(tried)})
    assert Policy.objects.get(number=2).risk_tier == "critical"


@pytest.mark.parametrize("path", ["/policies/mars/low", "/policies/dev/low?number=9"])
def test_what_is_not_there_is_not_found(ada: Client, path: str) -> None:
    assert ada.get(path).status_code == 404


def test_a_tier_that_is_none_is_refused(ada: Client) -> None:
    assert ada.get("/policies/dev/huge").status_code == 422


@pytest.fixture
def version() -> ModelVersion:
    model = factories.model(name="iris", team=factories.team(slug="fraud"))
    return factories.version(model=model, files={"m.onnx": b"bytes"})


READY = "/models/iris/versions/1?tab=readiness"


@pytest.mark.usefixtures("version")
def test_readiness_says_why_the_score_is_nothing_and_how_to_send_evidence(ada: Client) -> None:
    page = text_of(READY, ada)
    assert "It stays 0 until every section has evidence." in page
    assert "/api/v1/evidence" in page
    assert "mltest.data-1" in page
    assert page.count("No evidence") == 28


@pytest.mark.usefixtures("version")
def test_a_statement_counts_half_a_point(ada: Client) -> None:
    said = {"key": "mltest.data-5", "sentence": "I read the grants.", "verdict": "passed"}
    answer = ada.post("/models/iris/versions/1/statements", said)
    assert (answer.status_code, answer["Location"]) == (302, READY)
    row = Evidence.objects.get()
    assert (row.source, row.recorded_by) == ("statement", "ada")
    assert "1 evidenced: the data pipeline has appropriate privacy controls" in text_of(READY, ada)


@pytest.mark.usefixtures("version")
@pytest.mark.parametrize(
    "said", [{"sentence": " "}, {"key": "nope"}, {"key": "artifact.digest"}, {"verdict": "x"},
             {"link": "javascript:alert(1)"}],
)  # fmt: skip
def test_a_statement_that_says_nothing_is_refused(ada: Client, said: dict[str, str]) -> None:
    good = {"key": "mltest.data-5", "sentence": "I looked.", "verdict": "passed"}
    answer = ada.post("/models/iris/versions/1/statements", {**good, **said}, follow=True)
    assert answer.status_code == 200
    assert not Evidence.objects.exists()


@pytest.mark.usefixtures("version")
def test_a_viewer_states_nothing(viewer: Client) -> None:
    assert "Say it yourself" not in text_of(READY, viewer)
    said = {"key": "mltest.data-5", "sentence": "I looked.", "verdict": "passed"}
    assert viewer.post("/models/iris/versions/1/statements", said).status_code == 403
