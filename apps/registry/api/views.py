"""REST of the registry."""

from functools import partial
from typing import Any, ClassVar

from django.http.response import HttpResponseBase
from rest_framework.request import Request
from rest_framework.response import Response

from apps.registry import blobs, selectors, services
from apps.registry.api import serializers as shapes
from apps.registry.api.filters import number_of, text_of, texts_of
from apps.registry.models import ModelVersion
from apps.registry.services import Registered, UploadedPath
from controlplane.http.api import Reasoned, Resource
from controlplane.http.files import download
from controlplane.http.openapi import describe
from controlplane.http.rendering import QuickJSON
from controlplane.kernel.errors import Missing


class RegistryResource(Resource):
    """A view of the registry: the same shape, rendered quickly."""

    renderer_classes = [QuickJSON]  # noqa: RUF012


class Models(RegistryResource):
    """Registered models."""

    query: ClassVar[tuple[str, ...]] = ("q", "team", "risk_tier", "archived", "sort")

    @describe("List models", answer=shapes.ModelAnswer, many=True)
    def get(self, request: Request) -> Response:
        """Return the models that the actor may see, the last changed first."""
        given = request.query_params
        rows = selectors.models(
            self.actor,
            q=text_of(given, "q"),
            team=text_of(given, "team"),
            risk_tier=text_of(given, "risk_tier"),
            archived=text_of(given, "archived") in ("1", "true"),
            sort=text_of(given, "sort") or "-changed",
        )
        return self.page(rows, shapes.ModelAnswer)

    @describe("Create a model", command=shapes.CreateModel, answer=shapes.ModelAnswer, status=201)
    def post(self, request: Request) -> Response:
        """Create one."""
        model = services.create_model(actor=self.actor, **self.command(shapes.CreateModel))
        return self.answer(
            shapes.ModelAnswer(model).data,
            etag_of=model,
            status=201,
            location=f"/api/v1/models/{model.name}",
        )


class Model(RegistryResource):
    """One registered model."""

    @describe("Show a model", answer=shapes.ModelAnswer)
    def get(self, request: Request, name: str) -> Response:
        """Return it."""
        return _model(self, name)

    @describe("Edit a model", command=shapes.EditModel, answer=shapes.ModelAnswer)
    def patch(self, request: Request, name: str) -> Response:
        """Change what people wrote about it."""
        changes = self.command(shapes.EditModel)
        self.match(selectors.model(self.actor, name))
        services.edit_model(actor=self.actor, name=name, changes=changes)
        return _model(self, name)


class ModelArchive(RegistryResource):
    """Taking a model out of the lists."""

    @describe("Archive a model", command=Reasoned, answer=shapes.ModelAnswer)
    def post(self, request: Request, name: str) -> Response:
        """Archive it."""
        services.archive_model(actor=self.actor, name=name, **self.command(Reasoned))
        return _model(self, name)


class ModelRestore(RegistryResource):
    """Bringing a model back."""

    @describe("Restore a model", command=Reasoned, answer=shapes.ModelAnswer)
    def post(self, request: Request, name: str) -> Response:
        """Restore it."""
        services.restore_model(actor=self.actor, name=name, **self.command(Reasoned))
        return _model(self, name)


class Versions(RegistryResource):
    """The versions of one model."""

    query: ClassVar[tuple[str, ...]] = (
        "state", "format", "q", "metric", "sort", "create_model", "team",
    )  # fmt: skip

    @describe("List the versions of a model", answer=shapes.VersionAnswer, many=True)
    def get(self, request: Request, name: str) -> Response:
        """Return them, the newest first."""
        given = request.query_params
        rows = selectors.versions(
            selectors.model(self.actor, name),
            state=text_of(given, "state"),
            format=text_of(given, "format"),
            q=text_of(given, "q"),
            metric=texts_of(given, "metric"),
            sort=text_of(given, "sort") or "-number",
        )
        return self.page(rows, shapes.VersionAnswer)

    @describe(
        "Register a version",
        command=shapes.RegisterVersion,
        answer=shapes.VersionAnswer,
        status=201,
        also=(200,),
    )
    def post(self, request: Request, name: str) -> Response:
        """Register one; the same bytes again answer 200 with the version there is."""
        given = self.command(shapes.RegisterVersion)
        if text_of(request.query_params, "create_model") in ("1", "true"):
            self._have_model(name, text_of(request.query_params, "team"))
        registered = self._register(name, given)
        version = registered.version
        return self.answer(
            shapes.VersionAnswer(version).data,
            etag_of=version,
            status=201 if registered.created else 200,
            location=f"/api/v1/models/{name}/versions/{version.number}",
        )

    def _have_model(self, name: str, team: str) -> None:
        try:
            selectors.model(self.actor, name)
        except Missing:
            team = team or services.home_team(self.actor)
            services.create_model(actor=self.actor, name=name, team=team)

    def _register(self, name: str, given: dict[str, Any]) -> Registered:
        details = shapes.details_of(given)
        if "run_id" in given:
            return services.register_run(
                actor=self.actor,
                model=name,
                run_id=given["run_id"],
                artifact_path=given.get("artifact_path", ""),
                details=details,
            )
        placed = given.get("uploads") or [{"upload": given["upload"]}]
        uploads = [UploadedPath(p["upload"], p.get("path", "")) for p in placed]
        return services.register_version(
            actor=self.actor, model=name, uploads=uploads, details=details
        )


