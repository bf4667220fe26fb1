"""`modelyard feedback`, and the examples of docs/feedback.md, over HTTP against the real API."""

import json
import os
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner, Result

from apps.endpoints.models import Revision
from apps.monitoring.models import FeedbackSeen, FeedbackWindow
from controlplane.cli.main import main
from tests import factories

pytestmark = [pytest.mark.django_db(transaction=True), pytest.mark.enable_socket]

PAGE = (Path(__file__).parents[3] / "docs" / "feedback.md").read_text()
SCOPES = ["registry.read", "endpoints.read", "monitoring.feedback"]  # as the page says


@pytest.fixture
def revision() -> Revision:
    return factories.revision()


@pytest.fixture
def token() -> str:
    return factories.token(role="contributor", scopes=SCOPES)[1]


@pytest.fixture
def modelyard(live_server: Any, token: str) -> Any:
    def run(*args: str, **how: Any) -> Result:
        given = ["--url", live_server.url, "--token", token, "--json", *args]
        return CliRunner().invoke(main, given, **how)

    return run


def block(language: str) -> str:
    found = re.search(rf"```{language}\n(.*?)```", PAGE, re.S)
    assert found
    return found[1]


def lines(count: int, **more: Any) -> str:
    one = {"revision": 1, "metric": "clicked", "value": 1, **more}
    return "".join(json.dumps({"request_id": f"r-{n}", **one}) + "\n" for n in range(count))


def test_a_file_is_sent_in_parts_and_may_be_sent_again(
    modelyard: Any, revision: Revision, tmp_path: Path
) -> None:
    file = tmp_path / "outcomes.jsonl"
    file.write_text(lines(2300) + "\n" + lines(2, revision=4, metric="bought"))
    where = f"{revision.endpoint.environment.slug}/{revision.endpoint.name}"
    first = modelyard("feedback", where, "--file", str(file))
    assert first.exit_code == 0, first.output
    assert json.loads(first.stdout) == {
        "taken": 2300, "repeated": 0, "unknown": 2, "unknown_revisions": [4],
    }  # fmt: skip
    again = modelyard("feedback", revision.endpoint.public_id, input=lines(2300))
    assert json.loads(again.stdout)["repeated"] == 2300
    assert sum(FeedbackWindow.objects.values_list("count", flat=True)) == 2300


@pytest.mark.parametrize(
    ("text", "says"),
    [("{", "Line 1 is not JSON"), ("\n[1]", "Line 2 is not a JSON object")],
)
def test_a_file_that_is_none_is_a_wrong_command_line(
    modelyard: Any, revision: Revision, text: str, says: str
) -> None:
    answer = modelyard("feedback", revision.endpoint.public_id, input=text)
    assert (answer.exit_code, says in answer.output) == (2, True)


def test_a_refusal_says_what_was_counted_before(modelyard: Any, revision: Revision) -> None:
    text = lines(1000) + lines(1, metric="Not a slug")
    answer = modelyard("feedback", revision.endpoint.public_id, input=text)
    assert answer.exit_code == 1
    assert "1000 outcomes were counted before this" in answer.output
    assert "feedback.malformed" in answer.output


def test_an_endpoint_that_is_nowhere_is_a_wrong_command_line(modelyard: Any) -> None:
    answer = modelyard("feedback", "dev/nope", input=lines(1))
    assert (answer.exit_code, "no endpoint nope in dev" in answer.output) == (2, True)


def run_example(command: list[str], revision: Revision, url: str, token: str) -> str:
    environment = {
        **os.environ, "MODELYARD_URL": url, "MODELYARD_TOKEN": token,
        "ENDPOINT": revision.endpoint.public_id,
    }  # fmt: skip
    done = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=60)
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


def test_the_curl_of_the_page_works(live_server: Any, revision: Revision, token: str) -> None:
    said = run_example(["sh", "-ec", block("bash")], revision, live_server.url, token)
    assert json.loads(said) == json.loads(block("json"))
    assert FeedbackSeen.objects.count() == 2


def test_the_python_of_the_page_works(live_server: Any, revision: Revision, token: str) -> None:
    script = block("python") + (
        "import json\n"
        "headers = {'x-request-id': 'r-1', 'x-modelyard-revision': '1'}\n"
        "kept = remember(httpx.Response(200, headers=headers))\n"
        "outcome = {**kept, 'metric': 'clicked', 'value': 0}\n"
        "print(json.dumps(tell(os.environ['ENDPOINT'], [outcome])))\n"
    )
    said = run_example([sys.executable, "-c", script], revision, live_server.url, token)
    assert json.loads(said)["taken"] == 1
