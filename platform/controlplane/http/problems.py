"""Errors as answers: problem documents for programs (RFC 9457), readable pages for people.

Everything that goes wrong in a request ends here, once: errors of the product, of REST framework
and of Django. A program never gets HTML and a person never gets a bare JSON object.
"""

import dataclasses
import json
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from http import HTTPStatus
from typing import Any
from urllib.parse import quote

import structlog
from django.conf import settings
from django.core.exceptions import (
    BadRequest,
    ObjectDoesNotExist,
    PermissionDenied,
    RequestDataTooBig,
    SuspiciousOperation,
)
from django.db import DataError, OperationalError
from django.http import Http404, HttpRequest, HttpResponse, HttpResponseBase, HttpResponseRedirect
from django.template.loader import render_to_string
from django.utils.html import escape
from rest_framework import exceptions as rest
from rest_framework.response import Response

from controlplane.kernel.actor import ANONYMOUS, Actor, ActorKind
from controlplane.kernel.errors import (
    Conflict,
    ControlPlaneError,
    Denied,
    Invalid,
    Missing,
    Permanent,
    Throttled,
    Transient,
)

log = structlog.get_logger()

CONTENT_TYPE = "application/problem+json"
STATUS_OF: tuple[tuple[type[ControlPlaneError], int], ...] = (
    (Invalid, 422),
    (Missing, 404),
    (Conflict, 409),
    (Denied, 403),
    (Throttled, 429),
    (Transient, 503),
    (Permanent, 502),
)
# Where HTTP has a better word than the class of the error: one line each.
STATUS_OF_CODE: dict[str, int] = {
    "request.malformed": 400,
    "request.stale": 412,
    "request.too_large": 413,
    "upload.too_large": 413,
    "upload.disk_full": 507,
    "storage.full": 507,
}
TITLES = {
    400: "The request could not be read",
    401: "Sign in first",
    403: "Not allowed",
    404: "Not found",
    405: "This address does not do that",
    406: "No answer in that form",
    409: "Not possible as things stand",
    412: "Changed in the meantime",
    413: "Too large",
    415: "Not in a form we read",
    422: "Something in the request is wrong",
    429: "Too many attempts",
    500: "A fault of ours",
    502: "Another system refused",
    503: "Another system does not answer",
    507: "No space left",
}


@dataclass(frozen=True)
class FieldError:
    """One input that is wrong.

    Attributes:
        field: Its path in the body ("inputs.0.name"), or the query parameter.
        detail: What is wrong with it.
        code: Stable identifier ("required", "unknown_field").
    """

    field: str
    detail: str
    code: str


@dataclass(frozen=True)
class Problem:
    """What went wrong, independent of how it is shown.

    Attributes:
        status: The HTTP status.
        detail: One sentence that says what is so.
        code: Stable, dotted identifier.
        remedy: One sentence that says what to do; "" when nothing helps.
        field: The input at fault, where one is.
        errors: One entry per wrong input.
        headers: What the answer must carry besides ("Allow", "Retry-After").
    """

    status: int
    detail: str
    code: str
    remedy: str = ""
    field: str = ""
    errors: tuple[FieldError, ...] = ()
    headers: Mapping[str, str] = dataclasses.field(default_factory=dict)

    @property
    def title(self) -> str:
        """Return the short name of the status, for a heading."""
        return TITLES.get(self.status, HTTPStatus(self.status).phrase)

    def document(self) -> dict[str, Any]:
        """Return the problem document."""
        return {
            "type": f"{settings.PUBLIC_URL}/docs/problems#{self.code}",
            "title": self.title,
            "status": self.status,
            "detail": self.detail,
            "code": self.code,
            "remedy": self.remedy,
            "field": self.field,
            "errors": [vars(error) for error in self.errors],
            "request_id": request_id(),
        }


class WrongInputs(rest.APIException):
    """Inputs are wrong, and each is named."""

    status_code = 422

    def __init__(self, errors: tuple[FieldError, ...]) -> None:
        """Keep the errors."""
        super().__init__(errors[0].detail)
        self.errors = errors


def request_id() -> str:
    """Return the id of the request at hand, which every log line of it carries."""
    return str(structlog.contextvars.get_contextvars().get("request_id", ""))


def of(error: Exception, actor: Actor = ANONYMOUS) -> Problem | None:
    """Return `error` as a problem, or None for what nobody foresaw."""
    match error:
        case ControlPlaneError():
            return _of_product(error, actor)
        case rest.APIException():
            return _of_rest(error)
        case Http404() | ObjectDoesNotExist():
            return Problem(404, "There is nothing at this address.", "request.not_found")
        case PermissionDenied():
            return _of_product(Denied("You may not do this.", code="access.denied"), actor)
        case RequestDataTooBig():
            return Problem(
                413,
                "The body of the request is too large.",
                "request.too_large",
                remedy="Send large files through /api/v1/uploads.",
            )
        case BadRequest() | SuspiciousOperation():
            return Problem(400, "The request could not be read.", "request.malformed")
        case DataError():
            return Problem(422, "A value is out of range.", "request.out_of_range")
        case OperationalError():
            return Problem(
                503,
                "The database does not answer.",
                "database.unavailable",
                remedy="Try again in a few seconds; nothing was changed.",
                headers={"Retry-After": "5"},
            )
        case _:
            return None


