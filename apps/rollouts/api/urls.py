"""REST addresses of rollouts and strategies."""

from django.urls import URLPattern, URLResolver, path

from apps.rollouts.api import strategies, views

ONE = "rollouts/<str:rollout_id>"
TEMPLATES = "environments/<str:slug>/strategy-templates"
urlpatterns: list[URLPattern | URLResolver] = [
    path("rollouts", views.Rollouts.as_view(), name="api-rollouts"),
    path("rollouts/rehearse", views.Rehearse.as_view(), name="api-rollout-rehearse"),
    path(ONE, views.RolloutDetail.as_view(), name="api-rollout"),
    path(f"{ONE}/events", views.RolloutEvents.as_view(), name="api-rollout-events"),
    path(f"{ONE}/pause", views.Pause.as_view(), name="api-rollout-pause"),
    path(f"{ONE}/resume", views.Resume.as_view(), name="api-rollout-resume"),
    path(f"{ONE}/skip", views.Skip.as_view(), name="api-rollout-skip"),
    path(f"{ONE}/promote", views.Promote.as_view(), name="api-rollout-promote"),
    path(f"{ONE}/abort", views.Abort.as_view(), name="api-rollout-abort"),
    path(TEMPLATES, strategies.StrategyTemplates.as_view(), name="api-strategy-templates"),
    path(
        f"{TEMPLATES}/<str:template>",
        strategies.StrategyTemplateDetail.as_view(),
        name="api-strategy-template",
    ),
    path("strategies/preview", strategies.StrategyPreview.as_view(), name="api-strategy-preview"),
]
