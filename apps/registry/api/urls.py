"""REST addresses of the registry."""

from django.urls import URLPattern, URLResolver, path

from apps.registry.api import views

MODEL = "models/<str:name>"
VERSION = f"{MODEL}/versions/<int:number>"

urlpatterns: list[URLPattern | URLResolver] = [
    path("models", views.Models.as_view(), name="api-models"),
    path(MODEL, views.Model.as_view(), name="api-model"),
    path(f"{MODEL}/archive", views.ModelArchive.as_view(), name="api-model-archive"),
    path(f"{MODEL}/restore", views.ModelRestore.as_view(), name="api-model-restore"),
    path(f"{MODEL}/compare", views.Compare.as_view(), name="api-compare"),
    path(f"{MODEL}/aliases/<str:alias>", views.AliasOf.as_view(), name="api-alias"),
    path(f"{MODEL}/versions", views.Versions.as_view(), name="api-versions"),
    path(VERSION, views.Version.as_view(), name="api-version"),
    path(f"{VERSION}/archive", views.VersionArchive.as_view(), name="api-version-archive"),
    path(f"{VERSION}/restore", views.VersionRestore.as_view(), name="api-version-restore"),
    path(f"{VERSION}/files", views.Files.as_view(), name="api-files"),
    path(f"{VERSION}/files/<path:path>", views.File.as_view(), name="api-file"),
    path("uploads", views.Uploads.as_view(), name="api-uploads"),
    path("uploads/<str:upload_id>", views.UploadOne.as_view(), name="api-upload"),
]
