"""The page on which a person chooses how to hear of things, and the channels of teams."""

from collections.abc import Callable
from datetime import datetime
from typing import Any

from django.contrib import messages
from django.http import HttpRequest, HttpResponse
from django.shortcuts import redirect
from django.views.decorators.cache import never_cache
from django.views.decorators.http import require_http_methods, require_POST, require_safe

from apps.accounts import selectors as accounts
from apps.accounts import services as account_services
from apps.accounts.domain import access
from apps.notifications import selectors, services
from apps.notifications.domain.kinds import KINDS, Transport
from apps.notifications.models import Channel, Delivery
from apps.notifications.web.forms import (
    CHOSEN,
    EVERYTHING,
    TRANSPORTS,
    WAY_WORDS,
    EditChannelForm,
    MailForm,
    NewChannelForm,
)
from controlplane.http.forms import blame
from controlplane.http.htmx import page
from controlplane.http.permissions import actor_of, signed_in
from controlplane.kernel.actor import Actor
from controlplane.kernel.errors import Conflict, ControlPlaneError, Invalid, Missing

MENDABLE = (Conflict, Invalid, Missing)
MOST = 200
# Headings of the preferences, by the beginning of a kind's name; the first that fits counts.
GROUPS = (
    ("What waits for you", ("release.waits_for_you", "release.reminder", "release.mentioned",
                            "release.review_due", "waiver.expiring")),
    ("Your releases", ("release.",)),
    ("What went wrong", ("gate.", "alias.", "ledger.", "channel.")),
)  # fmt: skip


@never_cache
@signed_in
@require_safe
def settings_page(request: HttpRequest) -> HttpResponse:
    """Show how the reader hears of things, and where messages go."""
    return _page(request, NewChannelForm(teams=_teams(actor_of(request))))


@signed_in
@require_POST
def preferences(request: HttpRequest) -> HttpResponse:
    """Choose how to hear of things."""
    ways = {kind: request.POST[kind] for kind in KINDS if kind in request.POST}
    try:
        services.set_preferences(actor=actor_of(request), ways=ways)
    except MENDABLE as error:
        messages.error(request, f"{error.sentence} {error.remedy}".strip())
    else:
        messages.success(request, "Saved: this is how you hear of things now.")
    return redirect("notification-settings")


@signed_in
@require_POST
def mail(request: HttpRequest) -> HttpResponse:
    """Say where one's own mail goes."""
    actor = actor_of(request)
    form = MailForm(request.POST)
    if not form.is_valid():
        return _page(request, NewChannelForm(teams=_teams(actor)), mail_form=form, status=422)
    email = form.cleaned_data["email"]
    account_services.set_email(actor=actor, email=email)
    said = f"Your mail goes to {email} now." if email else "Nothing goes to you by mail any more."
    messages.success(request, said)
    return redirect("notification-settings")


@never_cache
@signed_in
@require_POST
def create(request: HttpRequest) -> HttpResponse:
    """Make a channel, and show a webhook's secret this once."""
    actor = actor_of(request)
    form = NewChannelForm(request.POST, teams=_teams(actor))
    if not form.is_valid():
        return _page(request, form, status=422)
    given = form.cleaned_data
    try:
        made, secret = services.create_channel(
            actor=actor,
            name=given["name"],
            transport=given["transport"],
            target=given["target"],
            team=given["team"],
            on_call=given["on_call"],
            kinds=form.wanted(),
        )
    except MENDABLE as error:
        return _page(request, _blamed(form, error), status=422)
    if secret:
        return _page(request, NewChannelForm(teams=_teams(actor)), made=made, secret=secret)
    messages.success(request, f"{made.name} is there. Test it, so that you know that it works.")
    return redirect("notification-settings")


@never_cache
@signed_in
@require_http_methods(["GET", "HEAD", "POST"])
def edit(request: HttpRequest, channel_id: str) -> HttpResponse:
    """Show one channel, and change it."""
    actor = actor_of(request)
    row = selectors.channel(actor, channel_id)
    if request.method != "POST":
        return _channel_page(request, row, EditChannelForm(initial=_initial(row)))
    form = EditChannelForm(request.POST)
    if not form.is_valid():
        return _channel_page(request, row, form, status=422)
    given = form.cleaned_data
    try:
        services.edit_channel(
            actor=actor,
            channel_id=channel_id,
            name=given["name"],
            target=given["target"] or None,
            on_call=given["on_call"],
            kinds=form.wanted(),
        )
    except MENDABLE as error:
        return _channel_page(request, row, _blamed(form, error), status=422)
    messages.success(request, "Saved.")
    return redirect("notification-settings")


@never_cache
@signed_in
@require_POST
def secret(request: HttpRequest, channel_id: str) -> HttpResponse:
    """Make a webhook's secret anew, and show it this once."""
    row, made = services.rotate_secret(actor=actor_of(request), channel_id=channel_id)
    shown = selectors.channel(actor_of(request), row.public_id)
    form = EditChannelForm(initial=_initial(shown))
    return _channel_page(request, shown, form, secret=made)


