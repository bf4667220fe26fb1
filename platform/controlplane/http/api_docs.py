"""The OpenAPI document and its page, from what lies on this machine only."""

import json
from dataclasses import dataclass, field
from functools import cache
from typing import Any

from django.http import HttpRequest, HttpResponse
from django.shortcuts import render
from django.views.decorators.csrf import ensure_csrf_cookie
from django.views.decorators.http import require_safe
from drf_spectacular.generators import SchemaGenerator


@dataclass(frozen=True)
class Operation:
    """One verb at one address."""

    method: str
    path: str
    summary: str


@dataclass(frozen=True)
class Chapter:
    """The operations on one noun."""

    name: str
    operations: list[Operation] = field(default_factory=list)


@cache
def document() -> bytes:
    """Return the OpenAPI document of everything under /api/v1, the same bytes every time."""
    text = json.dumps(generated(), indent=1, sort_keys=True, ensure_ascii=False)
    return (text + "\n").encode()


@cache
def generated() -> dict[str, Any]:
    """Return the OpenAPI document as an object."""
    # Every operation, whoever asks: the document says what exists, not what one may do.
    found: dict[str, Any] = SchemaGenerator().get_schema(request=None, public=True)  # type: ignore[no-untyped-call]
    return found


@require_safe
def openapi(request: HttpRequest) -> HttpResponse:
    """Return the document. Open to anybody: it tells nothing about the objects in here."""
    return HttpResponse(document(), content_type="application/vnd.oai.openapi+json")


@require_safe
@ensure_csrf_cookie
def docs(request: HttpRequest) -> HttpResponse:
    """Return the page that shows the document and tries it; readable without a script."""
    chapters = _chapters(generated())
    total = sum(len(chapter.operations) for chapter in chapters)
    return render(request, "api/docs.html", {"chapters": chapters, "total": total})


def _chapters(found: dict[str, Any]) -> list[Chapter]:
    by_name: dict[str, Chapter] = {}
    for path, verbs in found["paths"].items():
        for method, operation in verbs.items():
            name = operation["tags"][0]
            chapter = by_name.setdefault(name, Chapter(name))
            summary = operation.get("summary", "")
            chapter.operations.append(Operation(method.upper(), path, summary))
    return [by_name[name] for name in sorted(by_name)]
