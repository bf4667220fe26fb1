"""The web process: Django, and beside it what it should not carry: live events, MLflow's door."""

import os
from typing import cast

os.environ.setdefault("DJANGO_SETTINGS_MODULE", "controlplane.project.settings.dev")

from django.core.asgi import get_asgi_application

django = get_asgi_application()

from apps.console.live import live_events  # noqa: E402
from apps.registry.api.quick import QuickReads  # noqa: E402
from apps.registry.api.quick_register import QuickRegister  # noqa: E402
from apps.registry.api.upload_bytes import upload_bytes  # noqa: E402
from apps.registry.door.proxy import mlflow_door  # noqa: E402
from controlplane.db.pool import share_connections  # noqa: E402
from controlplane.http.asgi import Application, by_prefix  # noqa: E402
from controlplane.project import checks  # noqa: E402

checks.refuse_misconfigured()
share_connections()

application = QuickReads(
    QuickRegister(
        by_prefix(
            {"/mlflow": mlflow_door, "/live": live_events, "/uploads": upload_bytes},
            otherwise=cast(Application, django),  # Django's types narrow the scope to a dict
        )
    )
)
