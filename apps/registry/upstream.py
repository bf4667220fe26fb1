"""The door's own connections to MLflow, for requests that are small enough to hold."""

from functools import cache
from typing import Any

import httpx
from django.conf import settings

from controlplane.kernel.errors import Transient

TIMEOUT = httpx.Timeout(30.0, connect=3.0)


@cache
def client() -> httpx.Client:
    """Return this process's connections; threads may share them."""
    return httpx.Client(timeout=TIMEOUT, trust_env=False)


def ask(method: str, path: str, **rest: Any) -> dict[str, Any]:
    """Ask MLflow something of our own; what it refuses is an empty answer.

    Args:
        method: In capitals.
        path: Below its API ("registered-models/get").
        rest: Further arguments of `httpx.Client.request`.

    Raises:
        Transient: It does not answer.
    """
    url = f"{settings.MLFLOW_URL.rstrip('/')}/api/2.0/mlflow/{path}"
    try:
        answer = client().request(method, url, **rest)
    except (httpx.TransportError, httpx.InvalidURL) as error:
        raise silent(type(error).__name__) from error
    if answer.status_code >= 500:
        raise silent(f"it answered {answer.status_code}")
    value: dict[str, Any] = answer.json() if answer.is_success else {}
    return value


def silent(problem: str) -> Transient:
    """Return the error for a MLflow that does not answer."""
    return Transient(
        f"MLflow does not answer ({problem}).",
        remedy="Modelyard itself works; try again in a few seconds.",
        code="mlflow.down",
    )
