"""What every row of the product has."""

import secrets
from typing import Any

from django.db import models

ALPHABET = "0123456789abcdefghjkmnpqrstvwxyz"  # Crockford's base 32, without i, l, o, u


def new_public_id() -> str:
    """Return a short random name for a row, safe in URLs and hard to guess (60 bits)."""
    return "".join(secrets.choice(ALPHABET) for _ in range(12))


class Row(models.Model):
    """A row that people and programs refer to by a public id."""

    public_id = models.CharField(max_length=12, unique=True, default=new_public_id, editable=False)
    created_at = models.DateTimeField(auto_now_add=True)
    changed_at = models.DateTimeField(auto_now=True)

    class Meta:
        """No table of its own."""

        abstract = True


def state_is_known(states: list[Any], name: str) -> models.CheckConstraint:
    """Return the constraint that a row's `state` is one of its machine's states."""
    return models.CheckConstraint(
        condition=models.Q(state__in=[str(s) for s in states]), name=f"{name}_state_is_known"
    )
