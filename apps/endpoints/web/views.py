"""A person's verbs on endpoints. The pages that show them, with traffic, are console's."""

from collections.abc import Callable

from django.contrib import messages
from django.http import HttpRequest, HttpResponse, HttpResponseRedirect
from django.shortcuts import redirect
from django.views.decorators.http import require_POST

from apps.endpoints import selectors, services
from apps.endpoints.models import Endpoint
from controlplane.http.permissions import actor_of, signed_in
from controlplane.kernel.errors import ControlPlaneError, Invalid


@signed_in
@require_POST
def serve(request: HttpRequest, name: str, number: int) -> HttpResponse:
    """Serve a version, and go to its endpoint to watch it come up."""
    try:
        served = services.serve(
            actor=actor_of(request),
            model=name,
            version=number,
            environment=request.POST.get("environment", ""),
            variant=request.POST.get("variant", ""),
            runtime=request.POST.get("runtime", ""),
            replicas=_replicas(request.POST.get("replicas", "")),
            reason=request.POST.get("reason", ""),
        )
    except ControlPlaneError as error:
        _refused(request, error)
        return redirect(f"/models/{name}/versions/{number}")
    if not served.created:
        messages.info(request, f"v{number} is served there already, just so.")
    return redirect(f"/endpoints/{served.endpoint.environment.slug}/{served.endpoint.name}")


@signed_in
@require_POST
def retire(request: HttpRequest, environment: str, name: str) -> HttpResponse:
    """Stop answering at an endpoint."""
    reason = request.POST.get("reason", "")
    return _act(
        request,
        environment,
        name,
        lambda row: services.retire(
            actor=actor_of(request), endpoint=row.public_id, reason=reason
        ),
        f"{name} in {environment} is retired. Serving a version brings it back.",
    )


@signed_in
@require_POST
def scale(request: HttpRequest, environment: str, name: str) -> HttpResponse:
    """Change how many replicas answer."""
    replicas = request.POST.get("replicas", "")
    return _act(
        request,
        environment,
        name,
        lambda row: services.scale(
            actor=actor_of(request), endpoint=row.public_id, replicas=_replicas(replicas) or 0
        ),
        f"{name} in {environment} goes to {replicas} replicas.",
    )


@signed_in
@require_POST
def revoke_key(request: HttpRequest, environment: str, name: str, key: str) -> HttpResponse:
    """Let nobody in by a key any more."""
    return _act(
        request,
        environment,
        name,
        lambda row: services.revoke_key(actor=actor_of(request), endpoint=row.public_id, key=key),
        "The key lets nobody in any more.",
    )


@signed_in
@require_POST
def open_to_all(request: HttpRequest, environment: str, name: str) -> HttpResponse:
    """Let callers in without a key again."""
    reason = request.POST.get("reason", "")
    return _act(
        request,
        environment,
        name,
        lambda row: services.open_to_all(
            actor=actor_of(request), endpoint=row.public_id, reason=reason
        ),
        f"{name} in {environment} answers callers without a key.",
    )


def _act(
    request: HttpRequest,
    environment: str,
    name: str,
    verb: Callable[[Endpoint], object],
    done: str,
) -> HttpResponse:
    try:
        verb(selectors.endpoint_at(actor_of(request), environment=environment, name=name))
    except ControlPlaneError as error:
        _refused(request, error)
    else:
        messages.success(request, done)
    return HttpResponseRedirect(f"/endpoints/{environment}/{name}")


def _refused(request: HttpRequest, error: ControlPlaneError) -> None:
    messages.error(request, f"{error.sentence} {error.remedy}".strip())


def _replicas(text: str) -> int | None:
    if not text:
        return None
    if not (text.isascii() and text.isdigit() and len(text) < 5):
        raise Invalid(f"{text[:20]!r} is not a number of replicas.", field="replicas")
    return int(text)