def _of_product(error: ControlPlaneError, actor: Actor) -> Problem:
    status = STATUS_OF_CODE.get(error.code) or next(
        (status for kind, status in STATUS_OF if isinstance(error, kind)), 500
    )
    headers: dict[str, str] = {}
    if status == 403 and actor.kind is ActorKind.ANONYMOUS:
        return unauthenticated(error.sentence if error.code.startswith("token.") else "")
    if isinstance(error, Throttled):
        headers["Retry-After"] = str(error.wait_seconds)
    if isinstance(error, Transient):
        headers["Retry-After"] = "5"
    wrong = (FieldError(error.field, error.sentence, error.code),) if error.field else ()
    return Problem(
        status,
        error.sentence,
        error.code,
        remedy=error.remedy,
        field=error.field,
        errors=wrong,
        headers=headers,
    )


def unauthenticated(sentence: str = "") -> Problem:
    """Return the problem of somebody who must sign in first."""
    return Problem(
        401,
        sentence or "This needs somebody who is signed in.",
        "access.unauthenticated",
        remedy="Sign in, or send an API token as `Authorization: Bearer my_...`.",
        headers={"WWW-Authenticate": 'Bearer realm="modelyard"'},
    )


def _of_rest(error: rest.APIException) -> Problem:
    match error:
        case rest.ValidationError():
            return of_fields(tuple(_flatten(error.detail)))
        case WrongInputs():
            return of_fields(error.errors)
        case rest.NotAuthenticated() | rest.AuthenticationFailed():
            given = isinstance(error, rest.AuthenticationFailed)
            return unauthenticated(str(error.detail) if given else "")
        case rest.MethodNotAllowed():
            return Problem(405, str(error.detail), "request.method_not_allowed")
        case rest.UnsupportedMediaType():
            return Problem(
                415,
                str(error.detail),
                "request.unsupported_media_type",
                remedy="Send JSON with `Content-Type: application/json`.",
            )
        case rest.NotAcceptable():
            return Problem(
                406,
                "This address answers in JSON only.",
                "request.not_acceptable",
                remedy="Send `Accept: application/json`.",
            )
        case rest.ParseError():
            return Problem(
                400, str(error.detail), "request.malformed", remedy="Send one JSON object."
            )
        case rest.NotFound():
            return Problem(404, "There is nothing at this address.", "request.not_found")
        case rest.PermissionDenied():
            return Problem(403, str(error.detail), "access.denied")
        case _:
            return Problem(error.status_code, str(error.detail), "request.refused")


def of_fields(errors: tuple[FieldError, ...]) -> Problem:
    """Return the problem of a request whose inputs `errors` names."""
    first = errors[0] if errors else FieldError("", "The request is not valid.", "invalid")
    others = f" {len(errors) - 1} more of the inputs are wrong." if len(errors) > 1 else ""
    named = f"{first.field}: " if first.field else ""
    return Problem(
        422,
        f"{named}{first.detail}{others}",
        "request.invalid",
        remedy="Mend the inputs that `errors` names, and send it again.",
        field=first.field,
        errors=errors,
    )


def _flatten(detail: Any, path: str = "") -> Iterator[FieldError]:
    """Yield one error per leaf of REST framework's nested details."""
    if isinstance(detail, Mapping):
        for name, inner in detail.items():
            own = path if name == "non_field_errors" else f"{path}.{name}".lstrip(".")
            yield from _flatten(inner, own)
    elif isinstance(detail, list | tuple):
        for index, inner in enumerate(detail):
            nested = isinstance(inner, Mapping | list | tuple)
            yield from _flatten(inner, f"{path}.{index}".lstrip(".") if nested else path)
    else:
        yield FieldError(path, str(detail), str(getattr(detail, "code", "invalid")))


# --- for programs -----------------------------------------------------------------------------


def handle(error: Exception, context: Mapping[str, Any]) -> Response | None:
    """Answer an error of an API view; REST framework's EXCEPTION_HANDLER.

    Returns:
        None for what nobody foresaw: it is raised again, logged, and answered by `server_fault`.
    """
    request = context.get("request")
    actor = getattr(getattr(request, "_request", request), "actor", ANONYMOUS)
    problem = of(error, actor)
    if problem is None:
        return None
    headers = dict(problem.headers)
    if isinstance(error, rest.MethodNotAllowed):
        allowed = context.get("view")
        headers["Allow"] = ", ".join(getattr(allowed, "allowed_methods", []))
    return Response(
        problem.document(), status=problem.status, headers=headers, content_type=CONTENT_TYPE
    )


