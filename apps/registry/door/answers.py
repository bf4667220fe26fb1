"""MLflow's own form for what went wrong, so that its client shows our sentence."""

import json
from dataclasses import dataclass, field

from controlplane.kernel.actor import Actor, ActorKind
from controlplane.kernel.errors import (
    Conflict,
    ControlPlaneError,
    Denied,
    Invalid,
    Missing,
    Permanent,
    Transient,
)

RETRY_SECONDS = 5
TAKEN = "registry.name_taken"


@dataclass(frozen=True)
class Answer:
    """A complete answer.

    Attributes:
        headers: Beyond the content type and length.
    """

    status: int
    content: bytes
    content_type: str = "application/json"
    headers: dict[str, str] = field(default_factory=dict)


def refusal(error: ControlPlaneError, actor: Actor | None = None) -> Answer:
    """Return `error` as MLflow would say it."""
    status, code = _form(error, actor)
    body = {"error_code": code, "message": f"{error.sentence} {error.remedy}".strip()}
    headers = {"X-Modelyard-Code": error.code}
    if status == 503:
        headers["Retry-After"] = str(RETRY_SECONDS)
    if status == 401:
        headers["WWW-Authenticate"] = 'Bearer realm="modelyard"'
    return Answer(status, json.dumps(body).encode(), headers=headers)


def down(problem: str = "") -> Answer:
    """Return the answer while MLflow does not answer."""
    return refusal(
        Transient(
            f"MLflow does not answer{f' ({problem})' if problem else ''}.",
            remedy="Modelyard itself works; try again in a few seconds.",
            code="mlflow.down",
        )
    )


def _form(error: ControlPlaneError, actor: Actor | None) -> tuple[int, str]:
    match error:
        case Denied() if actor is None or actor.kind is ActorKind.ANONYMOUS:
            return 401, "UNAUTHENTICATED"
        case Denied():
            return 403, "PERMISSION_DENIED"
        case Missing():
            return 404, "RESOURCE_DOES_NOT_EXIST"
        case Invalid():
            return 400, "INVALID_PARAMETER_VALUE"
        case Conflict() if error.code == TAKEN:
            return 400, "RESOURCE_ALREADY_EXISTS"
        case Conflict():
            return 409, "RESOURCE_CONFLICT"
        case Permanent():
            return 502, "INTERNAL_ERROR"
        case _:
            return 503, "TEMPORARILY_UNAVAILABLE"
