from pathlib import Path

from django.db.migrations.loader import MigrationLoader

ROOT = Path(__file__).resolve().parents[2]
OURS = {p.parent.parent.name for p in (ROOT / "apps").glob("*/migrations/__init__.py")}


def loader():
    return MigrationLoader(None, ignore_no_migrations=True)


def test_the_migrations_of_every_app_are_one_line_without_branches():
    graph = loader().graph
    leaves = {app: graph.leaf_nodes(app) for app in OURS if graph.leaf_nodes(app)}
    assert {app: nodes for app, nodes in leaves.items() if len(nodes) != 1} == {}


def test_migrations_are_named_for_what_they_do():
    unnamed = [
        str(path.relative_to(ROOT))
        for path in (ROOT / "apps").glob("*/migrations/0*.py")
        if "_auto_" in path.name or path.stem[5:].isdigit()
    ]
    assert unnamed == []