# --- for pages --------------------------------------------------------------------------------


class ProblemMiddleware:
    """Turn errors that page views raise, and Django's own refusals, into proper answers."""

    def __init__(self, get_response: Callable[[HttpRequest], HttpResponseBase]) -> None:
        """Keep the rest of the chain."""
        self.get_response = get_response

    def __call__(self, request: HttpRequest) -> HttpResponseBase:
        """Handle one request."""
        response = self.get_response(request)
        if response.status_code == 405 and not hasattr(response, "data"):
            allowed = response.headers.get("Allow", "")
            return answer(
                request,
                Problem(
                    405,
                    f"{request.method} is not possible here.",
                    "request.method_not_allowed",
                    headers={"Allow": allowed} if allowed else {},
                ),
            )
        return response

    def process_exception(self, request: HttpRequest, error: Exception) -> HttpResponse | None:
        """Answer what the product foresaw; leave the rest to `server_fault`."""
        problem = of(error, getattr(request, "actor", ANONYMOUS))
        return None if problem is None else answer(request, problem)


def answer(request: HttpRequest, problem: Problem) -> HttpResponse:
    """Return `problem` in the form its reader wants: JSON, a notice for htmx, or a page."""
    if wants_json(request):
        response = HttpResponse(json.dumps(problem.document()), content_type=CONTENT_TYPE)
    elif problem.status == 401:
        return _to_sign_in(request)
    else:
        response = HttpResponse(_page(request, problem))
        if request.headers.get("HX-Request"):
            response["HX-Retarget"], response["HX-Reswap"] = "#notices", "innerHTML"
    response.status_code = problem.status
    for name, value in problem.headers.items():
        response[name] = value
    return response


def wants_json(request: HttpRequest) -> bool:
    """Return whether a program asks."""
    if request.path.startswith("/api/"):
        return True
    accepted = request.headers.get("Accept", "")
    return "json" in accepted and "html" not in accepted


def _to_sign_in(request: HttpRequest) -> HttpResponse:
    """Send the browser to the sign-in page, and from there back to where it wanted to go."""
    wanted = request.get_full_path() if request.method in ("GET", "HEAD") else "/"
    if request.headers.get("HX-Request"):
        current = request.headers.get("HX-Current-URL", "/")
        path = "/" + current.split("/", 3)[3] if current.count("/") >= 3 else "/"
        response = HttpResponse(status=204)
        response["HX-Redirect"] = f"{settings.LOGIN_URL}?next={quote(path)}"
        return response
    target = settings.LOGIN_URL + ("" if wanted == "/" else f"?next={quote(wanted)}")
    return HttpResponseRedirect(target)


def _page(request: HttpRequest, problem: Problem) -> str:
    partial = bool(request.headers.get("HX-Request"))
    template = "errors/_notice.html" if partial else "errors/problem.html"
    try:
        return render_to_string(
            template, {"problem": problem, "request_id": request_id()}, request=request
        )
    except Exception:  # an error page that fails must still say something
        log.exception("problem.page_failed", template=template)
        return (
            '<!doctype html><html lang="en"><meta charset="utf-8">'
            f"<title>{escape(problem.title)}</title><h1>{escape(problem.title)}</h1>"
            f"<p>{escape(problem.detail)}</p><p>{escape(problem.remedy)}</p>"
            f'<p>Code for support: {escape(request_id())}</p><p><a href="/">Home</a></p></html>'
        )


# --- Django's own handlers (named in the root URL table and in the settings) ---------------------


def not_found(request: HttpRequest, exception: Exception) -> HttpResponse:
    """Answer an address that leads nowhere."""
    return answer(request, Problem(404, "There is nothing at this address.", "request.not_found"))


def bad_request(request: HttpRequest, exception: Exception) -> HttpResponse:
    """Answer a request that Django refused to read."""
    return answer(request, of(exception) or Problem(400, TITLES[400] + ".", "request.malformed"))


def forbidden(request: HttpRequest, exception: Exception) -> HttpResponse:
    """Answer a refusal raised outside a view."""
    return answer(request, Problem(403, "You may not do this.", "access.denied"))


def server_fault(request: HttpRequest) -> HttpResponse:
    """Answer an error that nobody foresaw; the log has its traceback under the request id."""
    return answer(
        request,
        Problem(
            500,
            "Something went wrong on our side. Nothing of this request was half done.",
            "server.fault",
            remedy=f"Try again; if it stays, give the code {request_id()} to whoever runs this.",
        ),
    )


def forged(request: HttpRequest, reason: str = "") -> HttpResponse:
    """Answer a form without a valid anti-forgery token; Django's CSRF_FAILURE_VIEW."""
    return answer(
        request,
        Problem(
            403,
            "The form had expired, or did not come from this site.",
            "request.forged",
            remedy="Load the page again and repeat what you did.",
        ),
    )
