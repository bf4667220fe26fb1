"""What the OpenAPI document says of every view, so that views need to say little."""

from collections.abc import Callable, Sequence
from typing import Any, ClassVar, TypeVar

from django.conf import settings
from drf_spectacular.extensions import OpenApiAuthenticationExtension
from drf_spectacular.openapi import AutoSchema
from drf_spectacular.types import OpenApiTypes
from drf_spectacular.utils import (
    OpenApiParameter,
    OpenApiResponse,
    extend_schema,
    inline_serializer,
)
from rest_framework import serializers

from controlplane.http.api import Command, Resource

Method = TypeVar("Method", bound=Callable[..., Any])
Body = type[serializers.BaseSerializer[Any]] | serializers.BaseSerializer[Any] | Any


class FieldErrorAnswer(serializers.Serializer[Any]):
    """One input that is wrong."""

    field = serializers.CharField()
    detail = serializers.CharField()
    code = serializers.CharField()


class ProblemAnswer(serializers.Serializer[Any]):
    """A problem document (RFC 9457)."""

    type = serializers.CharField(help_text="Address that explains the code.")
    title = serializers.CharField()
    status = serializers.IntegerField()
    detail = serializers.CharField(help_text="One sentence that says what is so.")
    code = serializers.CharField(help_text="Stable, dotted identifier.")
    remedy = serializers.CharField(help_text="What to do about it.")
    field = serializers.CharField(help_text="The input at fault, where one is.")
    errors = FieldErrorAnswer(many=True)  # type: ignore[assignment]  # a field, not the property
    request_id = serializers.CharField()


def describe(
    summary: str,
    *,
    command: Body = None,
    answer: Body = None,
    status: int = 200,
    many: bool = False,
    also: Sequence[int] = (),
    tag: str = "",
) -> Callable[[Method], Method]:
    """Document one method of a `Resource`.

    Args:
        summary: What it does, as a person would say it ("Create a model").
        command: The serializer of the body.
        answer: The serializer of the answer; of each row for a page.
        status: The status of success.
        many: Whether the answer is a page of rows.
        also: Further successes that answer with the same body.
        tag: The chapter; by default the first part of the address.
    """
    shown = _page_of(answer) if many and answer is not None else answer
    good: dict[int, Any] = {
        code: OpenApiResponse(shown, description=summary) if shown is not None else
        OpenApiResponse(description=summary)
        for code in (status, *also)
    }  # fmt: skip
    return extend_schema(
        summary=summary,
        request=command,
        responses=good,
        tags=[tag] if tag else None,
    )


_pages: dict[str, Any] = {}


def _page_of(answer: Any) -> Any:
    kind = answer if isinstance(answer, type) else type(answer)
    name = kind.__name__.removesuffix("Answer").removesuffix("Serializer") + "Page"
    if name not in _pages:
        _pages[name] = inline_serializer(
            name,
            {
                "next": serializers.URLField(allow_null=True),
                "previous": serializers.URLField(allow_null=True),
                "results": kind(many=True),
            },
        )
    return _pages[name]


class ActorScheme(OpenApiAuthenticationExtension):  # type: ignore[no-untyped-call]
    """How one signs in, for the document."""

    target_class = "apps.accounts.authentication.ActorAuthentication"
    name = ["token", "session"]  # noqa: RUF012

    def get_security_requirement(self, auto_schema: AutoSchema) -> Any:
        """Return that either is enough."""
        return [{"token": []}, {"session": []}]

    def get_security_definition(self, auto_schema: AutoSchema) -> Any:
        """Return the two ways."""
        return [
            {"type": "http", "scheme": "bearer", "bearerFormat": "my_..."},
            {"type": "apiKey", "in": "cookie", "name": settings.SESSION_COOKIE_NAME},
        ]


class Schema(AutoSchema):
    """Add what every view has: problems, idempotency, pages, entity tags."""

    ALWAYS: ClassVar[tuple[int, ...]] = (400, 401, 403, 404, 405, 406, 409, 412, 413, 415, 422,
                                         429, 500, 502, 503, 507)  # fmt: skip

    def get_override_parameters(self) -> list[Any]:
        """Return the parameters that the view declares by its attributes."""
        found: list[Any] = []
        view = self.view
        if not isinstance(view, Resource):
            return found
        for name in view.query:
            found.append(OpenApiParameter(name, OpenApiTypes.STR))
        if self.method == "GET" and self._is_page():
            found.append(
                OpenApiParameter(
                    "limit", {"type": "integer", "minimum": 1, "maximum": 200, "default": 50}
                )
            )
            found.append(OpenApiParameter("cursor", OpenApiTypes.STR, description="From `next`."))
        if self.method == "GET":
            found.append(
                OpenApiParameter(
                    "fields", OpenApiTypes.STR, description="Only these fields, by commas."
                )
            )
        if self.method == "POST":
            found.append(
                OpenApiParameter(
                    "Idempotency-Key",
                    {"type": "string", "minLength": 1, "maxLength": 255},
                    location=OpenApiParameter.HEADER,
                    description="The same key and body are answered the same for 24 hours.",
                )
            )
        return found

    def get_operation_id(self) -> str:
        """Return a name made of the verb and the address, so that none comes twice."""
        parts = [p.strip("{}<>").replace("-", "_") for p in self.path.split("/")[3:] if p]
        return "_".join([self.method.lower(), *parts])

    def get_tags(self) -> list[str]:
        """Return the chapter: the first part of the address."""
        parts = [p for p in self.path.split("/") if p]
        return [parts[2] if len(parts) > 2 else "api"]

    def get_operation(self, *args: Any, **kwargs: Any) -> Any:
        """Return the operation, with its problems."""
        operation = super().get_operation(*args, **kwargs)
        if operation:
            problem = self._problem_reference()
            responses = operation["responses"]
            responses.setdefault(
                "default",
                {
                    "description": "What went wrong, as a problem document (RFC 9457).",
                    "content": {"application/problem+json": {"schema": problem}},
                },
            )
        return operation

    def _map_basic_serializer(self, serializer: Any, direction: Any) -> Any:
        """Say of the body of a verb that it takes nothing else."""
        found = super()._map_basic_serializer(serializer, direction)  # type: ignore[no-untyped-call]
        if isinstance(serializer, Command):
            found["additionalProperties"] = False
        return found

    def _problem_reference(self) -> Any:
        component = self.resolve_serializer(ProblemAnswer, "response")
        return component.ref

    def _is_page(self) -> bool:
        answers = self.get_response_serializers()
        if isinstance(answers, dict):
            answers = next(iter(answers.values()), None)
        shown = getattr(answers, "response", answers)
        return type(shown).__name__.endswith("Page") or getattr(shown, "__name__", "").endswith(
            "Page"
        )
