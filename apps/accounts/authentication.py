"""REST framework's view of who asks; `IdentifyActor` found it out already."""

from collections.abc import Callable
from typing import Any, cast

from django.http import HttpRequest, HttpResponse
from django.middleware.csrf import CsrfViewMiddleware
from rest_framework.authentication import BaseAuthentication
from rest_framework.request import Request

from apps.accounts.identify import IdentifiedRequest
from controlplane.kernel.actor import Actor, ActorKind
from controlplane.kernel.errors import Denied


class ActorAuthentication(BaseAuthentication):
    """Token or session; a session must also prove that the request came from our own page."""

    def authenticate(self, request: Request) -> tuple[Any, Actor] | None:
        """Return the person, if a session says so, and the actor.

        Raises:
            Denied: The token is not good, or the anti-forgery token is missing.
        """
        asked = cast(IdentifiedRequest, request._request)
        if asked.actor_error is not None:
            raise asked.actor_error
        if asked.actor.kind is ActorKind.ANONYMOUS:
            return None
        if not asked.by_token:
            _refuse_forgery(request)
        return getattr(asked, "_cached_user", None), asked.actor

    def authenticate_header(self, request: Request) -> str:
        """Say how to sign in, which makes refusals 401."""
        return 'Bearer realm="modelyard"'


class _Check(CsrfViewMiddleware):
    """Django's check, which returns its reason instead of a page."""

    def _reject(self, request: HttpRequest, reason: str) -> str:
        return reason


def _refuse_forgery(request: Request) -> None:
    nothing: Callable[[HttpRequest], HttpResponse] = lambda _: HttpResponse()  # noqa: E731
    check = _Check(nothing)
    check.process_request(request._request)
    reason = check.process_view(request._request, nothing, (), {})
    if reason:
        raise Denied(
            f"The request was not proven to come from this site ({reason}).",
            remedy="Send the X-CSRFToken header, or use an API token.",
            code="request.forged",
        )
