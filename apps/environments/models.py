"""Rows of environments."""

from django.db import models

from controlplane.db.base import Row


class Environment(Row):
    """Where requests are served: a cluster, a namespace, a policy."""

    slug = models.SlugField(max_length=40, unique=True)
    title = models.CharField(max_length=80)
    rank = models.PositiveSmallIntegerField(default=0)  # the order of promotion: dev, staging, ...
    cluster = models.CharField(max_length=40, default="embedded")
    protected = models.BooleanField(default=False)  # serving here needs an operator
    default_replicas = models.PositiveSmallIntegerField(default=1)
    max_replicas = models.PositiveSmallIntegerField(default=4)  # per endpoint

    def __str__(self) -> str:
        """Name the environment."""
        return self.slug
