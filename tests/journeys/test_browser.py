"""The main job in a real Chromium: sign in, upload, watch it build, serve it, get a prediction."""

import re
from pathlib import Path
from typing import Any

import joblib
import numpy as np
import pytest
from playwright.sync_api import Page, expect
from sklearn.datasets import load_iris
from sklearn.ensemble import RandomForestClassifier

from controlplane.cli.stack import Stack

pytestmark = pytest.mark.stack
MODEL = "iris-by-browser"
SOON, BUILD = 20_000, 120_000  # milliseconds


@pytest.fixture(scope="module")
def forest() -> RandomForestClassifier:
    inputs, labels = load_iris(return_X_y=True)
    return RandomForestClassifier(n_estimators=12, random_state=7).fit(inputs, labels)


def test_from_a_file_to_a_prediction(
    desk: Page, stack: Stack, forest: RandomForestClassifier, tmp_path: Path
) -> None:
    file = tmp_path / "forest.joblib"
    joblib.dump(forest, file)

    desk.get_by_role("link", name="New model").first.click()
    desk.get_by_label("Name").fill(MODEL)
    desk.get_by_label("What it does").fill("Names an iris by its leaves.")
    desk.get_by_role("button", name="Create the model").click()

    desk.get_by_label("Files of the model").set_input_files(file)
    expect(desk.get_by_role("heading", name="Check, then register v1")).to_be_visible(timeout=SOON)
    expect(desk.locator("main")).to_contain_text("sklearn")
    desk.get_by_label("Metrics").fill("accuracy = 0.96")
    desk.get_by_role("button", name="Register v1").click()
    expect(desk.get_by_role("heading", name=f"{MODEL} v1")).to_be_visible()

    # A new version is built without being asked; the page learns of it by itself.
    desk.get_by_role("link", name=re.compile("Watch build 1|Build 1 and its log")).first.click(
        timeout=BUILD
    )
    expect(desk.locator(".page-title .badge")).to_have_text("Succeeded", timeout=BUILD)
    expect(desk.locator("#steps")).to_contain_text("native")
    expect(desk.locator(".journal")).not_to_be_empty()

    desk.get_by_role("link", name="Serve v1").click()
    desk.get_by_label("Environment").select_option("dev")
    desk.get_by_role("button", name="Serve v1").click()
    expect(desk).to_have_url(f"{stack.web}/endpoints/dev/{MODEL}")
    expect(desk.locator(".page-title .badge")).to_have_text("Live", timeout=BUILD)

    # The form is filled with a golden request; the answer is the original model's own.
    desk.reload()
    asked = desk.get_by_role("textbox", name="Request").input_value()
    desk.get_by_role("button", name="Predict").click()
    answer = desk.locator("#try-answer [data-prediction]")
    expect(answer).to_be_visible(timeout=SOON)
    expect(desk.locator("#try-answer")).to_contain_text("Answered")
    shown = [
        [float(number) for number in text.split(", ")]
        for text in answer.locator("dd").all_inner_texts()
    ]
    assert any(np.allclose(values, expected_of(forest, asked), atol=1e-3) for values in shown)


def expected_of(forest: RandomForestClassifier, asked: str) -> np.ndarray[Any, Any]:
    """Return the probabilities that scikit-learn itself gives for the form's request."""
    numbers = re.search(r'"data":\s*\[([^\]]*)\]', asked)
    assert numbers is not None
    row = np.array([float(n) for n in numbers[1].split(",")]).reshape(-1, 4)
    return forest.predict_proba(row)[0]


def test_the_palette_goes_anywhere(desk: Page, stack: Stack) -> None:
    desk.keyboard.press("Control+k")
    desk.keyboard.type(MODEL[:9])
    expect(desk.locator(".palette-item").first).to_contain_text(MODEL, timeout=SOON)
    desk.keyboard.press("Enter")
    expect(desk).to_have_url(f"{stack.web}/models/{MODEL}")


def test_the_theme_is_kept_and_nothing_flashes(desk: Page) -> None:
    desk.get_by_role("button", name="Dark or light").click()
    theme = desk.evaluate("document.documentElement.dataset.theme")
    desk.reload()
    assert desk.evaluate("document.documentElement.dataset.theme") == theme


def test_the_main_pages_need_no_script(browser: Any, stack: Stack) -> None:
    context = browser.new_context(java_script_enabled=False)
    page = context.new_page()
    page.goto(f"{stack.web}/sign-in")
    page.get_by_label("Name").fill("admin")
    page.get_by_label("Password").fill(stack.admin_password)
    page.get_by_role("button", name="Sign in").click()
    for path in ("/", "/models", f"/models/{MODEL}", f"/models/{MODEL}/versions/1", "/endpoints"):
        page.goto(f"{stack.web}{path}")
        expect(page.locator("h1")).to_be_visible()
        expect(page.locator("main")).to_contain_text(MODEL)
    page.goto(f"{stack.web}/endpoints/dev/{MODEL}")
    page.get_by_role("button", name="Predict").click()
    expect(page.locator("#try-answer")).to_contain_text("Answered")
    context.close()
