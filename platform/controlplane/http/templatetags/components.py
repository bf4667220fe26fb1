"""Component tags: the macros of the interface.

Every tag returns markup that is escaped, names a state by shape, word and colour, and hatches
what is unknown. They are built into every template; none of them reads a row or a setting.
"""

import json
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime, timedelta
from functools import lru_cache
from typing import Any

import nh3
from django import template
from django.forms import BoundField
from django.template.defaultfilters import date as format_date
from django.utils import timezone
from django.utils.html import format_html, format_html_join
from django.utils.safestring import SafeString, mark_safe
from markdown_it import MarkdownIt

from controlplane.kernel.figures import THIN as THIN
from controlplane.kernel.figures import rounded as rounded
from controlplane.kernel.figures import sized as sized
from controlplane.kernel.figures import spoken as spoken

register = template.Library()

NO_DATA = "no data"
WORDS = {
    "optimising": "Optimising",
    "too_lossy": "Too lossy",
    "no_data": "No data",
    "not_yet": "Not yet",
    "live": "Live",
}
BAR_DIGITS, BAR_WIDTH, BAR_HEIGHT = 16, 46, 14
MARKDOWN = MarkdownIt("commonmark", {"html": False}).enable("table").enable("strikethrough")
PROSE_TAGS = frozenset(
    {"p", "h1", "h2", "h3", "h4", "h5", "h6", "ul", "ol", "li", "strong", "em", "s", "code"}
    | {"pre", "blockquote", "a", "hr", "br", "table", "thead", "tbody", "tr", "th", "td"}
)


def word_for(state: str) -> str:
    """Return what a person calls a state ("rolling_back" is "Rolling back")."""
    return WORDS.get(state) or str(state).replace("_", " ").replace("-", " ").capitalize()


@register.simple_tag
def icon(name: str, size: str = "") -> SafeString:
    """Return the drawing called `name`; its meaning must also stand beside it in words."""
    return format_html(
        '<i class="icon" data-icon="{}"{} aria-hidden="true"></i>', name, _attribute("size", size)
    )


@register.simple_tag
def state_icon(state: str) -> SafeString:
    """Return the icon of a state."""
    return format_html('<i class="state-icon" data-state="{}" aria-hidden="true"></i>', state)


@register.simple_tag
def state_word(state: str, word: str = "") -> SafeString:
    """Return a state's word in its tone."""
    return format_html(
        '<span class="state-word" data-state="{}">{}</span>', state, word or word_for(state)
    )


@register.simple_tag
def badge(state: str, word: str = "", size: str = "") -> SafeString:
    """Return a state as icon and word."""
    return format_html(
        '<span class="badge" data-state="{}"{}>{}</span>',
        state,
        _attribute("size", size),
        word or word_for(state),
    )


@register.simple_tag
def signal(state: str) -> SafeString:
    """Return the head of a railway signal; always beside a word."""
    return format_html(
        '<span class="signal" data-state="{}" aria-hidden="true"><i></i></span>', state
    )


@register.simple_tag
def digest(
    value: str | None, size: str = "", copy: bool = True, chars: int = 8, of: str = ""
) -> SafeString:
    """Return a digest as sixteen bars and its first digits.

    Args:
        value: "sha256:<hex>" or the hex alone; hatched words when there is none.
        size: "large" for the one identity of a page.
        copy: Whether a button copies it.
        chars: How many hex digits stand beside the bars.
        of: What it is the digest of, for the button's label.
    """
    if not value:
        return format_html('<span class="faint">{}</span>', "not known")
    hexdigits = value.removeprefix("sha256:")
    button: SafeString | str = ""
    if copy:
        button = format_html(
            '<button class="digest-copy" type="button" data-copy="{}" aria-label="{}">{}</button>',
            value,
            f"Copy the digest of {of}" if of else "Copy the digest",
            icon("copy"),
        )
    return format_html(
        '<span class="digest" title="{}"{}>{}<span>{}</span>{}</span>',
        value,
        _attribute("size", size),
        _bars(hexdigits),
        hexdigits[:chars],
        button,
    )


