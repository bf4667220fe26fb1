"""manage.py openapi: write the OpenAPI document to docs/openapi.json."""

from typing import Any

from django.core.management.base import BaseCommand, CommandParser

from controlplane.http.api_docs import document
from controlplane.project.settings.env import ROOT

FILE = ROOT / "docs" / "openapi.json"


class Command(BaseCommand):
    """Write the OpenAPI document."""

    help = "Write docs/openapi.json, or say whether it is current."

    def add_arguments(self, parser: CommandParser) -> None:
        """Add `--check`."""
        parser.add_argument("--check", action="store_true", help="only compare")

    def handle(self, *args: Any, **options: Any) -> None:
        """Write it, or compare."""
        current = document()
        if not options["check"]:
            FILE.write_bytes(current)
        elif not FILE.exists() or FILE.read_bytes() != current:
            self.stderr.write("docs/openapi.json is out of date; run `make docs`.")
            raise SystemExit(1)
