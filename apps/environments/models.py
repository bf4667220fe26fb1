"""Rows of environments."""

from typing import ClassVar

from django.db import models
from django.db.models import Q

from controlplane.db.base import Row


class AliasDrift(models.TextChoices):
    """What happens to an environment's alias that somebody moved behind our back."""

    PUT_BACK = "put_back", "Put it back"
    ADOPT = "adopt", "Keep where it was moved to"


class Environment(Row):
    """Where requests are served: a cluster, a namespace, a policy."""

    slug = models.SlugField(max_length=40, unique=True)
    title = models.CharField(max_length=80)
    rank = models.PositiveSmallIntegerField(default=0)  # the order of promotion: dev, staging, ...
    cluster = models.CharField(max_length=40, default="embedded")
    protected = models.BooleanField(default=False)  # serving here needs an operator
    default_replicas = models.PositiveSmallIntegerField(default=1)
    max_replicas = models.PositiveSmallIntegerField(default=4)  # per endpoint
    # The alias of every model that names the version live here, and that only a release moves;
    # "" for none. Lower case: MLflow on some databases cannot tell champion from Champion.
    alias = models.SlugField(max_length=80, blank=True, db_index=False)
    alias_drift = models.CharField(
        max_length=8, choices=AliasDrift.choices, default=AliasDrift.PUT_BACK
    )

    class Meta:
        """Rules that hold whoever writes the row."""

        constraints: ClassVar = [
            models.UniqueConstraint(
                fields=["alias"], condition=~Q(alias=""), name="environment_alias_used_once"
            ),
            models.CheckConstraint(
                condition=Q(alias_drift__in=AliasDrift.values), name="alias_drift_is_known"
            ),
        ]

    def __str__(self) -> str:
        """Name the environment."""
        return self.slug
