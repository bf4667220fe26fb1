"""Pages and their parts: one source of markup, whole on load and in pieces afterwards.

A part is a template that the page itself includes. Asked for as `?part=NAME` by htmx, only the
part is rendered, by the same view with the same access check; without htmx it is the page.
"""

from collections.abc import Mapping
from typing import Any

from django.http import HttpRequest, HttpResponse
from django.shortcuts import render
from django.utils.cache import patch_vary_headers

NO_PARTS: Mapping[str, str] = {}


def page(
    request: HttpRequest,
    template: str,
    context: Mapping[str, Any],
    *,
    parts: Mapping[str, str] = NO_PARTS,
    status: int = 200,
) -> HttpResponse:
    """Render a page, or the one of its `parts` (name to template) that htmx asks for."""
    name = request.GET.get("part", "")
    wanted = parts.get(name, "") if request.headers.get("HX-Request") else ""
    response = render(request, wanted or template, dict(context), status=status)
    patch_vary_headers(response, ["HX-Request"])
    response["Cache-Control"] = "no-store"
    return response
