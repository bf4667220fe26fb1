"""Component tags: the macros of the interface."""

from django import template

register = template.Library()
