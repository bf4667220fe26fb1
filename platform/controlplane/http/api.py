"""The one shape of a REST view: who asks, what is read, how it is answered.

class Models(Resource):
    query = ("team", "q")              # beside limit, cursor and fields

    @describe("List models", answer=ModelAnswer, many=True)
    def get(self, request: Request) -> Response:
        return self.page(selectors.models(self.actor, ...), ModelAnswer)

    @describe("Create a model", command=CreateModel, answer=ModelAnswer, status=201)
    def post(self, request: Request) -> Response:
        given = self.command(CreateModel)
        model = services.create_model(actor=self.actor, **given)
        return self.answer(ModelAnswer(model).data, etag_of=model, status=201)
"""

import json
import re
from collections.abc import Iterator, Mapping
from typing import Any, ClassVar, NoReturn

from django.db.models import QuerySet
from django.http import HttpRequest
from django.http.response import HttpResponseBase
from rest_framework import exceptions, serializers
from rest_framework.parsers import BaseParser
from rest_framework.request import Request
from rest_framework.response import Response
from rest_framework.views import APIView

from controlplane.http import etags, idempotency
from controlplane.http.pagination import NewestFirst
from controlplane.http.permissions import actor_of
from controlplane.http.problems import FieldError, WrongInputs, handle
from controlplane.kernel.actor import Actor, ActorKind
from controlplane.kernel.errors import ControlPlaneError, Missing

EVERY_LIST = ("limit", "cursor", "fields")
UNSTORABLE = re.compile("[\x00\ud800-\udfff]")
MAX_DEPTH = 60


class Command(serializers.Serializer[Any]):
    """The body of one verb. A field that is not declared is refused, never ignored."""

    def to_internal_value(self, data: Any) -> Any:
        """Refuse unknown names, then check the known ones."""
        if isinstance(data, Mapping):
            unknown = sorted(str(name) for name in data if name not in self.fields)
            if unknown:
                known = ", ".join(n for n, f in self.fields.items() if not f.read_only) or "none"
                raise serializers.ValidationError(
                    {
                        name: [f"There is no such field. The fields here are: {known}."]
                        for name in unknown
                    },
                    code="unknown_field",
                )
        return super().to_internal_value(data)


class Reasoned(Command):
    """The body of a verb that takes nothing but, perhaps, a reason."""

    reason = serializers.CharField(max_length=2000, required=False, allow_blank=True)


class StrictJSON(BaseParser):
    """JSON as RFC 8259 has it: no NaN, no doubled names, nothing a database cannot hold."""

    media_type = "application/json"

    def parse(
        self,
        stream: Any,
        media_type: str | None = None,
        parser_context: Mapping[str, Any] | None = None,
    ) -> Any:
        """Return what the body says.

        Raises:
            ParseError: It is not JSON, or holds what JSON or the database does not allow.
        """
        # Django's `body` keeps the limit on size; a bare read would not.
        return strict_json(stream.body if isinstance(stream, HttpRequest) else stream.read())


def strict_json(body: bytes) -> Any:
    """Return what `body` says.

    Raises:
        ParseError: It is not JSON, or holds what JSON or the database does not allow.
    """
    try:
        value = json.loads(
            body.decode("utf-8"),
            parse_constant=_refuse_constant,
            object_pairs_hook=_refuse_doubled,
        )
    except UnicodeDecodeError as error:
        raise exceptions.ParseError("The body is not UTF-8.") from error
    except json.JSONDecodeError as error:
        raise exceptions.ParseError(
            f"The body is not JSON: {error.msg} at line {error.lineno}, column {error.colno}."
        ) from error
    except RecursionError as error:
        raise exceptions.ParseError("The body is nested too deeply.") from error
    except ValueError as error:
        raise exceptions.ParseError(f"The body is not JSON: {error}.") from error
    _refuse_unstorable(value)
    return value


def _refuse_constant(name: str) -> None:
    raise ValueError(f"{name} is not a JSON number")


