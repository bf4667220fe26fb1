"""Page addresses of builds."""

from django.urls import URLPattern, URLResolver, path

from apps.builds.web import views

urlpatterns: list[URLPattern | URLResolver] = [
    path("builds", views.builds, name="builds"),
    path("builds/<str:public_id>", views.build, name="build"),
    path("builds/<str:public_id>/cancel", views.cancel, name="cancel-build"),
    path("builds/<str:public_id>/retry", views.retry, name="retry-build"),
    path("models/<str:name>/versions/<int:number>/build", views.start, name="start-build"),
]
