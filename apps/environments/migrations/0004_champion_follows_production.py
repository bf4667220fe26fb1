"""Let `champion` name what is live in production, in houses that have not chosen otherwise.

Staging and dev get none: a version is served there without a release, so no alias could keep
its word. An admin may give them one.
"""

from typing import Any

from django.db import migrations


def seed(apps: Any, schema_editor: Any) -> None:
    environments = apps.get_model("environments", "Environment")
    environments.objects.filter(slug="production", protected=True, alias="").update(
        alias="champion"
    )


class Migration(migrations.Migration):
    dependencies = [("environments", "0003_let_an_alias_follow_what_is_live")]
    operations = [migrations.RunPython(seed, migrations.RunPython.noop)]
