"""REST addresses of analyses."""

from django.urls import URLPattern, URLResolver, path

from apps.analysis.api import views

ONE = "analysis-runs/<str:analysis_id>"
urlpatterns: list[URLPattern | URLResolver] = [
    path(ONE, views.AnalysisRunDetail.as_view(), name="api-analysis-run"),
    path(f"{ONE}/looks", views.AnalysisRunLooks.as_view(), name="api-analysis-run-looks"),
]
