"""Root URL table: pages at the root, the API under /api/v1, one include per app."""

from django.urls import URLPattern, URLResolver, include, path

from controlplane.http import api_docs, catalogue
from controlplane.project import health

handler400 = "controlplane.http.problems.bad_request"
handler403 = "controlplane.http.problems.forbidden"
handler404 = "controlplane.http.problems.not_found"
handler500 = "controlplane.http.problems.server_fault"

api: list[URLPattern | URLResolver] = [
    path("openapi.json", api_docs.openapi, name="api-document"),
    path("docs", api_docs.docs, name="api-docs"),
    path("", include("apps.accounts.api.urls")),
    path("", include("apps.notifications.api.urls")),
    path("", include("apps.environments.api.urls")),
    path("", include("apps.registry.api.urls")),
    path("", include("apps.builds.api.urls")),
    path("", include("apps.endpoints.api.urls")),
    path("", include("apps.monitoring.api.urls")),
    path("", include("apps.slos.api.urls")),
    path("", include("apps.gates.api.urls")),
    path("", include("apps.approvals.api.urls")),
    path("", include("apps.analysis.api.urls")),
    path("", include("apps.rollouts.api.urls")),
    path("", include("apps.releases.api.urls")),
    path("", include("apps.console.api.urls")),
]

urlpatterns: list[URLPattern | URLResolver] = [
    path("livez", health.livez, name="livez"),
    path("readyz", health.readyz, name="readyz"),
    path("metrics", health.metrics, name="metrics"),
    path("docs/problems", catalogue.problems_page, name="problems"),
    path("api/v1/", include(api)),
    path("", include("apps.accounts.web.urls")),
    path("", include("apps.notifications.web.urls")),
    path("", include("apps.environments.web.urls")),
    path("", include("apps.slos.web.urls")),
    path("", include("apps.gates.web.urls")),
    path("", include("apps.approvals.web.urls")),
    path("", include("apps.rollouts.web.urls")),
    path("", include("apps.releases.web.urls")),
    path("", include("apps.registry.web.urls")),
    path("", include("apps.builds.web.urls")),
    path("", include("apps.endpoints.web.urls")),
    path("", include("apps.console.web.urls")),
]
