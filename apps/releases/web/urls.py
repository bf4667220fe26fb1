"""Page addresses of releases."""

from django.urls import URLPattern, URLResolver, path

from apps.releases.web import acts, export, inbox, proposing, views

urlpatterns: list[URLPattern | URLResolver] = [
    path("inbox", inbox.inbox, name="inbox"),
    path("releases", views.releases, name="releases"),
    path("releases/new", proposing.propose, name="propose-release"),
    path("releases/<int:number>", views.release, name="release"),
    path("releases/<int:number>/bundle", export.bundle, name="release-bundle"),
    path("releases/<int:number>/approve", acts.approve, name="approve-release"),
    path("releases/<int:number>/request-changes", acts.request_changes, name="ask-for-changes"),
    path("releases/<int:number>/decline", acts.decline, name="decline-release"),
    path("releases/<int:number>/take-back", acts.take_back, name="take-back-decision"),
    path("releases/<int:number>/comment", acts.comment, name="comment-release"),
    path("releases/<int:number>/withdraw", acts.withdraw, name="withdraw-release"),
    path("releases/<int:number>/revise", proposing.revise, name="revise-release"),
    path("releases/<int:number>/promote", acts.promote, name="promote-release"),
    path("releases/<int:number>/roll-back", acts.roll_back, name="roll-back-release"),
    path("releases/<int:number>/review", acts.review, name="review-release"),
    path("releases/<int:number>/break-glass", proposing.break_glass, name="break-glass"),
    path("releases/<int:number>/gates/<str:gate>/run", acts.run_gate, name="run-gate"),
    path("releases/<int:number>/gates/<str:gate>/waive", acts.waive_gate, name="waive-gate"),
]
