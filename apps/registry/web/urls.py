"""Page addresses of registry; a model's and a version's own pages are console's."""

from django.urls import URLPattern, URLResolver, path

from apps.registry.web import views

urlpatterns: list[URLPattern | URLResolver] = [
    path("models", views.models, name="models"),
    path("models/new", views.new_model, name="new-model"),
    path("models/<str:name>/edit", views.edit_model, name="edit-model"),
    path("models/<str:name>/archive", views.archive_model, name="archive-model"),
    path("models/<str:name>/restore", views.restore_model, name="restore-model"),
    path("models/<str:name>/aliases", views.move_alias, name="move-alias"),
    path("models/<str:name>/aliases/<str:alias>/remove", views.remove_alias, name="remove-alias"),
    path("models/<str:name>/register", views.register, name="register"),
    path("models/<str:name>/compare", views.compare, name="compare"),
    path(
        "models/<str:name>/versions/<int:number>/archive",
        views.archive_version,
        name="archive-version",
    ),
    path(
        "models/<str:name>/versions/<int:number>/restore",
        views.restore_version,
        name="restore-version",
    ),
]
