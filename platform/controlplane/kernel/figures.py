"""Numbers as a person reads them: few figures, the unit a person would choose.

Pure, so that what the domain says in a sentence and what a page prints are the same words.
"""

THIN = "\u202f"  # a narrow no-break space, between a number and its unit


def rounded(value: float, digits: int = 3) -> str:
    """Return `value` with `digits` significant figures and thousands grouped."""
    if value == 0:
        return "0"
    magnitude = abs(value)
    if magnitude >= 10 ** (digits - 1):
        return f"{value:,.0f}"
    text = f"{value:.{digits}g}"
    if "e" not in text:
        return text
    mantissa, _, power = text.partition("e")
    return f"{mantissa}e{int(power)}"


def sized(count: float) -> str:
    """Return bytes in decimal units with three figures ("51.4 MB")."""
    size = float(count)
    for unit in ("B", "kB", "MB", "GB", "TB"):
        if size < 999.5 or unit == "TB":
            shown = f"{size:.0f}" if unit == "B" or size >= 100 else f"{size:.1f}"
            return f"{shown}{THIN}{unit}"
        size /= 1000
    raise AssertionError("unreachable: TB always returns")


def spoken(seconds: float) -> str:
    """Return seconds in at most two units."""
    if seconds < 1:
        return f"{seconds * 1000:.0f}{THIN}ms"
    if seconds < 10:
        return f"{seconds:.1f}{THIN}s"
    whole = int(seconds)
    for size, unit, next_size, next_unit in (
        (86400, "d", 3600, "h"),
        (3600, "h", 60, "min"),
        (60, "min", 1, "s"),
    ):
        if whole >= size:
            rest = whole % size // next_size
            tail = f" {rest}{THIN}{next_unit}" if rest else ""
            return f"{whole // size}{THIN}{unit}{tail}"
    return f"{whole}{THIN}s"
