"""`modelyard feedback`: what came of predictions, from a file of JSON Lines."""

import json
from collections.abc import Iterable, Iterator
from itertools import islice
from typing import IO, Any

import click

from controlplane.cli.client import Client, Problem
from controlplane.cli.output import note, show
from controlplane.cli.speaking import speaking

AT_ONCE = 1_000  # the most that the API takes
COLUMNS = {
    "taken": "Counted",
    "repeated": "Told before",
    "unknown": "Of no revision",
    "unknown_revisions": "Which",
}


@click.command()
@click.argument("endpoint")
@click.option(
    "--file",
    "lines",
    type=click.File("r", encoding="utf-8"),
    default="-",
    help="JSON Lines: request_id, revision, metric, value, perhaps segment and at. - is "
    "standard input, and the default.",
)
@click.pass_obj
@speaking
def feedback(obj: dict[str, Any], endpoint: str, lines: IO[str]) -> None:
    """Tell what came of predictions of ENDPOINT, an id or ENVIRONMENT/NAME.

    Each metric of each request counts once, so a file may be sent again.
    """
    client: Client = obj["client"]
    path = f"/api/v1/endpoints/{_id_of(client, endpoint)}/feedback"
    told: dict[str, Any] = {"taken": 0, "repeated": 0, "unknown": 0, "unknown_revisions": []}
    outcomes = _outcomes(lines)
    while items := list(islice(outcomes, AT_ONCE)):
        try:
            _add(told, client.post(path, {"items": items}))
        except Problem:
            note(f"{told['taken']} outcomes were counted before this:")
            raise
    show(told, as_json=obj["json"], columns=COLUMNS)


def _id_of(client: Client, endpoint: str) -> str:
    """Return the id of an endpoint that is named by it, or by where it stands."""
    environment, sign, name = endpoint.partition("/")
    if not sign:
        return endpoint
    for row in client.pages("/api/v1/endpoints", environment=environment, q=name):
        if row["name"] == name:
            return str(row["id"])
    raise click.UsageError(f"There is no endpoint {name} in {environment}.")


def _outcomes(lines: Iterable[str]) -> Iterator[dict[str, Any]]:
    for number, line in enumerate(lines, start=1):
        if not line.strip():
            continue
        try:
            found = json.loads(line)
        except ValueError as error:
            raise click.UsageError(f"Line {number} is not JSON: {error}.") from error
        if not isinstance(found, dict):
            raise click.UsageError(f"Line {number} is not a JSON object.")
        yield found


def _add(told: dict[str, Any], answer: dict[str, Any]) -> None:
    for name in ("taken", "repeated", "unknown"):
        told[name] += answer[name]
    told["unknown_revisions"] = sorted({*told["unknown_revisions"], *answer["unknown_revisions"]})
