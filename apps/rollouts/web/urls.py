"""Page addresses of rollouts."""

from django.urls import URLPattern, URLResolver, path

from apps.rollouts.web import rehearsing, strategies, views

TEMPLATE = "strategies/<str:environment>/<str:template>"
urlpatterns: list[URLPattern | URLResolver] = [
    path("rollouts", views.rollouts, name="rollouts"),
    path("rollouts/count", views.count, name="count-rollouts"),
    path("rollouts/rehearse", rehearsing.rehearse, name="rehearse"),
    path("rollouts/<str:rollout_id>", views.rollout, name="rollout"),
    path("rollouts/<str:rollout_id>/pause", views.pause, name="pause-rollout"),
    path("rollouts/<str:rollout_id>/resume", views.resume, name="resume-rollout"),
    path("rollouts/<str:rollout_id>/skip", views.skip, name="skip-step"),
    path("rollouts/<str:rollout_id>/promote", views.promote, name="promote-rollout"),
    path("rollouts/<str:rollout_id>/abort", views.abort, name="abort-rollout"),
    path("strategies", strategies.strategies, name="strategies"),
    path("strategies/new", strategies.new, name="new-strategy"),
    path("strategies/preview", strategies.preview, name="strategy-preview"),
    path(TEMPLATE, strategies.template, name="strategy"),
    path(f"{TEMPLATE}/default", strategies.make_default, name="strategy-default"),
    path(f"{TEMPLATE}/remove", strategies.remove, name="strategy-remove"),
]
