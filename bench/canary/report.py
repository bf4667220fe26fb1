"""The bench's figures as a table and a drawing, for docs/judge.md."""

from collections.abc import Mapping
from typing import Any

from bench.canary.scenarios import FOUND, HEALTHY, KEY, ROBUST, TITLES

BEGIN, END = "<!-- bench: begin -->", "<!-- bench: end -->"


def table(facts: Mapping[str, Any]) -> str:
    """Return the tables in Markdown."""
    lines = [
        f"Made by `python -m bench canary` on {facts['date']} ({facts['runs']:,} hours each; "
        f"{facts['seconds']:.0f} s). Stable fails {facts['stable_percent']} %, the canary takes "
        "10 %, rates are requests per second on the canary.",
        "",
        "| Rule | Healthy aborted within an hour, at 0.5 / 5 / 50 req/s | 0.5 % → 2 % at 5 req/s: "
        "median, p95, missed | 0.5 % → 20 % at 5 req/s |",
        "|---|---|---|---|",
        *(_row(name, rule) for name, rule in facts["rules"].items()),
        "",
        "What else was tried, in minutes from the moment the canary gets worse:",
        "",
        "| Regression | Modelyard: median, p95, missed | z-test, peeked | Mann-Whitney, peeked |",
        "|---|---|---|---|",
        *(_found_row(key, facts["rules"]) for key in FOUND),
        "",
        "And what should abort nobody: the share of healthy hours that were aborted.",
        "",
        "| Healthy, but | Modelyard | Modelyard, calibrated | Flagger | z-test | Mann-Whitney |",
        "|---|---|---|---|---|---|",
        *(_robust_row(key, facts["rules"]) for key in ROBUST),
        "",
        "Over the usual steps (5, 10, 25, 50, then 100 %), with the policy that decides for real:",
        "",
        "| Canary | Ends | Median |",
        "|---|---|---|",
        *(_ladder_row(entry) for entry in facts["ladder"]),
    ]
    return "\n".join(lines)


def put_into(page: str, made: str) -> str:
    """Return the page with the made part between its marks replaced."""
    before, rest = page.split(BEGIN)
    after = rest.split(END)[1]
    return f"{before}{BEGIN}\n{made}\n{END}{after}"


def _row(name: str, rule: Mapping[str, Any]) -> str:
    shares = " / ".join(percent(rule["healthy_aborted"][key]) for key in HEALTHY)
    found = rule["found"]
    return f"| {TITLES[name]} | {shares} | {_delay(found[KEY])} | {_delay(found['0.5%->20%@5'])} |"


def _found_row(key: str, rules: Mapping[str, Any]) -> str:
    names = ("modelyard", "z_test_peeked", "kayenta_mann_whitney_peeked")
    cells = (_delay(rules[name]["found"].get(key)) for name in names)
    return f"| {FOUND[key]} | {' | '.join(cells)} |"


def _robust_row(key: str, rules: Mapping[str, Any]) -> str:
    ours = rules["modelyard"]["robust"][key]
    others = (
        rules[name]["robust"][key]["aborted"]
        for name in ("flagger_example", "z_test_peeked", "kayenta_mann_whitney_peeked")
    )
    calibrated = ours.get("calibrated_aborted")
    shown = "-" if calibrated is None else percent(calibrated)
    cells = [percent(ours["aborted"]), shown, *map(percent, others)]
    return f"| {ROBUST[key]} | {' | '.join(cells)} |"


def _ladder_row(entry: Mapping[str, Any]) -> str:
    ends = ", ".join(f"{percent(share)} {how}" for how, share in entry["ends"].items())
    return f"| {entry['name']} | {ends} | {minutes(entry['median_min'])} |"


def _delay(found: Mapping[str, Any] | None) -> str:
    if found is None:
        return "-"
    missed = f", {percent(found['missed'])} missed" if found["missed"] else ""
    if found["median_min"] is None:
        return f"most never{missed}"
    late = "" if found["p95_min"] is None else f", p95 {minutes(found['p95_min'])}"
    return f"{minutes(found['median_min'])}{late}{missed}"


def percent(share: float) -> str:
    """Return a share in percent, with a digit where it matters."""
    whole = share in (0, 1) or 0.0995 < share < 0.9
    return f"{share * 100:.0f} %" if whole else f"{share * 100:.1f} %"