@signed_in
@require_POST
def test(request: HttpRequest, channel_id: str) -> HttpResponse:
    """Send a test message; its answer appears beside the channel."""
    return _command(
        request,
        lambda: services.test_channel(actor=actor_of(request), channel_id=channel_id),
        "",
    )


@signed_in
@require_POST
def enable(request: HttpRequest, channel_id: str) -> HttpResponse:
    """Let messages through again."""
    return _command(
        request,
        lambda: services.set_enabled(actor=actor_of(request), channel_id=channel_id, enabled=True),
        "It takes messages again.",
    )


@signed_in
@require_POST
def disable(request: HttpRequest, channel_id: str) -> HttpResponse:
    """Stop messages."""
    return _command(
        request,
        lambda: services.set_enabled(
            actor=actor_of(request), channel_id=channel_id, enabled=False
        ),
        "It is disabled: nothing goes there until it is enabled again.",
    )


@signed_in
@require_POST
def remove(request: HttpRequest, channel_id: str) -> HttpResponse:
    """Remove a channel."""
    return _command(
        request,
        lambda: services.remove_channel(actor=actor_of(request), channel_id=channel_id),
        "The channel is removed.",
    )


def _command(request: HttpRequest, act: Callable[[], object], done: str) -> HttpResponse:
    try:
        act()
    except ControlPlaneError as error:
        messages.error(request, f"{error.sentence} {error.remedy}".strip())
    else:
        if done:
            messages.success(request, done)
    to = redirect("notification-settings")
    to["Location"] += "#channels"
    return to


def _page(
    request: HttpRequest,
    form: NewChannelForm,
    *,
    mail_form: MailForm | None = None,
    made: Channel | None = None,
    secret: str = "",
    status: int = 200,
) -> HttpResponse:
    actor = actor_of(request)
    email = accounts.email_of(actor)
    context = {
        "groups": _groups(actor),
        "ways": [(str(way), words) for way, words in WAY_WORDS.items()],
        "email": email,
        "mail_form": mail_form or MailForm(initial={"email": email}),
        "mail_works": services.mail_is_set_up(),
        "channels": _channels(actor),
        "form": form,
        "transports": TRANSPORTS,
        "made": made,
        "secret": secret,
        "topics": ["deliveries"],
    }
    parts = {"channels": "notifications/_channels.html"}
    name = "notifications/settings.html"
    return page(request, name, context, parts=parts, status=status)


def _channel_page(
    request: HttpRequest,
    row: Channel,
    form: EditChannelForm,
    *,
    secret: str = "",
    status: int = 200,
) -> HttpResponse:
    context = {
        "channel": row,
        "form": form,
        "secret": secret,
        "may_edit": _may_edit(actor_of(request), row),
        "is_webhook": row.transport == Transport.WEBHOOK,
    }
    return page(request, "notifications/channel.html", context, status=status)


def _groups(actor: Actor) -> list[dict[str, Any]]:
    """Return the reader's choices under their headings."""
    left, groups = selectors.choices(actor), []
    for title, beginnings in GROUPS:
        fit = [c for c in left if c.kind.startswith(beginnings)]
        left = [c for c in left if c not in fit]
        groups.append({"title": title, "choices": fit})
    return groups


def _channels(actor: Actor) -> list[dict[str, Any]]:
    """Return the channels as rows: what each is, how it stands, what its last test said."""
    rows = list(selectors.channels(actor)[:MOST])
    tests = selectors.last_tests([row.pk for row in rows])
    return [
        {
            "channel": row,
            "state": _state(row),
            "test": _recent(tests.get(row.pk), row.changed_at),
            "lost": getattr(row, "lost", 0),
            "may_edit": _may_edit(actor, row),
        }
        for row in rows
    ]


def _recent(test: Delivery | None, changed_at: datetime) -> Delivery | None:
    """Return the last test, unless the channel was changed after it."""
    return test if test is not None and test.created_at >= changed_at else None


def _state(row: Channel) -> str:
    if row.disabled_at is not None:
        return "disabled"
    return "verified" if row.verified_at is not None else "unknown"


def _may_edit(actor: Actor, row: Channel) -> bool:
    if row.team is not None:
        return access.allows(actor, selectors.MANAGE, team=row.team.slug)
    return row.person_id == actor.person_id and access.allows(actor, "notifications.follow")


def _teams(actor: Actor) -> list[str]:
    slugs = accounts.all_teams().values_list("slug", flat=True)
    return [slug for slug in slugs if access.allows(actor, selectors.MANAGE, team=slug)]


def _initial(row: Channel) -> dict[str, Any]:
    which = CHOSEN if row.kinds else EVERYTHING
    return {"name": row.name, "on_call": row.on_call, "which": which, "kinds": row.kinds}


def _blamed(form: Any, error: ControlPlaneError) -> Any:
    return blame(form, error)
