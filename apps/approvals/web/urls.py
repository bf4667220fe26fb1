"""Page addresses of approvals: who stands in for whom. Decisions are taken on releases' pages."""

from django.urls import URLPattern, URLResolver, path

from apps.approvals.web import views

urlpatterns: list[URLPattern | URLResolver] = [
    path("delegations", views.delegate, name="delegate"),
    path("delegations/<str:public_id>/end", views.end, name="end-delegation"),
]
