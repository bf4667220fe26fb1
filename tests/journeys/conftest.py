"""Journeys run against the whole embedded stack, started once for all of them."""

import re
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from playwright.sync_api import Page, expect

from controlplane.cli.client import Client
from controlplane.cli.stack import Stack, running

CHROMIUM = "/usr/bin/chromium"
FLAGS = [
    "--no-sandbox",
    "--disable-gpu",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
    "--no-first-run",
]


@pytest.fixture(scope="session")
def stack() -> Iterator[Stack]:
    with tempfile.TemporaryDirectory(prefix="my-", ignore_cleanup_errors=True) as folder:
        home = Path(folder)
        home.chmod(0o755)  # PostgreSQL runs as another user when we are root
        with running(home, seconds=180) as started:
            yield started


@pytest.fixture(scope="session")
def people(stack: Stack) -> dict[str, dict[str, str]]:
    """Return Ada, who proposes, Grace, who leads, and Lin, who operates."""
    return stack.people()


@pytest.fixture(scope="session")
def client(stack: Stack) -> Iterator[Client]:
    opened = Client(stack.web, stack.token("journeys"), patience=60)
    yield opened
    opened.close()


@pytest.fixture(scope="session")
def browser_type_launch_args() -> dict[str, Any]:
    """Take the machine's own Chromium."""
    return {"executable_path": CHROMIUM, "args": FLAGS}


@pytest.fixture(scope="session")
def browser_context_args(browser_context_args: dict[str, Any]) -> dict[str, Any]:
    """Let nothing turn or breathe: drawn without a GPU it takes half a core from the stack."""
    return {**browser_context_args, "reduced_motion": "reduce"}


@pytest.fixture
def desk(page: Page, stack: Stack) -> Iterator[Page]:
    """Return a page on which the admin is signed in; anything the browser complains of fails."""
    problems: list[str] = []
    page.on("pageerror", lambda error: problems.append(str(error)))
    page.on("console", lambda m: problems.append(m.text) if "Content Security" in m.text else None)
    page.goto(f"{stack.web}/models")
    expect(page).to_have_url(re.compile("/sign-in"))
    page.get_by_label("Name").fill("admin")
    page.get_by_label("Password").fill(stack.admin_password)
    page.get_by_role("button", name="Sign in").click()
    expect(page).to_have_url(f"{stack.web}/models")
    yield page
    assert problems == []