@lru_cache(maxsize=4096)
def _bars(hexdigits: str) -> SafeString:
    """Return the drawing; numbers only, so nothing in it needs escaping.

    A page of two hundred gates draws four hundred of them: put together by `format_html` they
    took half of its time, and as sixteen elements each half of its bytes.
    """
    step = BAR_WIDTH / BAR_DIGITS
    heights = [_bar_height(digit) for digit in hexdigits[:BAR_DIGITS]]
    bars = "".join(
        f"M{i * step:.2f} {BAR_HEIGHT}v-{h:.1f}h{step * 0.62:.2f}v{h:.1f}z"
        for i, h in enumerate(heights)
    )
    frame = f'viewBox="0 0 {BAR_WIDTH} {BAR_HEIGHT}" preserveAspectRatio="none"'
    return mark_safe(f'<svg {frame} aria-hidden="true"><path d="{bars}"/></svg>')  # noqa: S308


def _bar_height(digit: str) -> float:
    value = int(digit, 16) if digit in "0123456789abcdefABCDEF" else 0
    return 2 + value / 15 * (BAR_HEIGHT - 2)


@register.simple_tag
def meter(value: float, state: str = "", label: str = "", tick: float | None = None) -> SafeString:
    """Return a share of a whole.

    Args:
        value: Percent, 0 to 100; clamped.
        state: Whose tone it takes.
        label: The share in words.
        tick: Where a target stands, in percent.
    """
    width = f"{min(max(float(value), 0.0), 100.0):.1f}%"
    mark: SafeString | str = ""
    if tick is not None:
        mark = format_html(
            '<line class="meter-tick" x1="{0}%" x2="{0}%" y1="0" y2="100%"/>', f"{tick:.1f}"
        )
    return format_html(
        '<svg class="meter"{} role="img" aria-label="{}"><rect width="{}" height="100%"/>{}</svg>',
        _attribute("state", state),
        label or width,
        width,
        mark,
    )


@register.simple_tag
def sparkline(
    values: Sequence[float | None], series: str = "stable", label: str = ""
) -> SafeString:
    """Return a line the size of a word; a silent stretch is a gap, and all silence says so."""
    known = [v for v in values if v is not None]
    if len(known) < 2:
        return format_html('<span class="faint">{}</span>', NO_DATA)
    low, span = min(known), (max(known) - min(known)) or 1.0
    step = 100 / max(len(values) - 1, 1)
    path, silent, pen_down = [], [], False
    for place, value in enumerate(values):
        if value is None:
            pen_down = False
            silent.append((f"{max(place - 0.5, 0) * step:.1f}", f"{step:.1f}"))
            continue
        path.append(
            f"{'L' if pen_down else 'M'}{place * step:.1f} {22 - 20 * (value - low) / span:.1f}"
        )
        pen_down = True
    role = format_html('role="img" aria-label="{}"', label) if label else 'aria-hidden="true"'
    return format_html(
        '<svg class="sparkline" data-series="{}" viewBox="0 0 100 24" preserveAspectRatio="none"'
        ' {}>{}<path d="{}"/></svg>',
        series,
        mark_safe(role),  # noqa: S308  made above, from a constant or escaped
        format_html_join("", '<rect class="silence" x="{}" width="{}" height="24"/>', silent),
        " ".join(path),
    )


@register.simple_tag
def segments(states: Sequence[str], label: str = "") -> SafeString:
    """Return one block per item, so that three of seven looks like three of seven."""
    if not states:
        return mark_safe("")
    width = 100 / len(states)
    blocks = format_html_join(
        "",
        '<rect data-state="{}" x="{}%" width="{}%" rx="1.5"/>',
        ((s, f"{i * width + 0.5:.2f}", f"{width - 1:.2f}") for i, s in enumerate(states)),
    )
    return format_html('<svg class="segments" role="img" aria-label="{}">{}</svg>', label, blocks)


