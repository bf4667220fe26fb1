"""Signing in and out, and one's own password."""

from django.conf import settings
from django.contrib import auth, messages
from django.http import HttpRequest, HttpResponse
from django.shortcuts import redirect, render
from django.utils.http import url_has_allowed_host_and_scheme
from django.views.decorators.cache import never_cache
from django.views.decorators.debug import sensitive_post_parameters
from django.views.decorators.http import require_http_methods

from apps.accounts import services
from apps.accounts.web.forms import MENDABLE, PasswordForm, SignInForm, show_error
from controlplane.http.permissions import actor_of, signed_in
from controlplane.kernel.actor import ActorKind
from controlplane.kernel.errors import Throttled


@never_cache
@sensitive_post_parameters("password")
@require_http_methods(["GET", "HEAD", "POST"])
def sign_in(request: HttpRequest) -> HttpResponse:
    """Show the form, or sign somebody in and send them where they wanted to go."""
    target = _safe(request, request.POST.get("next") or request.GET.get("next") or "/")
    if request.method != "POST":
        if actor_of(request).kind is ActorKind.PERSON:
            return redirect(target)
        return _sign_in_page(request, SignInForm(), target)
    form = SignInForm(request.POST)
    if not form.is_valid():
        return _sign_in_page(request, form, target, status=422)
    address = str(request.META.get("REMOTE_ADDR", ""))
    try:
        person = services.verify(**form.cleaned_data, address=address)
    except Throttled as error:
        show_error(form, error)
        response = _sign_in_page(request, form, target, status=429)
        response["Retry-After"] = str(error.wait_seconds)
        return response
    except MENDABLE as error:
        show_error(form, error)
        return _sign_in_page(request, form, target, status=422)
    auth.login(request, person)
    services.signed_in(person=person, address=address)
    return redirect(target)


@require_http_methods(["GET", "HEAD", "POST"])
def sign_out(request: HttpRequest) -> HttpResponse:
    """End the session; without a form, ask first."""
    actor = actor_of(request)
    if request.method != "POST":
        if actor.kind is ActorKind.ANONYMOUS:
            return redirect(settings.LOGIN_URL)
        return render(request, "accounts/sign_out.html")
    if actor.kind is ActorKind.PERSON:
        services.signed_out(actor=actor)
    auth.logout(request)
    return redirect(settings.LOGIN_URL)


@never_cache
@sensitive_post_parameters("current", "new", "again")
@signed_in
@require_http_methods(["GET", "HEAD", "POST"])
def password(request: HttpRequest) -> HttpResponse:
    """Show the form, or change one's own password."""
    form = PasswordForm(request.POST or None)
    if request.method == "POST" and form.is_valid():
        given = form.cleaned_data
        try:
            person = services.change_password(
                actor=actor_of(request), current=given["current"], new=given["new"]
            )
        except MENDABLE as error:
            show_error(form, error)
        else:
            auth.update_session_auth_hash(request, person)
            messages.success(request, "Your password is changed. Your other sessions have ended.")
            return redirect("/")
    context = {"form": form, "must": getattr(request.user, "must_change_password", False)}
    status = 422 if request.method == "POST" else 200
    return render(request, "accounts/password.html", context, status=status)


def _sign_in_page(
    request: HttpRequest, form: SignInForm, target: str, status: int = 200
) -> HttpResponse:
    context = {"form": form, "next": "" if target == "/" else target}
    return render(request, "accounts/sign_in.html", context, status=status)


def _safe(request: HttpRequest, target: str) -> str:
    """Return `target` if it is a page of ours, the home page otherwise."""
    ours = url_has_allowed_host_and_scheme(target, None, require_https=request.is_secure())
    return target if ours and not target.startswith(settings.LOGIN_URL) else "/"