def minutes(value: float) -> str:
    """Return minutes with a digit where it matters."""
    return f"{value:.1f} min" if value < 10 else f"{value:.0f} min"


WIDTH, HEIGHT, LEFT, RIGHT, TOP, BOTTOM, GAP = 760, 360, 56, 210, 40, 48, 72
COLOURS = {
    "modelyard": "#1a56a8",
    "z_test_peeked": "#b3261e",
    "kayenta_mann_whitney_peeked": "#9a6b00",
    "flagger_example": "#5b5f66",
    "argo_default_limit": "#3c7a3c",
}
SHADES = {"modelyard": "3", "z_test_peeked": "2"}
DASHED = {COLOURS["argo_default_limit"]: ' stroke-dasharray="4 3"'}  # it lies on the z-test


def drawing(curves: Mapping[str, Mapping[str, list[float]]]) -> str:
    """Return an SVG: share of runs aborted by minute; healthy on the left, 2 % on the right.

    Args:
        curves: By rule, "healthy" and "worse": the share aborted after each minute.
    """
    half = (WIDTH - LEFT - RIGHT - GAP) / 2
    parts = [
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {HEIGHT}" role="img" '
        'font-family="system-ui, sans-serif" font-size="12">',
        "<title>Share of canaries aborted by minute, healthy and with four times the errors, at "
        "5 requests a second</title>",
        f'<rect width="{WIDTH}" height="{HEIGHT}" fill="#ffffff"/>',
    ]
    for index, (kind, title) in enumerate(
        {"healthy": "Healthy: aborted by mistake", "worse": "0.5 % → 2 % errors: found"}.items()
    ):
        left = LEFT + index * (half + GAP)
        parts += _axes(left, half, title)
        parts += [
            _line(left, half, curve[kind], COLOURS[name], SHADES.get(name, "1.5"))
            for name, curve in curves.items()
            if name in COLOURS
        ]
    parts += _legend(WIDTH - RIGHT + 32)
    return "\n".join([*parts, "</svg>", ""])


def _axes(left: float, width: float, title: str) -> list[str]:
    low, text = HEIGHT - BOTTOM, 'fill="#3b3f45"'
    parts = [f'<text x="{left:.0f}" y="{TOP - 16}" font-weight="600" {text}>{title}</text>']
    for share in (0, 0.25, 0.5, 0.75, 1):
        y = _y(share)
        parts.append(
            f'<line x1="{left:.0f}" x2="{left + width:.0f}" y1="{y:.1f}" y2="{y:.1f}" '
            f'stroke="{"#3b3f45" if not share else "#dfe2e6"}"/>'
        )
        if left == LEFT:
            parts.append(
                f'<text x="{left - 8}" y="{y + 4:.1f}" text-anchor="end" {text}>'
                f"{share * 100:.0f} %</text>"
            )
    for minute in (0, 20, 40, 60):
        x = left + width * minute / 60
        parts.append(
            f'<text x="{x:.0f}" y="{low + 18}" text-anchor="middle" {text}>{minute} min</text>'
        )
    return parts


def _line(left: float, width: float, shares: list[float], colour: str, weight: str) -> str:
    points = [(0.0, 0.0), *((minute + 1, share) for minute, share in enumerate(shares))]
    path = " ".join(f"{left + width * m / 60:.1f},{_y(s):.1f}" for m, s in points)
    return (
        f'<polyline points="{path}" fill="none" stroke="{colour}" stroke-width="{weight}" '
        f'stroke-linejoin="round"{DASHED.get(colour, "")}/>'
    )


def _y(share: float) -> float:
    return TOP + (1 - share) * (HEIGHT - TOP - BOTTOM)


def _legend(x: int) -> list[str]:
    parts = []
    for index, (name, colour) in enumerate(COLOURS.items()):
        y = TOP + 12 + index * 24
        parts.append(
            f'<line x1="{x}" x2="{x + 20}" y1="{y}" y2="{y}" stroke="{colour}" '
            f'stroke-width="{SHADES.get(name, "1.5")}"{DASHED.get(colour, "")}/>'
            f'<text x="{x + 26}" y="{y + 4}" fill="#3b3f45">{TITLES[name]}</text>'
        )
    return parts
