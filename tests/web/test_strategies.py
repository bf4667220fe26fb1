"""Pages of strategy templates: reading, writing by fields or by JSON, previews; no script."""

import json
import re
from html import unescape
from typing import Any

import pytest
from django.test import Client

from apps.audit.models import AuditEvent
from apps.rollouts.domain.strategy import StrategyKind
from apps.rollouts.models import StrategyTemplate
from apps.rollouts.web import fields
from apps.rollouts.web.forms import FORMS
from tests import factories, governed
from tests.web.pages import sound

pytestmark = pytest.mark.django_db
CAREFUL = "/strategies/production/careful-canary"
NEW = "/strategies/new"
HTMX = {"HX-Request": "true"}


def words(answer: Any) -> str:
    text = re.sub(r"<[^>]+>", " ", answer.content.decode()).replace("\u202f", " ")
    return " ".join(unescape(text).split())


def filled(answer: Any) -> dict[str, str]:
    """Return what a browser would send of the page's form of a template."""
    page = answer.content.decode()
    form = next(f for f in re.findall(r"<form.*?</form>", page, re.S) if 'name="base"' in f)
    found: dict[str, str] = {}
    for tag in re.findall(r"<input[^>]*>", form):
        name, value = re.search(r'name="([^"]+)"', tag), re.search(r'value="([^"]*)"', tag)
        if name is None or ('type="checkbox"' in tag and "checked" not in tag):
            continue
        without = "on" if 'type="checkbox"' in tag else ""
        found[name[1]] = unescape(value[1]) if value else without
    for name, options in re.findall(r'<select[^>]*name="([^"]+)"[^>]*>(.*?)</select>', form, re.S):
        chosen = re.search(r'value="([^"]*)"\s+selected', options)
        found[name] = chosen[1] if chosen else re.findall(r'value="([^"]*)"', options)[0]
    for name, text in re.findall(
        r'<textarea[^>]*name="([^"]+)"[^>]*>(.*?)</textarea>', form, re.S
    ):
        # A browser ends lines by CR LF, and leaves out the first break after the tag.
        found[name] = unescape(text).lstrip("\n").replace("\n", "\r\n")
    found.pop("csrfmiddlewaretoken", None)
    return found


def change(browser: Client, path: str, *, act: str = "save", **typed: str) -> Any:
    return browser.post(path, filled(browser.get(path)) | {"act": act} | typed)


def template(name: str = "careful-canary") -> StrategyTemplate:
    return StrategyTemplate.objects.get(environment__slug="production", name=name)


def test_the_page_shows_what_every_environment_offers(ada: Client) -> None:
    answer = ada.get("/strategies")
    sound(answer.content.decode())
    said = words(answer)
    assert said.index("Production") < said.index("Staging") < said.index("Development")
    assert said.count("Careful canary") >= 3
    assert "5, 10, 25, 50, then 100 %" in said
    assert "40 min" in said
    assert "a release that names no strategy takes all requests at once" in said


def test_an_environment_without_templates_says_what_is_there(ada: Client) -> None:
    StrategyTemplate.objects.all().delete()
    said = words(ada.get("/strategies"))
    assert said.count("No template yet.") == 3
    assert "Plain kinds" in said


def test_readers_see_a_template_and_no_form(viewer: Client) -> None:
    answer = viewer.get(CAREFUL)
    sound(answer.content.decode())
    said = words(answer)
    assert "Takes at least 40 min" in said
    assert "Save" not in said
    assert "New template" not in words(viewer.get("/strategies"))
    for path in (CAREFUL, f"{CAREFUL}/default", f"{CAREFUL}/remove"):
        assert viewer.post(path, {}).status_code == 403
    assert viewer.get(f"{NEW}?environment=production").status_code == 403


def test_fields_change_the_document_and_nothing_else_of_it(ada: Client) -> None:
    before = template().document
    sound(ada.get(CAREFUL).content.decode())
    answer = change(ada, CAREFUL, weights="1, 10, 50", holds="5 min", ask="last", reason="Slow.")
    assert answer.status_code == 302, words(answer)
    steps = template().document["steps"]
    assert [(s["weight"], s["hold_seconds"], s["ask"]) for s in steps] == [
        (1, 300.0, False), (10, 300.0, False), (50, 300.0, True),
    ]  # fmt: skip
    rest = {k: v for k, v in before.items() if k != "steps"}
    assert {k: v for k, v in template().document.items() if k != "steps"} == rest
    told = AuditEvent.objects.get(verb="rollouts.template.save")
    assert told.reason == "Slow."


