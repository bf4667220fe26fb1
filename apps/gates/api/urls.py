"""REST addresses of policies, gates, evidence and waivers."""

from django.urls import URLPattern, URLResolver, path

from apps.gates.api import policies

urlpatterns: list[URLPattern | URLResolver] = [
    path("policies", policies.Policies.as_view(), name="api-policies"),
    path("policies/dry-run", policies.PolicyDryRun.as_view(), name="api-policy-dry-run"),
    path(
        "policies/<str:environment>/<str:tier>",
        policies.PolicyDetail.as_view(),
        name="api-policy",
    ),
    path(
        "policies/<str:environment>/<str:tier>/versions",
        policies.PolicyVersions.as_view(),
        name="api-policy-versions",
    ),
    path("gates", policies.Gates.as_view(), name="api-gates"),
    path("ml-test-score", policies.MLTestScore.as_view(), name="api-ml-test-score"),
]
