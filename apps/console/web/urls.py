"""Page addresses of console: home, search, and what shows more than one area."""

from django.urls import URLPattern, URLResolver, path

from apps.console.web import home, journey, search, serving, theme

urlpatterns: list[URLPattern | URLResolver] = [
    path("", home.home, name="home"),
    path("search", search.search, name="search"),
    path("theme", theme.theme, name="theme"),
    path("models/<str:name>", journey.model, name="model"),
    path("models/<str:name>/versions/<int:number>", journey.version, name="version"),
    path("endpoints", serving.endpoint_list, name="endpoints"),
    path("endpoints/<str:environment>/<str:name>", serving.endpoint, name="endpoint"),
    path("endpoints/<str:environment>/<str:name>/predict", serving.predict, name="try"),
    path("endpoints/<str:environment>/<str:name>/keys", serving.make_key, name="make-key"),
]
