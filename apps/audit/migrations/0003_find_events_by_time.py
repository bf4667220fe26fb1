"""Find events by time."""

from django.contrib.postgres.operations import AddIndexConcurrently
from django.db import migrations, models


class Migration(migrations.Migration):
    """Built while events are written."""

    atomic = False
    dependencies = [("audit", "0002_seal_and_checkpoint_events")]
    operations = [
        AddIndexConcurrently(
            "auditevent", models.Index(fields=["at"], name="audit_by_time")
        ),
    ]
