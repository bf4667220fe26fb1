"""Root URL table: pages at the root, the API under /api/v1, one include per app."""

from django.urls import URLPattern, URLResolver, include, path

from controlplane.project import health

api: list[URLPattern | URLResolver] = [
    path("", include("apps.accounts.api.urls")),
    path("", include("apps.audit.api.urls")),
    path("", include("apps.environments.api.urls")),
    path("", include("apps.registry.api.urls")),
    path("", include("apps.builds.api.urls")),
    path("", include("apps.endpoints.api.urls")),
    path("", include("apps.console.api.urls")),
]

urlpatterns: list[URLPattern | URLResolver] = [
    path("livez", health.livez, name="livez"),
    path("readyz", health.readyz, name="readyz"),
    path("metrics", health.metrics, name="metrics"),
    path("api/v1/", include(api)),
    path("", include("apps.accounts.web.urls")),
    path("", include("apps.registry.web.urls")),
    path("", include("apps.builds.web.urls")),
    path("", include("apps.endpoints.web.urls")),
    path("", include("apps.audit.web.urls")),
    path("", include("apps.console.web.urls")),
]
