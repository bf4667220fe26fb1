"""Create the three environments of a fresh house; what exists is left as it is."""

from typing import Any

from django.db import migrations

FIRST = [
    {"slug": "dev", "title": "Development", "rank": 10, "protected": False, "max_replicas": 4},
    {"slug": "staging", "title": "Staging", "rank": 20, "protected": False, "max_replicas": 4},
    {"slug": "production", "title": "Production", "rank": 30, "protected": True,
     "max_replicas": 8},
]


def seed(apps: Any, schema_editor: Any) -> None:
    environments = apps.get_model("environments", "Environment")
    for values in FIRST:
        slug = values["slug"]
        environments.objects.get_or_create(
            slug=slug, defaults={**values, "public_id": f"env{slug}"[:12]}
        )


class Migration(migrations.Migration):
    dependencies = [("environments", "0001_initial")]
    operations = [migrations.RunPython(seed, migrations.RunPython.noop)]
