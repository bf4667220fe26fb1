"""Take a picture of every page of a running Modelyard, wide and narrow, light and dark.

    python -m bench.screenshots                      start the demo in a temporary home
    python -m bench.screenshots --url URL --password PASSWORD      use one that is running

What is on a page is whatever the stack holds. Needs a Chromium; Debian's is enough.
"""

import argparse
import sys
import tempfile
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import urljoin

from playwright.sync_api import Browser, Page, sync_playwright

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
WIDE, NARROW = (1440, 900), (390, 844)
DEMO_MODELS, DEMO_SECONDS, TRAFFIC_SECONDS = 3, 300, 90
SETTLE_MS = 700  # fonts, charts and the first look of the live parts


@dataclass(frozen=True)
class Shot:
    """One page to be taken.

    Attributes:
        name: Of its file.
        path: Where it is; "" when the stack holds nothing of the kind.
    """

    name: str
    path: str


def main() -> int:
    """Take every page; say what was left out."""
    asked = _arguments()
    if asked.url:
        return _shoot(asked)
    with tempfile.TemporaryDirectory(prefix="my-", ignore_cleanup_errors=True) as folder:
        home = Path(folder)
        home.chmod(0o755)  # PostgreSQL does not run as root: its own user must get in
        with running(home, seconds=240, arguments=["--demo"]) as stack:
            _wait_for_demo(stack)
            asked.url = stack.web
            asked.password = stack.admin_password
            return _shoot(asked)


def _wait_for_demo(stack: Stack) -> None:
    """Wait until all the demonstration's models answer, and have been asked for a while."""
    client = Client(stack.web, stack.token("screenshots"))
    until = time.monotonic() + DEMO_SECONDS
    while time.monotonic() < until:
        found = client.get("/api/v1/endpoints")["results"]
        if len(found) >= DEMO_MODELS and all(e["state"] == "live" for e in found):
            break
        time.sleep(2)
    time.sleep(TRAFFIC_SECONDS)


def _shoot(asked: argparse.Namespace) -> int:
    asked.out.mkdir(parents=True, exist_ok=True)
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=asked.chromium, args=FLAGS)
        shots = _find(browser, asked)
        for size, theme in _looks(asked.quick):
            for shot in shots:
                _take(browser, asked, shot, size, theme)
        browser.close()
    missing = [shot.name for shot in shots if not shot.path]
    if missing:
        print(f"left out, nothing of the kind is there: {', '.join(missing)}")
    return 0


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--url", default="", help="of a running stack; a demo's without")
    parser.add_argument("--user", default="admin")
    parser.add_argument("--password", default="")
    parser.add_argument("--out", type=Path, default=Path("docs/screenshots"))
    parser.add_argument("--chromium", default=CHROMIUM)
    parser.add_argument("--only", default="", help="names of pages, with commas between them")
    parser.add_argument("--also", default=[], action="append", help="NAME=/path, more pages")
    parser.add_argument("--quick", action="store_true", help="wide and light only")
    return parser.parse_args()


def _looks(quick: bool) -> Iterator[tuple[tuple[int, int], str]]:
    yield WIDE, "light"
    if not quick:
        yield WIDE, "dark"
        yield NARROW, "light"


