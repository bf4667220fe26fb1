"""Who makes this request: `request.actor`, on every one."""

from collections.abc import Callable
from typing import Any, cast

import structlog
from django.http import HttpRequest
from django.http.response import HttpResponseBase
from django.shortcuts import redirect

from apps.accounts import identify
from apps.accounts.identify import IdentifiedRequest
from controlplane.http import problems
from controlplane.kernel.actor import ANONYMOUS
from controlplane.kernel.errors import Denied

PASSWORD_PAGE = "/password"  # noqa: S105
STILL_OPEN = frozenset({PASSWORD_PAGE, "/sign-out", "/livez", "/readyz", "/metrics"})


class IdentifyActor:
    """Set `request.actor` from the Authorization header or the session."""

    def __init__(self, get_response: Callable[[HttpRequest], HttpResponseBase]) -> None:
        """Keep the rest of the chain."""
        self.get_response = get_response

    def __call__(self, request: HttpRequest) -> HttpResponseBase:
        """Handle one request."""
        asked = cast(IdentifiedRequest, request)
        header = request.headers.get("Authorization", "")
        asked.actor, asked.actor_error, asked.by_token = ANONYMOUS, None, bool(header)
        if header:
            _by_header(asked, header)
        elif request.session.session_key:
            _by_session(asked)
        structlog.contextvars.bind_contextvars(actor=asked.actor.name)
        if _must_change_password(asked):
            return redirect(PASSWORD_PAGE)
        return self.get_response(request)


def _must_change_password(request: IdentifiedRequest) -> bool:
    """Return whether the page must wait until a password that somebody else knows is changed."""
    person = getattr(request, "_cached_user", None)
    if person is None or not person.must_change_password:
        return False
    return request.path not in STILL_OPEN and not problems.wants_json(request)


def _by_header(request: IdentifiedRequest, header: str) -> None:
    try:
        request.actor = identify.from_authorization(
            header, address=str(request.META.get("REMOTE_ADDR", ""))
        )
    except Denied as error:
        # Raised where it can be answered: by REST's authentication, or as nobody's request.
        request.actor_error = error


def _by_session(request: IdentifiedRequest) -> None:
    request.actor, person = identify.by_session(cast(Any, request.session))
    if person is not None:
        request._cached_user = person  # `request.user` then costs no further query