def test_saving_what_was_shown_changes_nothing(ada: Client) -> None:
    for row in StrategyTemplate.objects.filter(environment__slug="production"):
        answer = change(ada, f"/strategies/production/{row.name}")
        assert answer.status_code == 302, words(answer)
        assert template(row.name).document == row.document


def test_the_json_wins_where_it_was_edited_and_the_fields_follow(ada: Client) -> None:
    shown = json.loads(filled(ada.get(CAREFUL))["document"])
    edited = json.dumps({**shown, "alpha": 0.01, "steps": [{"weight": 33}]})
    answer = change(ada, CAREFUL, act="preview", document=edited, weights="1, 2, 3")
    assert answer.status_code == 200
    again = filled(answer)
    assert again["weights"] == "33"
    assert json.loads(again["document"])["alpha"] == 0.01
    assert template().document["alpha"] == 0.05, "a preview saves nothing"
    # Now the fields are touched, and the JSON follows them.
    answer = ada.post(CAREFUL, again | {"act": "preview", "weights": "44"})
    assert json.loads(filled(answer)["document"])["steps"][0]["weight"] == 44
    assert json.loads(filled(answer)["document"])["alpha"] == 0.01
    assert ada.post(CAREFUL, filled(answer) | {"act": "save"}).status_code == 302
    assert (template().document["alpha"], template().document["steps"][0]["weight"]) == (0.01, 44)


@pytest.mark.parametrize(
    ("document", "sentence"),
    [
        ("{", "The document cannot be read"),
        ("[1]", "It is no object."),
        ('{"kind": "canary", "steps": [{"weight": 0}]}', "strategy.steps[0].weight is 0"),
        ('{"kind": "leap"}', "There is no strategy 'leap'"),
        ('{"kind": "ab", "hypothesis": "\\u0000"}', "NUL"),
        ('{"kind": "canary", "alpha": NaN}', "NaN"),
        ("[" * 5000, "The document cannot be read"),
    ],
)
def test_json_that_makes_no_sense_is_said_and_kept(
    ada: Client, document: str, sentence: str
) -> None:
    answer = change(ada, CAREFUL, document=document)
    assert answer.status_code == 422
    assert sentence in words(answer)
    assert filled(answer)["document"] == document, "what was typed is kept"
    assert template().document["alpha"] == 0.05


@pytest.mark.parametrize(
    ("typed", "sentence"),
    [
        ({"weights": "5, x"}, "“x” is no whole percent from 1 to 100."),
        ({"weights": "50, 5"}, "each is larger than the last"),
        ({"weights": ""}, "This field is required."),
        ({"holds": "soon"}, "is no length of time"),
        ({"holds": "1, 2, 3"}, "There are 4 steps and 3 of these"),
        ({"holds": "40 d"}, "it is a number from 0 to 2.592e+06"),
        ({"on_deadline": "cry"}, "Select a valid choice."),
        ({"title": ""}, "This field is required."),
    ],
)
def test_fields_that_make_no_sense_are_said_where_they_are(
    ada: Client, typed: dict[str, str], sentence: str
) -> None:
    answer = change(ada, CAREFUL, **typed)
    assert answer.status_code == 422
    assert sentence in words(answer)
    name, value = next(iter(typed.items()))
    assert filled(answer)[name] == value or name == "on_deadline"
    assert AuditEvent.objects.count() == 0


@pytest.mark.parametrize(
    "kind",
    ["all_at_once", "canary", "linear", "blue_green", "shadow", "ab", "bandit", "recreate"],
)
def test_another_kind_brings_its_own_fields_and_can_be_saved_at_once(
    ada: Client, kind: str
) -> None:
    path = f"{NEW}?environment=production"
    answer = ada.get(path)
    sound(answer.content.decode())
    answer = ada.post(NEW, filled(answer) | {"act": "preview", "kind": kind, "title": "Mine"})
    assert answer.status_code == 200, words(answer)
    sound(answer.content.decode())
    answer = ada.post(NEW, filled(answer) | {"act": "save"})
    assert answer.status_code == 302, words(answer)
    assert template("mine").document["kind"] == kind


