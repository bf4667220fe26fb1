"""The Celery application, its queues and its beat table, on one screen.

Queues: `passes` for reconcile passes (short), `gpu` for workers that found a GPU at start.
Correctness rests on the sweeps below; nudged passes only come sooner.
"""

import os

os.environ.setdefault("DJANGO_SETTINGS_MODULE", "controlplane.project.settings.dev")

from typing import Any

from celery import Celery
from celery.signals import setup_logging, worker_init

from controlplane.project import checks

app = Celery("modelyard")
app.config_from_object("django.conf:settings", namespace="CELERY")
app.autodiscover_tasks(["workers"], related_name="tasks")
app.conf.imports = ["workers.heartbeat", "workers.ledger", "workers.recovery"]

app.conf.beat_schedule = {
    "sweep": {"task": "workers.sweep", "schedule": 1.0, "options": {"expires": 3}},
    "deliver": {"task": "workers.deliver", "schedule": 1.0, "options": {"expires": 3}},
    "seal": {"task": "workers.seal", "schedule": 1.0, "options": {"expires": 3}},
    "recover": {"task": "workers.recover", "schedule": 4.0, "options": {"expires": 4}},
    "measure": {"task": "workers.measure", "schedule": 2.0, "options": {"expires": 3}},
    "discover": {"task": "workers.discover", "schedule": 10.0, "options": {"expires": 10}},
    "ledger": {"task": "workers.keep_ledger", "schedule": 60.0, "options": {"expires": 60}},
    "tidy": {"task": "workers.tidy", "schedule": 300.0, "options": {"expires": 300}},
}


@setup_logging.connect(weak=False)
def keep_our_logging(**_: Any) -> None:
    """Leave logging as Django's settings set it up; a receiver keeps Celery from its own."""


@worker_init.connect(weak=False)
def refuse_misconfigured(**_: Any) -> None:
    """Do not take work that would end in a wrong place."""
    checks.refuse_misconfigured()
