"""Probes for whatever watches the web process."""

from django.db import connection
from django.http import HttpRequest, HttpResponse, JsonResponse
from prometheus_client import CONTENT_TYPE_LATEST, generate_latest


def livez(request: HttpRequest) -> HttpResponse:
    """Say that the process answers; nothing else is asked."""
    return HttpResponse("ok\n", content_type="text/plain")


def readyz(request: HttpRequest) -> HttpResponse:
    """Say whether the process can do its work: the database answers."""
    try:
        with connection.cursor() as cursor:
            cursor.execute("SELECT 1")
    except Exception as error:
        return JsonResponse({"ready": False, "database": str(error).strip()}, status=503)
    return JsonResponse({"ready": True})


def metrics(request: HttpRequest) -> HttpResponse:
    """Return the process's own metrics in Prometheus' text format."""
    return HttpResponse(generate_latest(), content_type=CONTENT_TYPE_LATEST)
