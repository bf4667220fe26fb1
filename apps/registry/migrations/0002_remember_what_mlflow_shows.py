"""Remember what MLflow was last seen to show of an alias: at first, what it has been told."""

from typing import Any

from django.db import migrations, models
from django.db.models import OuterRef, Subquery


def believe(apps: Any, schema_editor: Any) -> None:
    versions = apps.get_model("registry", "ModelVersion").objects.filter(pk=OuterRef("version_id"))
    aliases = apps.get_model("registry", "Alias").objects.filter(version__mirror_state="mirrored")
    aliases.update(shown_number=Subquery(versions.values("number")[:1]))


class Migration(migrations.Migration):
    dependencies = [("registry", "0001_initial")]
    operations = [
        migrations.AddField(
            model_name="alias",
            name="shown_number",
            field=models.PositiveIntegerField(blank=True, null=True),
        ),
        migrations.RunPython(believe, migrations.RunPython.noop),
    ]
