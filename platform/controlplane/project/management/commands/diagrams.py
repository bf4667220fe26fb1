"""Print every aggregate's state machine into the documentation."""

from importlib import import_module
from pathlib import Path
from typing import Any

from django.core.management.base import BaseCommand, CommandParser

from controlplane.kernel.statemachine import StateMachine
from controlplane.project.settings.env import ROOT

FOLDER = ROOT / "docs" / "aggregates"


def machines() -> dict[str, StateMachine[Any, Any]]:
    """Return every state machine of the product, by the module that holds it."""
    found = {}
    for path in sorted((ROOT / "apps").glob("*/domain/states.py")):
        module = import_module(f"apps.{path.parent.parent.name}.domain.states")
        for value in vars(module).values():
            if isinstance(value, StateMachine):
                found[f"{module.__name__}.{value.name}"] = value
    return found


def page(where: str, machine: StateMachine[Any, Any]) -> str:
    """Return the documentation page of one machine, in Markdown."""
    rows = [
        f"| {move.value} | {', '.join(sorted(s.value for s in sources))} | {target.value} |"
        for move, (sources, target) in machine.table.items()
    ]
    return "\n".join(
        [
            f"# The life of a {machine.name}",
            "",
            f"Printed from `{where.rpartition('.')[0]}` by `manage.py diagrams`; do not edit.",
            "",
            "```mermaid",
            machine.mermaid(),
            "```",
            "",
            "| Move | From | To |",
            "|---|---|---|",
            *rows,
            "",
        ]
    )


class Command(BaseCommand):
    """Write docs/aggregates/*.md."""

    help = __doc__

    def add_arguments(self, parser: CommandParser) -> None:
        """Take another folder, for the test that compares."""
        parser.add_argument("--folder", type=Path, default=FOLDER)

    def handle(self, *, folder: Path, **options: object) -> None:
        """Write one page a machine."""
        folder.mkdir(parents=True, exist_ok=True)
        for where, machine in machines().items():
            (folder / f"{machine.name.replace(' ', '-')}.md").write_text(page(where, machine))
