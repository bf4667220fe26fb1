"""A web address of somebody's as a source of numbers: asked by POST, it answers with one.

POST  {"side": "canary", "revision": "7", "endpoint": ..., "version": ..., "model": ...,
       "environment": ..., "at": "2026-11-28T12:00:00+00:00"}
200   {"value": 0.031, "count": 1204}    `count` may be left out
200   {"value": null}                    no data
"""

import json
import math
import ssl
import time
from dataclasses import dataclass
from functools import cache
from typing import Any
from urllib.parse import quote

import httpx

from apps.analysis.domain import queries
from apps.analysis.domain.queries import Measured, Query
from controlplane.drivers.notices import places
from controlplane.kernel.errors import Permanent, Transient

PATIENCE = httpx.Timeout(5.0, connect=3.0)  # for each read and write
LONGEST = 10.0  # seconds for the whole of it
LARGEST = 64 * 1024  # bytes
WORDS = 200  # characters of the answer that are kept
LATER = frozenset({408, 425, 429}) | frozenset(range(500, 600)) - {501}


@dataclass(frozen=True)
class WebhookSource:
    """Implements `apps.analysis.ports.MetricSource`.

    Attributes:
        private: Whether the own machine and network may be asked.
    """

    private: bool = False

    def measure(self, query: Query) -> Measured:
        """Implement `MetricSource.measure`."""
        values = query.target.values()
        url = _address(queries.fill(query.text, values, quoted=lambda v: quote(v, safe="")))
        body = json.dumps({**values, "at": query.at.isoformat()}).encode()
        try:
            status, said = self._post(url, body)
        except httpx.TimeoutException as error:
            raise _late(url) from error
        except httpx.HTTPError as error:
            raise Transient(
                f"{url.host} cannot be reached: {error}.",
                remedy="It is asked again by itself; check that it runs.",
                code="metric_webhook.unreachable",
            ) from error
        return _measured(url, status, said)

    def _post(self, url: httpx.URL, body: bytes) -> tuple[int, bytes]:
        """Post to the very machine that was looked at: nothing looks its name up again."""
        port = url.port or (443 if url.scheme == "https" else 80)
        request = httpx.Request(
            "POST",
            url.copy_with(host=places.resolve(url.host, port, private=self.private)),
            content=body,
            headers={
                "Content-Type": "application/json",
                "User-Agent": "modelyard",
                "Host": url.netloc.decode("ascii"),
            },
            extensions={"sni_hostname": url.host, "timeout": PATIENCE.as_dict()},
        )
        verify = _trusted() if url.scheme == "https" else False
        with httpx.Client(trust_env=False, verify=verify) as client:
            return _read(url, client, request)


@cache
def _trusted() -> ssl.SSLContext:
    return ssl.create_default_context()


def _address(text: str) -> httpx.URL:
    try:
        url = httpx.URL(text)
    except httpx.InvalidURL:
        url = httpx.URL("")
    if url.scheme not in ("http", "https") or not url.host:
        raise Permanent(
            f"{text[:WORDS]!r} is not an http or https address.",
            remedy="Give the metric an address that can be asked.",
            code="metric_webhook.address",
        )
    return url


def _read(url: httpx.URL, client: httpx.Client, request: httpx.Request) -> tuple[int, bytes]:
    until = time.monotonic() + LONGEST
    answer = client.send(request, stream=True)
    try:
        said = b""
        for chunk in answer.iter_bytes():
            said += chunk
            if len(said) > LARGEST:
                break
            if time.monotonic() > until:
                raise _late(url)
    finally:
        answer.close()
    return answer.status_code, said


def _late(url: httpx.URL) -> Transient:
    return Transient(
        f"{url.host} did not answer in time.",
        remedy="It is asked again by itself; have it answer from what it knows already.",
        code="metric_webhook.timeout",
    )


def _measured(url: httpx.URL, status: int, said: bytes) -> Measured:
    words = " ".join(said[:WORDS].decode("utf-8", "replace").replace("\x00", "").split())
    if status in LATER:
        raise Transient(
            f"{url.host} answered {status}: {words}",
            remedy="It is asked again by itself.",
            code="metric_webhook.unavailable",
        )
    found = _parsed(said) if status == 200 else None
    if found is None or not _is_number(found.get("value"), or_none=True):
        raise Permanent(
            f"{url.host} answered {status}, and not with a number: {words}",
            remedy='Have it answer 200 with {"value": 0.031, "count": 1204}; null for no data.',
            code="metric_webhook.no_number",
        )
    if not _is_number(found.get("count"), or_none=True) or (found.get("count") or 0) < 0:
        raise Permanent(
            f"{url.host} answered with a count that is none: {words}",
            remedy="Have `count` be of how many observations the value is the mean.",
            code="metric_webhook.no_number",
        )
    if found["value"] is None or found.get("count") == 0:
        return Measured(None)
    return Measured(float(found["value"]), found.get("count"))


def _parsed(said: bytes) -> dict[str, Any] | None:
    try:
        found = json.loads(said)
    except (ValueError, RecursionError):
        return None
    return found if isinstance(found, dict) and "value" in found else None


def _is_number(value: Any, *, or_none: bool) -> bool:
    if value is None:
        return or_none
    return isinstance(value, int | float) and not isinstance(value, bool) and math.isfinite(value)
