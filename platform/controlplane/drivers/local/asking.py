"""Asks model servers, past the proxy: are you ready, what do you serve, what do you answer.

All of them speak the Open Inference Protocol (KServe's V2) over HTTP.
"""

import http.client
import json
from collections.abc import Iterable, Mapping, Sequence
from typing import Any
from urllib.parse import quote

import httpx

from apps.endpoints.domain import golden
from apps.endpoints.domain.values import Golden
from controlplane.kernel.errors import Transient

WARM_UPS = 3  # requests to each server
EXAMPLE_BYTES = 8_192
Case = Mapping[str, Any]  # one golden request: its inputs, and the outputs that were right


def is_ready(address: str, path: str, *, seconds: float = 1.0) -> bool:
    """Return whether a GET of `path` is answered with 200 in time."""
    connection = http.client.HTTPConnection(address, timeout=seconds)
    try:
        connection.request("GET", path)
        return connection.getresponse().status == 200
    except (OSError, http.client.HTTPException):
        return False
    finally:
        connection.close()


def warm_up(bases: Iterable[str], model: str, cases: Sequence[Case]) -> int:
    """Put the first of `cases` to every server a few times.

    Returns:
        How many requests were answered.

    Raises:
        Transient: A server did not answer.
    """
    answered = 0
    for base in bases:
        with _caller(base) as caller:
            for case in list(cases[:1]) * WARM_UPS:
                answered += _infer(caller, model, case)[0] is not None
    return answered


def ask_golden(
    bases: Iterable[str], model: str, digest: str, cases: Sequence[Case], *, tolerance: float
) -> Golden:
    """Put all of `cases` to every server, and compare the answers with what was right.

    Args:
        bases: Where the servers are, such as "http://127.0.0.1:20001".
        model: What they call the model.
        digest: Of the bundle that they should serve.
        cases: The golden requests.
        tolerance: How far a number may be off; see `golden.difference`.

    Raises:
        Transient: A server did not answer.
    """
    asked, wrong, digests = 0, [], set()
    for base in bases:
        with _caller(base) as caller:
            digests.add(_digest_of(caller, model))
            for case in cases:
                asked += 1
                wrong += _mistakes(caller, model, case, tolerance)
    # One server that serves something else is as bad as all of them.
    others = sorted(digests - {digest})
    return Golden(
        asked=asked,
        answered=asked - len(wrong),
        digest=others[0] if others else digest if digests else "",
        problem=wrong[0] if wrong else "",
        example=_example(cases),
    )


def _caller(base: str) -> httpx.Client:
    return httpx.Client(base_url=base, timeout=10, trust_env=False)


def _infer(
    caller: httpx.Client, model: str, case: Case
) -> tuple[list[dict[str, Any]] | None, str]:
    """Return the output tensors of one golden request, or None and the server's words."""
    try:
        answer = caller.post(f"/v2/models/{_part(model)}/infer", json={"inputs": case["inputs"]})
    except httpx.HTTPError as error:
        raise Transient(f"A model server did not answer: {error}", code="server.silent") from error
    if answer.status_code != 200:
        return None, f"The server said {answer.status_code}: {answer.text[:300]}"
    outputs: list[dict[str, Any]] = answer.json().get("outputs", [])
    return outputs, ""


def _mistakes(caller: httpx.Client, model: str, case: Case, tolerance: float) -> list[str]:
    outputs, words = _infer(caller, model, case)
    if outputs is None:
        return [words]
    difference = golden.difference(case["outputs"], outputs, tolerance=tolerance)
    return [difference] if difference else []


def _example(cases: Sequence[Case]) -> tuple[Mapping[str, Any], ...]:
    """Return the inputs of the first golden request, unless they are too much to look at."""
    inputs = tuple(cases[0]["inputs"]) if cases else ()
    return inputs if len(json.dumps(inputs)) <= EXAMPLE_BYTES else ()


def _digest_of(caller: httpx.Client, model: str) -> str:
    """Return the digest of the bundle that the server says it serves.

    Metadata has it for our own servers, the model's configuration for Triton.
    """
    for path in (f"/v2/models/{_part(model)}", f"/v2/models/{_part(model)}/config"):
        try:
            answer = caller.get(path)
            parameters = answer.json().get("parameters", {}) if answer.is_success else {}
        except (httpx.HTTPError, ValueError) as error:
            raise Transient(
                f"A model server did not answer: {error}", code="server.silent"
            ) from error
        found = parameters.get("bundle_digest", "")
        if found:
            return str(found.get("string_value", "") if isinstance(found, dict) else found)
    return ""


def _part(name: str) -> str:
    return quote(name, safe="")
