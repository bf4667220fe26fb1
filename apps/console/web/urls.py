"""Page addresses of console."""

from django.urls import URLPattern, URLResolver, path

from apps.console.web import views

urlpatterns: list[URLPattern | URLResolver] = [
    path("theme", views.theme, name="theme"),
]