@register.simple_tag
def interval(low: float, point: float, high: float, tone: str = "", label: str = "") -> SafeString:
    """Return a difference with its interval, around a dashed zero in the middle.

    Args:
        low: The lower end.
        point: The difference.
        high: The upper end.
        tone: "better", "worse" or anything else for neither.
        label: The interval in words.
    """
    reach = max(abs(low), abs(high)) * 1.25 or 1.0
    places = [f"{50 + value / reach * 50:.1f}%" for value in (low, high, point)]
    named = {"better": "good", "worse": "bad"}.get(tone, "idle")
    return format_html(
        '<svg class="interval" data-tone="{}" role="img" aria-label="{}">'
        '<line class="interval-zero" x1="50%" x2="50%" y1="0" y2="100%"/>'
        '<line class="interval-range" x1="{}" x2="{}" y1="50%" y2="50%"/>'
        '<circle class="interval-point" cx="{}" cy="50%" r="4"/></svg>',
        named,
        label or f"{rounded(low)} to {rounded(high)}",
        *places,
    )


@register.simple_tag
def ago(when: datetime | None, now: datetime | None = None) -> SafeString:
    """Return how long ago it was, with the full time on hover and for machines."""
    if when is None:
        return format_html('<span class="faint">{}</span>', "never")
    passed = (now or timezone.now()) - when
    words = "just now" if abs(passed) < timedelta(seconds=5) else _relative(passed)
    return _time(when, words)


def _relative(passed: timedelta) -> str:
    if passed < timedelta(0):
        return f"in {_span(-passed)}"
    return f"{_span(passed)} ago"


def _span(passed: timedelta) -> str:
    seconds = int(passed.total_seconds())
    for size, unit in ((86400 * 365, "y"), (86400, "d"), (3600, "h"), (60, "min")):
        if seconds >= size:
            return f"{seconds // size}{THIN}{unit}"
    return f"{seconds}{THIN}s"


@register.simple_tag
def moment(when: datetime | None, form: str = "j M Y, H:i") -> SafeString:
    """Return a time in the reader's zone."""
    if when is None:
        return format_html('<span class="faint">{}</span>', "never")
    return _time(when, format_date(timezone.localtime(when), form))


def _time(when: datetime, words: str) -> SafeString:
    local = timezone.localtime(when)
    return format_html(
        '<time datetime="{}" title="{}">{}</time>',
        when.astimezone(UTC).isoformat(timespec="seconds"),
        format_date(local, "D j M Y, H:i:s T"),
        words,
    )


@register.simple_tag
def duration(
    since: datetime | timedelta | float | None, until: datetime | None = None
) -> SafeString:
    """Return a length of time in at most two units ("2 min 5 s").

    Args:
        since: Where it began, or the length itself (a timedelta or seconds).
        until: Where it ended; now when it has not.
    """
    if since is None:
        return format_html('<span class="faint">{}</span>', NO_DATA)
    if isinstance(since, datetime):
        since = (until or timezone.now()) - since
    seconds = since.total_seconds() if isinstance(since, timedelta) else float(since)
    return format_html("{}", spoken(seconds))


@register.simple_tag(name="bytes")
def bytes_tag(count: float | None) -> SafeString:
    """Return a number of bytes in the unit a person would choose."""
    if count is None:
        return format_html('<span class="faint">{}</span>', NO_DATA)
    return format_html("{}", sized(count))


@register.simple_tag
def figure(value: float | None, unit: str = "", digits: int = 3) -> SafeString:
    """Return a number rounded to `digits` significant figures with its unit; silence in words."""
    if value is None:
        return format_html('<span class="faint">{}</span>', NO_DATA)
    shown = rounded(float(value), digits)
    return format_html("{}{}", shown, f"{THIN}{unit}" if unit else "")


