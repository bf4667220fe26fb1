"""Page addresses of environments."""

from django.urls import URLPattern, URLResolver, path

from apps.environments.web import views

urlpatterns: list[URLPattern | URLResolver] = [
    path("freezes", views.freezes, name="freezes"),
    path("freezes/<str:freeze_id>/end", views.end, name="freeze-end"),
]
