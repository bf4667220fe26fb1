"""Page addresses of policies and of readiness."""

from django.urls import URLPattern, path

from apps.gates.web import policies, readiness

urlpatterns: list[URLPattern] = [
    path("policies", policies.policy_list, name="policies"),
    path("policies/<str:environment>/<str:tier>", policies.policy, name="policy"),
    path(
        "models/<str:name>/versions/<int:number>/statements",
        readiness.state,
        name="version-statements",
    ),
]