@register.simple_tag
def percent(share: float | None, digits: int = 2) -> SafeString:
    """Return a share in [0, 1] as a percentage."""
    if share is None:
        return format_html('<span class="faint">{}</span>', NO_DATA)
    shown = f"{share * 100:.{digits}f}"
    if digits:
        shown = shown.rstrip("0").rstrip(".")
    return format_html("{}{}%", shown, THIN)


@register.simple_tag
def shape(sizes: Sequence[int]) -> SafeString:
    """Return a tensor's shape; a free dimension is "n"."""
    return format_html("[{}]", ", ".join("n" if s < 0 else str(s) for s in sizes))


@register.simple_tag
def plot(figure_json: Mapping[str, Any], name: str, label: str, size: str = "") -> SafeString:
    """Return a place for a Plotly figure and its data; `static/js/charts.js` draws it.

    The place is preserved when a live part is fetched again, so that a chart moves on
    instead of flickering. Without a script it takes no room: a table says the same.

    Args:
        figure_json: {"data": [...], "layout": {...}}; colours by role ("role:canary").
        name: A name that is unique on the page.
        label: The finding, for whoever does not see the picture.
        size: "small" for one of several.
    """
    return format_html(
        '<div class="plotly" id="plot-{0}" data-plot="{0}"{1} hx-preserve role="img"'
        ' aria-label="{2}"></div><script type="application/json" data-figure="{0}">{3}</script>',
        name,
        _attribute("size", size),
        label,
        _json(figure_json),
    )


def _json(value: object) -> SafeString:
    text = json.dumps(value, separators=(",", ":"), allow_nan=False)
    for character in "<>&":
        text = text.replace(character, f"\\u{ord(character):04x}")
    return mark_safe(text)  # noqa: S308  <, > and & cannot occur in it


@register.filter
def markdown(text: str) -> SafeString:
    """Return Markdown as clean HTML: no raw HTML, no images, links that leak nothing."""
    html = MARKDOWN.render(text or "")
    clean = nh3.clean(html, tags=set(PROSE_TAGS), link_rel="noopener noreferrer nofollow")
    return mark_safe(clean)  # noqa: S308  cleaned by nh3


@register.filter
def initials(name: str) -> str:
    """Return two letters for an avatar ("Ada Lovelace" is "AL")."""
    parts = [p for p in name.replace(".", " ").replace("-", " ").split() if p]
    letters = (parts[0][:1] + parts[-1][:1]) if len(parts) > 1 else name[:2]
    return letters.upper()


@register.filter
def word(state: str) -> str:
    """Return what a person calls a state."""
    return word_for(state)


@register.filter
def nth(mapping: Mapping[str, Any] | None, key: str) -> Any:
    """Return `mapping[key]`, or None when there is no such thing."""
    return None if mapping is None else mapping.get(key)


@register.simple_tag
def count(number: int, one: str, many: str = "") -> SafeString:
    """Return a number with its noun ("1 version", "12 versions")."""
    return format_html("{} {}", f"{number:,}", one if number == 1 else many or f"{one}s")


@register.inclusion_tag("components/field.html")
def field(bound: BoundField, hint: str = "", kind: str = "") -> dict[str, Any]:
    """Return a labelled field with its hint and its error.

    Args:
        bound: The form's field.
        hint: What it accepts; the field's own help text otherwise.
        kind: "mono" for what a machine reads, "select" for a choice.
    """
    described = [f"{bound.id_for_label}-hint"] if hint or bound.help_text else []
    attributes: dict[str, Any] = {"class": "input input-mono" if kind == "mono" else "input"}
    if bound.errors:
        described.append(f"{bound.id_for_label}-error")
        attributes["aria-invalid"] = "true"
    if described:
        attributes["aria-describedby"] = " ".join(described)
    is_select = bound.field.widget.__class__.__name__ == "Select"
    return {
        "bound": bound,
        "widget": bound.as_widget(attrs=attributes),
        "hint": hint or bound.help_text,
        "is_select": is_select,
    }


def _attribute(name: str, value: str) -> SafeString | str:
    return format_html(' data-{}="{}"', mark_safe(name), value) if value else ""  # noqa: S308
