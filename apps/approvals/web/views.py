"""Standing in: who decides for whom while they are away. The inbox shows it."""

from datetime import datetime

from django.contrib import messages
from django.http import HttpRequest, HttpResponse, HttpResponseRedirect
from django.utils import timezone
from django.utils.dateparse import parse_datetime
from django.views.decorators.http import require_POST

from apps.approvals import services
from controlplane.http.permissions import actor_of, signed_in
from controlplane.kernel.errors import ControlPlaneError, Invalid

INBOX = "/inbox#away"


@signed_in
@require_POST
def delegate(request: HttpRequest) -> HttpResponse:
    """Let somebody stand in for the reader."""
    try:
        row = services.delegate(
            actor=actor_of(request),
            substitute=request.POST.get("substitute", "").strip(),
            starts_at=_moment(request, "starts_at"),
            ends_at=_moment(request, "ends_at"),
            reason=request.POST.get("reason", ""),
        )
    except ControlPlaneError as error:
        messages.error(request, f"{error.sentence} {error.remedy}".strip())
    else:
        messages.success(request, f"{row.substitute.username} stands in for you.")
    return HttpResponseRedirect(INBOX)


@signed_in
@require_POST
def end(request: HttpRequest, public_id: str) -> HttpResponse:
    """Be back early."""
    try:
        services.end_delegation(actor=actor_of(request), delegation=public_id)
    except ControlPlaneError as error:
        messages.error(request, f"{error.sentence} {error.remedy}".strip())
    else:
        messages.success(request, "You decide for yourself again.")
    return HttpResponseRedirect(INBOX)


def _moment(request: HttpRequest, name: str) -> datetime:
    """Return a time as typed, in the reader's zone.

    Raises:
        Invalid: It is none.
    """
    text = request.POST.get(name, "")[:40]
    try:
        found = parse_datetime(text)
    except ValueError:
        found = None
    if found is None:
        raise Invalid(f"{text!r} is not a day and a time.", field=name)
    return found if found.tzinfo else timezone.make_aware(found)
