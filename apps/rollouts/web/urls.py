"""Page addresses of rollouts."""

from django.urls import URLPattern, URLResolver, path

from apps.rollouts.web import views

urlpatterns: list[URLPattern | URLResolver] = [
    path("rollouts", views.rollouts, name="rollouts"),
    path("rollouts/count", views.count, name="count-rollouts"),
    path("rollouts/<str:rollout_id>", views.rollout, name="rollout"),
    path("rollouts/<str:rollout_id>/pause", views.pause, name="pause-rollout"),
    path("rollouts/<str:rollout_id>/resume", views.resume, name="resume-rollout"),
    path("rollouts/<str:rollout_id>/skip", views.skip, name="skip-step"),
    path("rollouts/<str:rollout_id>/promote", views.promote, name="promote-rollout"),
    path("rollouts/<str:rollout_id>/abort", views.abort, name="abort-rollout"),
]
