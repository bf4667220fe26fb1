"""The choice between dark and light."""

from django.http import HttpRequest, HttpResponse, HttpResponseRedirect
from django.utils.http import url_has_allowed_host_and_scheme
from django.views.decorators.http import require_POST

from apps.console.web.context import THEMES

A_YEAR = 365 * 24 * 3600


@require_POST
def theme(request: HttpRequest) -> HttpResponse:
    """Remember dark or light in a cookie, and go back to where the reader was."""
    asked = request.POST.get("next", "/")
    safe = url_has_allowed_host_and_scheme(asked, allowed_hosts={request.get_host()})
    response = HttpResponseRedirect(asked if safe else "/")
    chosen = request.POST.get("theme", "")
    if chosen in THEMES:
        response.set_cookie("theme", chosen, max_age=A_YEAR, samesite="Lax")
    return response
