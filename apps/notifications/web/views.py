"""Pages of what one was told, and of the outbox."""

from urllib.parse import urlencode

from django.contrib import messages
from django.http import HttpRequest, HttpResponse, HttpResponseRedirect
from django.shortcuts import redirect
from django.views.decorators.http import require_POST, require_safe

from apps.accounts.domain import access
from apps.notifications import selectors, services
from apps.notifications.domain.states import DeliveryState
from controlplane.http.htmx import page
from controlplane.http.pagination import cut
from controlplane.http.permissions import actor_of, signed_in
from controlplane.kernel.errors import ControlPlaneError

PAGE = 40
OUTBOX_PARTS = {
    "head": "notifications/_deliveries_head.html",
    "list": "notifications/_deliveries.html",
}
TABS = (
    ("", "All"),
    (DeliveryState.PENDING, "On the way"),
    (DeliveryState.DEAD, "Dead letters"),
    (DeliveryState.DELIVERED, "Delivered"),
)


@signed_in
@require_safe
def notifications(request: HttpRequest) -> HttpResponse:
    """List what the reader was told, what is unread first."""
    actor = actor_of(request)
    only = request.GET.get("only", "") == "unread"
    rows = selectors.notifications(actor, unread=True if only else None)
    found = cut(rows, limit=PAGE, cursor=request.GET.get("cursor", ""))
    context = {
        "told": found.rows,
        "slice": found,
        "unread": selectors.unread_count(actor),
        "many": selectors.MOST_COUNTED,
        "newest": next((row.public_id for row in found.rows if row.read_at is None), ""),
        "only": only,
        "base": "only=unread&" if only else "",
        "topics": [topic_of(request)],
    }
    parts = {"head": "notifications/_head.html", "list": "notifications/_list.html"}
    return page(request, "notifications/notifications.html", context, parts=parts)


@signed_in
@require_safe
def bell(request: HttpRequest) -> HttpResponse:
    """Show how much is unread, as the top bar does on every page."""
    unread = selectors.unread_count(actor_of(request))
    context = {"unread": unread, "many": selectors.MOST_COUNTED}
    return page(request, "notifications/_bell.html", context)


@signed_in
@require_POST
def read(request: HttpRequest, notification_id: str) -> HttpResponse:
    """Mark one thing as read; and go where it leads, if that was asked for."""
    row = services.mark_read(actor=actor_of(request), notification_id=notification_id)
    return redirect(row.link if "open" in request.POST else _back(request))


@signed_in
@require_POST
def read_all(request: HttpRequest) -> HttpResponse:
    """Mark everything as read that the reader has seen."""
    up_to = request.POST.get("up_to", "")
    marked = services.mark_all_read(actor=actor_of(request), up_to=up_to)
    messages.success(request, f"{marked} marked as read.")
    return redirect("notifications")


@signed_in
@require_safe
def deliveries(request: HttpRequest) -> HttpResponse:
    """List what is on its way, arrived or was given up."""
    actor = actor_of(request)
    state = request.GET.get("state", "")
    known = state if state in list(DeliveryState) else ""
    rows = selectors.deliveries(actor, state=known)
    found = cut(rows, limit=PAGE, cursor=request.GET.get("cursor", ""))
    counts = selectors.outbox_counts(actor)
    context = {
        "deliveries": found.rows,
        "slice": found,
        "counts": counts,
        "tabs": [
            {"state": s, "title": t, "count": counts[s] if s else sum(counts.values())}
            for s, t in TABS
        ],
        "state": known,
        "base": f"{urlencode({'state': known})}&" if known else "",
        "may_replay": access.allows(actor, selectors.OPERATE),
        "topics": ["deliveries"],
    }
    return page(request, "notifications/deliveries.html", context, parts=OUTBOX_PARTS)


@signed_in
@require_POST
def replay(request: HttpRequest, delivery_id: str) -> HttpResponse:
    """Send something again."""
    try:
        services.replay(
            actor=actor_of(request),
            delivery_id=delivery_id,
            reason=request.POST.get("reason", ""),
        )
    except ControlPlaneError as error:
        messages.error(request, f"{error.sentence} {error.remedy}".strip())
    else:
        messages.success(request, "It is on its way again, under its own id.")
    state = request.POST.get("state", "")
    to = redirect("deliveries")
    if state in list(DeliveryState):
        to["Location"] += f"?{urlencode({'state': state})}"
    return to


def topic_of(request: HttpRequest) -> str:
    """Return the live topic of whoever reads."""
    return f"person/{actor_of(request).person_id}"


def _back(request: HttpRequest) -> str:
    response: HttpResponseRedirect = redirect("notifications")
    only = "?only=unread" if request.POST.get("only") else ""
    return f"{response['Location']}{only}"