def test_a_new_template_never_writes_over_another(ada: Client) -> None:
    answer = ada.get(f"{NEW}?environment=production")
    answer = ada.post(NEW, filled(answer) | {"act": "save", "title": "Careful canary"})
    assert answer.status_code == 422
    assert "has a template careful-canary already" in words(answer)
    answer = ada.post(NEW, filled(answer) | {"act": "save", "title": "!!!"})
    assert "makes no name for an address" in words(answer)


def test_htmx_gets_the_part_that_changed_and_what_must_follow(ada: Client) -> None:
    given = filled(ada.get(CAREFUL))
    part = ada.post(f"{CAREFUL}?part=draft", given | {"weights": "7"}, headers=HTMX)
    text = part.content.decode()
    assert part.status_code == 200
    assert text.count("<section") == 1
    assert 'id="strategy-json" hx-swap-oob="true"' in text
    assert "strategy-fields" not in text, "what is being typed in is left alone"
    edited = json.dumps({"kind": "linear"})
    part = ada.post(f"{CAREFUL}?part=draft", given | {"document": edited}, headers=HTMX)
    assert 'id="strategy-fields" hx-swap-oob="true"' in part.content.decode()
    assert "strategy-json" not in part.content.decode()
    part = ada.post(f"{CAREFUL}?part=draft", given | {"weights": "x"}, headers=HTMX)
    assert part.status_code == 200
    assert "“x” is no whole percent" in words(part)
    assert "hx-swap-oob" not in part.content.decode()


def test_the_default_is_set_and_taken_back(ada: Client) -> None:
    said = words(ada.post(f"{CAREFUL}/default", follow=True))
    assert "Careful canary is now the default of Production." in said
    assert template().is_default
    ada.post("/strategies/production/quick-canary/default")
    assert not template().is_default
    assert template("quick-canary").is_default
    said = words(ada.post("/strategies/production/quick-canary/default", follow=True))
    assert "is no longer the default" in said
    assert not StrategyTemplate.objects.filter(is_default=True).exists()


def test_a_template_is_removed_with_a_reason(ada: Client) -> None:
    assert ada.post(f"{CAREFUL}/remove", {"reason": "Too slow."}).status_code == 302
    assert ada.get(CAREFUL).status_code == 404
    assert AuditEvent.objects.get(verb="rollouts.template.remove").reason == "Too slow."


def test_a_hostile_title_is_shown_as_text(ada: Client) -> None:
    change(ada, CAREFUL, title="<script>alert('x')</script>")
    for path in ("/strategies", CAREFUL):
        assert "<script>alert" not in ada.get(path).content.decode()


# --- previews for forms -------------------------------------------------------------------------


def test_a_preview_says_time_and_room_of_what_a_form_asks(ada: Client) -> None:
    house = governed.house()
    endpoint = factories.endpoint(model=house.model, environment="production")
    factories.revision(endpoint=endpoint, variant=house.variant)
    house.next_version()
    asked = {
        "strategy": "template:quick-canary", "environment": "production",
        "model": house.model.name, "version": "2", "replicas": "2",
    }  # fmt: skip
    whole = ada.get("/strategies/preview", asked)
    sound(whole.content.decode())
    assert "Takes at least 2 min, and needs 2 more replicas, about 220 MB." in words(whole)
    part = ada.get("/strategies/preview", asked | {"part": "preview"}, headers=HTMX)
    assert part.content.decode().lstrip().startswith("<div")
    assert "10 %" in words(part)


@pytest.mark.parametrize(
    ("asked", "sentence"),
    [
        ({"strategy": "template:gone", "environment": "dev"}, "dev has no strategy template"),
        ({"strategy": "leap"}, "There is no strategy 'leap'"),
        ({"strategy": "ab"}, "strategy.metric is missing"),
        ({"strategy": "canary", "replicas": "x"}, "Takes at least 8 min"),
        ({}, "All at once"),
    ],
)
def test_a_preview_of_nothing_sensible_is_a_sentence(
    ada: Client, asked: dict[str, str], sentence: str
) -> None:
    answer = ada.get("/strategies/preview", asked)
    assert answer.status_code == 200
    assert sentence in words(answer)


@pytest.mark.parametrize("kind", list(FORMS))
def test_every_field_of_a_kind_stands_under_a_heading_once(kind: StrategyKind) -> None:
    form = FORMS[kind](base=fields.usual(kind))
    shown = [bound.name for _, some in form.grouped() for bound in some]
    assert sorted(shown) == sorted(form.fields)