def _refuse_doubled(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found = dict(pairs)
    if len(found) != len(pairs):
        doubled = next(n for n in found if sum(n == name for name, _ in pairs) > 1)
        raise ValueError(f"the name {doubled[:60]!r} stands there twice")
    return found


def _refuse_unstorable(value: Any, depth: int = 0) -> None:
    if depth > MAX_DEPTH:
        raise exceptions.ParseError(f"The body is nested deeper than {MAX_DEPTH} levels.")
    if isinstance(value, str):
        if UNSTORABLE.search(value):
            raise exceptions.ParseError("A text holds a NUL or half a surrogate pair.")
    elif isinstance(value, dict):
        for name, inner in value.items():
            _refuse_unstorable(name, depth + 1)
            _refuse_unstorable(inner, depth + 1)
    elif isinstance(value, list):
        for inner in value:
            _refuse_unstorable(inner, depth + 1)


class Resource(APIView):
    """A REST view of the product.

    Attributes:
        query: The query parameters it knows, beside `limit`, `cursor` and `fields`; any other is
            refused, because a misspelt filter that is ignored shows too much.
        shown_once: Names in its answers that are secrets, and are never kept for a repetition.
    """

    query: ClassVar[tuple[str, ...]] = ()
    shown_once: ClassVar[tuple[str, ...]] = ()
    parser_classes = [StrictJSON]  # noqa: RUF012

    @property
    def actor(self) -> Actor:
        """Return who asks."""
        return actor_of(self.request._request)

    def dispatch(self, request: HttpRequest, *args: Any, **kwargs: Any) -> HttpResponseBase:
        """Answer one request; a POST with an Idempotency-Key happens once."""

        def work() -> HttpResponseBase:
            response = super(Resource, self).dispatch(request, *args, **kwargs)
            if isinstance(response, Response):
                response.render()
            return response

        known = actor_of(request).kind is not ActorKind.ANONYMOUS
        if request.method != "POST" or "Idempotency-Key" not in request.headers or not known:
            return super().dispatch(request, *args, **kwargs)
        try:
            return idempotency.once(request, work, shown_once=self.shown_once)
        except ControlPlaneError as error:
            return self._refuse(request, error, *args, **kwargs)

    def initial(self, request: Request, *args: Any, **kwargs: Any) -> None:
        """Check who asks, and that the address makes sense."""
        super().initial(request, *args, **kwargs)
        if any(isinstance(v, str) and UNSTORABLE.search(v) for v in kwargs.values()):
            raise Missing("There is nothing at this address.", code="request.not_found")
        known = (*self.query, *EVERY_LIST)
        wrong = [
            FieldError(
                name,
                f"There is no such query parameter. Known here: {', '.join(known)}.",
                "unknown_parameter",
            )
            for name in request.query_params
            if name not in known
        ]
        wrong += [
            FieldError(name, "The value holds a NUL or half a surrogate pair.", "unstorable")
            for name, values in request.query_params.lists()
            if name in known and any(UNSTORABLE.search(v) for v in values)
        ]
        if wrong:
            raise WrongInputs(tuple(wrong))

    def command(self, serializer_class: type[serializers.Serializer[Any]]) -> dict[str, Any]:
        """Return the body, checked by `serializer_class`.

        Raises:
            ValidationError: Every wrong field is named.
        """
        data = self.request.data
        if not isinstance(data, Mapping):
            raise exceptions.ParseError("The body must be one JSON object.")
        serializer = serializer_class(
            data=data, context={"request": self.request, "actor": self.actor}
        )
        serializer.is_valid(raise_exception=True)
        return dict(serializer.validated_data)

    def page(
        self,
        queryset: QuerySet[Any],
        serializer_class: type[serializers.BaseSerializer[Any]],
        **context: Any,
    ) -> Response:
        """Return one page of `queryset`, cut by `?limit=` and `?cursor=`."""
        pages = NewestFirst()
        rows = pages.paginate_queryset(queryset, self.request, self)
        shown = serializer_class(
            rows, many=True, context={"request": self.request, "actor": self.actor, **context}
        )
        return Response(pages.body([self._chosen(row) for row in shown.data]))

    def answer(
        self,
        data: Any,
        *,
        etag_of: etags.Stamped | None = None,
        status: int = 200,
        location: str = "",
    ) -> Response:
        """Return `data`, with the entity tag of the row it shows; 304 when the client has it."""
        response = Response(self._chosen(data), status=status)
        if location:
            response["Location"] = location
        if etag_of is None:
            return response
        tag = etags.tag_of(etag_of, response.data)
        known = self.request.headers.get("If-None-Match", "")
        if self.request.method in ("GET", "HEAD") and known and etags.unchanged(known, tag):
            response = Response(status=304)
        response["ETag"] = tag
        return response

    def match(self, row: etags.Stamped) -> None:
        """Refuse with 412 when the client's If-Match names an older state of `row`."""
        etags.match(self.request.headers.get("If-Match"), row)

    def permission_denied(
        self, request: Request, message: str | None = None, code: str | None = None
    ) -> NoReturn:
        """Say 401 to whoever is nobody, 403 to anybody else."""
        if actor_of(request._request).kind is ActorKind.ANONYMOUS:
            raise exceptions.NotAuthenticated()
        super().permission_denied(request, message=message, code=code)

    def _chosen(self, data: Any) -> Any:
        """Return only the fields that `?fields=` names, where it names some."""
        wanted = self.request.query_params.get("fields", "")
        if not wanted or not isinstance(data, Mapping):
            return data
        names = list(_names(wanted))
        missing = [FieldError("fields", f"{n[:60]} is no field.", "unknown_field") for n in names
                   if n not in data]  # fmt: skip
        if missing:
            raise WrongInputs(tuple(missing))
        return {name: data[name] for name in names}

    def _refuse(
        self, request: HttpRequest, error: ControlPlaneError, *args: Any, **kwargs: Any
    ) -> HttpResponseBase:
        """Answer an error that arose before REST framework took the request over."""
        drf_request = self.initialize_request(request, *args, **kwargs)
        self.request, self.headers = drf_request, {}
        response = handle(error, {"request": drf_request, "view": self})
        if response is None:
            raise error
        neg = self.perform_content_negotiation(drf_request, force=True)
        drf_request.accepted_renderer, drf_request.accepted_media_type = neg
        return self.finalize_response(drf_request, response, *args, **kwargs)


def _names(given: str) -> Iterator[str]:
    return (name.strip() for name in given.split(",") if name.strip())
