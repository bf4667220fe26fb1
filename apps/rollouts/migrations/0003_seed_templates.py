"""Give every environment four strategies to begin with, none of them the default.

What exists is left as it is. The documents are written out, as rows keep them: what they mean must
not change when a default of the code does.
"""

from typing import Any

from django.db import migrations

HOUR, DAY = 3600.0, 86400.0
JUDGED: dict[str, Any] = {
    "on_deadline": "ask", "metrics": [], "limits": {"errors": 10, "restarts": 2}, "alpha": 0.05,
}  # fmt: skip


def steps(*weights: int, hold: float) -> list[dict[str, Any]]:
    return [
        {
            "weight": weight, "hold_seconds": hold, "judge": True, "ask": False,
            "deadline_seconds": HOUR,
        }
        for weight in weights
    ]  # fmt: skip


TEMPLATES: tuple[tuple[str, str, dict[str, Any]], ...] = (
    (
        "careful-canary",
        "Careful canary",
        {
            "kind": "canary", "steps": steps(5, 10, 25, 50, hold=600.0), **JUDGED,
            "keep_warm_seconds": HOUR,
        },
    ),
    (
        "quick-canary",
        "Quick canary",
        {
            "kind": "canary", "steps": steps(10, 50, hold=60.0), **JUDGED,
            "keep_warm_seconds": 600.0,
        },
    ),
    (
        "blue-green",
        "Blue-green",
        {
            "kind": "blue_green", "preview_seconds": 60.0, "ask": True,
            "keep_warm_seconds": HOUR,
        },
    ),
    (
        "shadow-then-canary",
        "Shadow, then canary",
        {
            "kind": "shadow", "mirror": 100, "hold_seconds": 600.0, "deadline_seconds": DAY,
            "ask": False, "then": steps(10, 50, hold=120.0), **JUDGED,
            "keep_warm_seconds": 600.0,
        },
    ),
)  # fmt: skip


def seed(apps: Any, schema_editor: Any) -> None:
    environments = apps.get_model("environments", "Environment")
    templates = apps.get_model("rollouts", "StrategyTemplate")
    for environment in environments.objects.order_by("id"):
        for name, title, document in TEMPLATES:
            templates.objects.get_or_create(
                environment=environment,
                name=name,
                defaults={"title": title, "document": document, "edited_by": "Modelyard"},
            )


class Migration(migrations.Migration):
    dependencies = [
        ("environments", "0005_keep_freezes_and_change_windows"),
        ("rollouts", "0002_progressive_delivery"),
    ]
    operations = [migrations.RunPython(seed, migrations.RunPython.noop)]
