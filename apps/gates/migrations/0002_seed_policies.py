"""Give each environment its first policies; environments that have some keep them."""

from typing import Any

from django.db import migrations

from apps.gates.domain.default_policies import default_policy
from apps.gates.domain.policy import as_document
from apps.registry.domain.kinds import RiskTier
from controlplane.db.base import new_public_id


def seed(apps: Any, schema_editor: Any) -> None:
    policies = apps.get_model("gates", "Policy")
    for environment in apps.get_model("environments", "Environment").objects.order_by("rank"):
        for tier in RiskTier:
            rules = default_policy(environment.slug, tier, protected=environment.protected)
            policies.objects.get_or_create(
                environment=environment,
                risk_tier=tier,
                number=1,
                defaults={
                    "public_id": new_public_id(),
                    "document": as_document(rules),
                    "created_by": "modelyard",
                    "reason": "The first policy of a fresh house.",
                },
            )


class Migration(migrations.Migration):
    dependencies = [
        ("gates", "0001_initial"),
        ("environments", "0002_seed_dev_staging_production"),
    ]
    operations = [migrations.RunPython(seed, migrations.RunPython.noop)]
