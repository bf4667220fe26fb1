"""Who may reach a view at all; what they may do there, the services decide."""

from collections.abc import Callable
from functools import wraps
from typing import TYPE_CHECKING, Concatenate, ParamSpec, cast

from django.http import HttpRequest, HttpResponseBase
from rest_framework.permissions import BasePermission
from rest_framework.request import Request

from controlplane.http import problems
from controlplane.kernel.actor import ANONYMOUS, Actor, ActorKind

if TYPE_CHECKING:  # rest_framework.views reads its default classes, and so this module, on import
    from rest_framework.views import APIView

Arguments = ParamSpec("Arguments")
Page = Callable[Concatenate[HttpRequest, Arguments], HttpResponseBase]


def actor_of(request: HttpRequest) -> Actor:
    """Return who makes `request`."""
    actor: Actor = getattr(request, "actor", ANONYMOUS)
    return actor


class SignedIn(BasePermission):
    """Anybody who is signed in or has a token."""

    def has_permission(self, request: Request, view: "APIView") -> bool:
        """Return whether the actor is somebody."""
        return actor_of(request._request).kind is not ActorKind.ANONYMOUS


class Open(BasePermission):
    """Anybody at all: only what tells nothing about the objects in here."""

    def has_permission(self, request: Request, view: "APIView") -> bool:
        """Return True."""
        return True


def signed_in(view: Page[Arguments]) -> Page[Arguments]:
    """Send whoever is not signed in to the sign-in page, and back afterwards."""

    @wraps(view)
    def guarded(
        request: HttpRequest, *args: Arguments.args, **kwargs: Arguments.kwargs
    ) -> HttpResponseBase:
        if actor_of(request).kind is ActorKind.ANONYMOUS:
            return problems.answer(request, problems.unauthenticated())
        return view(request, *args, **kwargs)

    return cast(Page[Arguments], guarded)
