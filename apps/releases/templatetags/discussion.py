"""What people write in a discussion: Markdown, with mentions that stand out."""

import re

from django import template
from django.utils.html import escape
from django.utils.safestring import SafeString, mark_safe

from controlplane.http.templatetags.components import markdown

register = template.Library()
PIECES = re.compile(r"(<[^>]+>)")
MENTION = re.compile(r"(?<![\w@/])@([\w.+-]{1,60})")
# Between these nothing is a mention: code is code, and a link says where it leads.
CLOSED = ("code", "pre", "a")


@register.filter
def mentioned(text: str) -> SafeString:
    """Return Markdown as clean HTML, each @name marked."""
    depth, pieces = 0, []
    for piece in PIECES.split(str(markdown(text))):
        if piece.startswith("<"):
            name = re.match(r"</?([a-z0-9]+)", piece)
            if name and name[1] in CLOSED:
                depth += -1 if piece.startswith("</") else 1
        elif not depth:
            piece = MENTION.sub(_marked, piece)
        pieces.append(piece)
    return mark_safe("".join(pieces))  # noqa: S308  cleaned by nh3; what is added is escaped


def _marked(found: re.Match[str]) -> str:
    return f'<strong class="mention">@{escape(found[1])}</strong>'