class Version(RegistryResource):
    """One version."""

    @describe("Show a version", answer=shapes.VersionAnswer)
    def get(self, request: Request, name: str, number: int) -> Response:
        """Return it."""
        return _version(self, selectors.version(self.actor, name, number))

    @describe("Edit a version", command=shapes.EditVersion, answer=shapes.VersionAnswer)
    def patch(self, request: Request, name: str, number: int) -> Response:
        """Change what people wrote about it; its bytes never change."""
        changes = self.command(shapes.EditVersion)
        self.match(selectors.version(self.actor, name, number))
        version = services.edit_version(
            actor=self.actor, model=name, number=number, changes=changes
        )
        return _version(self, version)


class VersionArchive(RegistryResource):
    """Taking a version out of use."""

    @describe("Archive a version", command=Reasoned, answer=shapes.VersionAnswer)
    def post(self, request: Request, name: str, number: int) -> Response:
        """Archive it."""
        given = self.command(Reasoned)
        return _version(
            self, services.archive_version(actor=self.actor, model=name, number=number, **given)
        )


class VersionRestore(RegistryResource):
    """Bringing a version back."""

    @describe("Restore a version", command=Reasoned, answer=shapes.VersionAnswer)
    def post(self, request: Request, name: str, number: int) -> Response:
        """Restore it."""
        given = self.command(Reasoned)
        return _version(
            self, services.restore_version(actor=self.actor, model=name, number=number, **given)
        )


class Files(RegistryResource):
    """The manifest of a version."""

    @describe("List the files of a version", answer=shapes.FilesAnswer)
    def get(self, request: Request, name: str, number: int) -> Response:
        """Return path, digest and size of every file."""
        version = selectors.version(self.actor, name, number)
        listed = [
            {"path": f.path, "sha256": f.sha256, "size": f.size} for f in selectors.files(version)
        ]
        body = {"digest": version.manifest_digest, "size": version.size, "files": listed}
        return self.answer(body, etag_of=version)


class File(RegistryResource):
    """The bytes of one file."""

    @describe("Download a file of a version")
    def get(self, request: Request, name: str, number: int, path: str) -> HttpResponseBase:
        """Stream it; its entity tag is its digest."""
        version = selectors.version(self.actor, name, number)
        file = selectors.file(version, path)
        return download(
            request._request,
            sha256=file.sha256,
            size=file.size,
            path=file.path,
            opened=partial(blobs.open_blob, file.sha256),
        )


class Compare(RegistryResource):
    """Two versions side by side."""

    query: ClassVar[tuple[str, ...]] = ("left", "right")

    @describe("Compare two versions", answer=shapes.ComparisonAnswer)
    def get(self, request: Request, name: str) -> Response:
        """Return what differs."""
        left, right = (number_of(request.query_params, side) for side in ("left", "right"))
        comparison = selectors.compare(self.actor, name, left, right)
        return self.answer(shapes.ComparisonAnswer(comparison).data)


class AliasOf(RegistryResource):
    """An alias of a model."""

    @describe("Show the version that an alias names", answer=shapes.VersionAnswer)
    def get(self, request: Request, name: str, alias: str) -> Response:
        """Return the version."""
        return _version(self, selectors.version_by_alias(self.actor, name, alias))

    @describe("Let an alias name a version", command=shapes.MoveAlias, answer=shapes.AliasAnswer)
    def put(self, request: Request, name: str, alias: str) -> Response:
        """Move it there, creating it when there is none."""
        given = self.command(shapes.MoveAlias)
        number = given.pop("version")
        moved = services.move_alias(
            actor=self.actor, model=name, alias=alias, number=number, **given
        )
        body = {"alias": moved.name, "version": number, "changed_at": moved.changed_at}
        return self.answer(body)

    @describe("Remove an alias", status=204)
    def delete(self, request: Request, name: str, alias: str) -> Response:
        """Remove it; the version stays."""
        services.remove_alias(actor=self.actor, model=name, alias=alias)
        return Response(status=204)


class Uploads(RegistryResource):
    """Files on their way in."""

    @describe(
        "Announce a file", command=shapes.BeginUpload, answer=shapes.UploadAnswer, status=201
    )
    def post(self, request: Request) -> Response:
        """Begin an upload; then PATCH its bytes to `bytes_url`."""
        upload = services.begin_upload(actor=self.actor, **self.command(shapes.BeginUpload))
        return self.answer(
            shapes.UploadAnswer(upload, context={"request": request}).data,
            status=201,
            location=shapes.upload_address(upload),
        )


class UploadOne(RegistryResource):
    """One upload."""

    @describe("Show an upload", answer=shapes.UploadAnswer)
    def get(self, request: Request, upload_id: str) -> Response:
        """Return it; `received` says where to go on."""
        upload = selectors.upload(self.actor, upload_id)
        return self.answer(shapes.UploadAnswer(upload, context={"request": request}).data)

    @describe("Drop an upload", status=204)
    def delete(self, request: Request, upload_id: str) -> Response:
        """Drop it with its bytes."""
        services.abandon_upload(actor=self.actor, public_id=upload_id)
        return Response(status=204)


def _model(view: RegistryResource, name: str) -> Response:
    model = selectors.model_with_aliases(view.actor, name)
    return view.answer(shapes.ModelAnswer(model).data, etag_of=model)


def _version(view: RegistryResource, version: ModelVersion) -> Response:
    return view.answer(shapes.VersionAnswer(version).data, etag_of=version)