def _find(browser: Browser, asked: argparse.Namespace) -> list[Shot]:
    """Return every page, having looked up which model, version, build and endpoint there are."""
    page = _signed_in(browser, asked, WIDE, "light")
    model = _first(page, "/models", "th a[data-row]")
    version = _first(page, model, "#versions th a[data-row]")
    build = _first(page, "/builds?state=succeeded", "th a[data-row]")
    endpoint = _first(page, "/endpoints", "th a[data-row]")
    release = _first(page, "/releases", "th a[href^='/releases/']")
    rollout = _first(page, "/rollouts", "th a[data-row]")
    page.context.close()
    shots = [
        Shot("sign-in", "/sign-in"),
        Shot("home", "/"),
        Shot("models", "/models"),
        Shot("new-model", "/models/new"),
        Shot("model", model),
        Shot("register", model and f"{model}/register"),
        Shot("version", version),
        Shot("version-build", version and f"{version}?tab=build"),
        Shot("version-lineage", version and f"{version}?tab=lineage"),
        Shot("version-files", version and f"{version}?tab=files"),
        Shot("version-readiness", version and f"{version}?tab=readiness"),
        Shot("objectives", model and f"{model}/objectives"),
        Shot("compare", model and f"{model}/compare"),
        Shot("builds", "/builds"),
        Shot("build", build),
        Shot("endpoints", "/endpoints"),
        Shot("endpoint", endpoint),
        Shot("releases", "/releases"),
        Shot("release", release),
        Shot("rollouts", "/rollouts"),
        Shot("strategies", "/strategies"),
        Shot("strategy", "/strategies/production/careful-canary"),
        Shot("rollout", rollout),
        Shot("propose", version and f"/releases/new?{_query(version)}"),
        Shot("inbox", "/inbox"),
        Shot("policies", "/policies"),
        Shot("policy", "/policies/production/high"),
        Shot("freezes", "/freezes"),
        Shot("problems", "/docs/problems"),
        Shot("search", "/search?q=a"),
        Shot("notifications", "/notifications"),
        Shot("hearing", "/settings/notifications"),
        Shot("deliveries", "/deliveries"),
        Shot("tokens", "/tokens"),
        Shot("people", "/people"),
        Shot("audit", "/audit"),
        Shot("not-found", "/no/such/page"),
    ]
    shots += [Shot(*more.split("=", 1)) for more in asked.also]
    chosen = {name for name in asked.only.split(",") if name}
    return [shot for shot in shots if not chosen or shot.name in chosen]


def _query(version: str) -> str:
    """Return the query that proposes the version on the page at `version`."""
    _, _, name, _, number = version.split("/")
    return f"model={name}&version={number}&environment=production"


def _first(page: Page, path: str, selector: str) -> str:
    """Return where the first `selector` on the page at `path` leads; "" without one."""
    if not path:
        return ""
    page.goto(urljoin(page.url, path))
    found = page.locator(selector).first
    return str(found.get_attribute("href")) if found.count() else ""


def _take(
    browser: Browser, asked: argparse.Namespace, shot: Shot, size: tuple[int, int], theme: str
) -> None:
    if not shot.path:
        return
    page = _signed_in(browser, asked, size, theme, anonymous=shot.name == "sign-in")
    problems: list[str] = []
    page.on("console", lambda m: problems.append(m.text) if m.type == "error" else None)
    page.on("requestfailed", lambda r: problems.append(f"{r.url} {r.failure}"))
    page.on(
        "response", lambda r: problems.append(f"{r.status} {r.url}") if r.status >= 400 else None
    )
    page.on("pageerror", lambda e: problems.append(str(e)))
    page.goto(urljoin(asked.url, shot.path))
    page.wait_for_timeout(SETTLE_MS)
    path = asked.out / f"{shot.name}-{size[0]}-{theme}.png"
    height = page.evaluate("document.documentElement.scrollHeight")
    page.set_viewport_size({"width": size[0], "height": max(size[1], min(height, 6000))})
    page.screenshot(path=path)
    wider = page.evaluate("document.documentElement.scrollWidth - innerWidth")
    if wider > 0:
        problems.append(f"the page is {wider} px wider than the window")
    print(path, *problems, sep="\n    " if problems else "", file=sys.stderr)
    page.context.close()


_sessions: dict[str, list[object]] = {}


def _signed_in(
    browser: Browser,
    asked: argparse.Namespace,
    size: tuple[int, int],
    theme: str,
    *,
    anonymous: bool = False,
) -> Page:
    """Return a new page in a context of its own; one sign-in serves them all."""
    context = browser.new_context(
        viewport={"width": size[0], "height": size[1]}, color_scheme=theme
    )
    page = context.new_page()
    if anonymous:
        return page
    if asked.url not in _sessions:
        page.goto(urljoin(asked.url, "/sign-in"))
        page.get_by_label("Name").or_(page.locator("[name=username]")).first.fill(asked.user)
        page.locator("[name=password]").fill(asked.password)
        page.get_by_role("button", name="Sign in").click()
        page.wait_for_url(lambda url: "/sign-in" not in url)
        _sessions[asked.url] = list(context.cookies())
    context.add_cookies(_sessions[asked.url])
    if page.url == "about:blank":
        page.goto(urljoin(asked.url, "/livez"))
    return page


if __name__ == "__main__":
    raise SystemExit(main())
