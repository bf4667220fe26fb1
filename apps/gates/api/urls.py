"""REST addresses of policies, gates, evidence and waivers."""

from django.urls import URLPattern, URLResolver, path

from apps.gates.api import evidence, policies

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
    path("evidence", evidence.EvidenceList.as_view(), name="api-evidence-list"),
    path("evidence/<str:evidence_id>", evidence.EvidenceDetail.as_view(), name="api-evidence"),
    path(
        "evidence/<str:evidence_id>/files/<path:filename>",
        evidence.EvidenceFile.as_view(),
        name="api-evidence-file",
    ),
    path("waivers", evidence.Waivers.as_view(), name="api-waivers"),
    path(
        "waivers/<str:waiver_id>/withdraw",
        evidence.WaiverWithdraw.as_view(),
        name="api-waiver-withdraw",
    ),
    path(
        "checklists/<str:checklist_id>",
        evidence.ChecklistDetail.as_view(),
        name="api-checklist",
    ),
    path(
        "checklists/<str:checklist_id>/gates/<str:gate>/run",
        evidence.GateRun.as_view(),
        name="api-gate-run",
    ),
]
