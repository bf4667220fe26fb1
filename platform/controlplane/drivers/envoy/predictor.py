"""Calls an endpoint through the proxy, as any of its callers would."""

import time
from collections.abc import Mapping
from typing import Any
from urllib.parse import quote

import httpx

from apps.endpoints.domain import keys
from apps.endpoints.domain.values import Prediction
from controlplane.drivers.envoy.routes import PREVIEW, REVISION_HEADER
from controlplane.kernel.errors import Denied, Invalid, Permanent, Transient

SECONDS = 30.0


class EnvoyPredictor:
    """Implements `apps.endpoints.ports.Predictor`. Safe to share between threads."""

    def __init__(self, serving_url: str) -> None:
        """Call the proxy at `serving_url`."""
        self._url = serving_url

    def _caller(self) -> httpx.Client:
        """Return a client for one call; certificates are only read where they are needed."""
        return httpx.Client(
            base_url=self._url,
            timeout=httpx.Timeout(SECONDS, connect=3),
            trust_env=False,
            verify=self._url.startswith("https:"),
        )

    def predict(
        self,
        *,
        environment: str,
        name: str,
        body: Mapping[str, Any],
        key: str,
        request_id: str,
        preview: bool = False,
    ) -> Prediction:
        """Implement `Predictor.predict`."""
        where, what = quote(environment, safe=""), quote(name, safe="")
        below = PREVIEW if preview else ""
        headers = {"X-Request-Id": request_id, **({keys.HEADER: key} if key else {})}
        started = time.perf_counter()
        try:
            with self._caller() as caller:
                answer = caller.post(
                    f"/{where}/{what}{below}/v2/models/{what}/infer",
                    json=dict(body),
                    headers=headers,
                )
        except httpx.TimeoutException as error:
            raise Transient(
                f"No answer came within {SECONDS:.0f} s.",
                remedy="Send a smaller request, or look at the endpoint's replicas.",
                code="predict.timeout",
            ) from error
        except httpx.HTTPError as error:
            raise Transient(
                f"The proxy in front of the endpoints does not answer: {error}.",
                remedy="See whether Envoy runs: `modelyard status`.",
                code="predict.unreachable",
            ) from error
        milliseconds = (time.perf_counter() - started) * 1000
        if not answer.is_success:
            raise _refused(answer)
        revision = answer.headers.get(REVISION_HEADER, "")
        return Prediction(
            body=_body(answer),
            milliseconds=milliseconds,
            revision=int(revision) if revision.isdigit() else None,
            request_id=answer.headers.get("x-request-id", request_id),
        )


def _refused(answer: httpx.Response) -> Exception:
    """Return the error that an answer other than 200 means, with its own words."""
    words = str(_body(answer, strict=False).get("error") or answer.text[:500])
    if answer.status_code in (401, 403):
        return Denied(words, code="predict.denied")
    if answer.status_code in (503, 504, 429):
        return Transient(words, remedy="Try again in a few seconds.", code="predict.unavailable")
    if answer.status_code < 500:
        return Invalid(
            f"The endpoint refused the request: {words}",
            remedy="Compare it with the example on the endpoint's page.",
            field="inputs",
            code="predict.refused",
        )
    return Permanent(
        f"The model failed on this request: {words}",
        remedy="Look into the model server's log, with the request's id.",
        code="predict.failed",
    )


def _body(answer: httpx.Response, *, strict: bool = True) -> Mapping[str, Any]:
    try:
        value = answer.json()
    except ValueError as error:
        if not strict:
            return {}
        raise Permanent(
            "The model server's answer is not JSON.", code="predict.not_json"
        ) from error
    return value if isinstance(value, dict) else {}
