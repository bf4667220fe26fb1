import ast
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]


def test_platform_is_a_source_root_and_not_a_package():
    """An __init__.py here would hide the standard library's `platform` from manage.py.

    Pytest itself would not notice: it has imported the real one before our path is set.
    """
    assert not (ROOT / "platform" / "__init__.py").exists()


def test_manage_py_sees_the_standard_library_platform():
    code = "import platform; print(platform.python_implementation())"
    out = subprocess.run(
        [sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=True
    )
    assert out.stdout.strip()


def test_the_web_process_never_imports_the_heavy_libraries():
    """They cost 100 to 400 MB each; they belong to workers, jobs and model servers."""
    code = (
        "import sys, controlplane.project.asgi;"
        "heavy = {'mlflow', 'sklearn', 'onnxruntime', 'torch', 'xgboost', 'lightgbm', 'pandas'};"
        "print(sorted(heavy & set(sys.modules)))"
    )
    out = subprocess.run(
        [sys.executable, "-W", "ignore", "-c", code],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=False,
    )
    assert out.stdout.strip() == "[]", out.stdout + out.stderr


def test_an_app_reads_another_apps_rows_only_through_its_selectors():
    """Naming another app's row as a type is fine, and so is a foreign key; querying it is not."""
    offenders = [
        f"{path.relative_to(ROOT)}:{line} queries {name}"
        for path in (ROOT / "apps").rglob("*.py")
        if "migrations" not in path.parts
        and not {"models", "selectors"} & {path.stem, *path.parts}
        for name, line in _queried(path)
    ]
    assert offenders == []


def _queried(path: Path) -> list[tuple[str, int]]:
    """Return the rows of other apps that the module at `path` queries itself, with lines."""
    tree = ast.parse(path.read_text())
    own = f"apps.{path.relative_to(ROOT / 'apps').parts[0]}.models"
    foreign = {
        alias.asname or alias.name
        for node in ast.walk(tree)
        if isinstance(node, ast.ImportFrom) and node.module
        for alias in node.names
        if node.module.startswith("apps.")
        and node.module.endswith(".models")
        and node.module != own
    }
    return [
        (node.value.id, node.lineno)
        for node in ast.walk(tree)
        if isinstance(node, ast.Attribute)
        and node.attr in ("objects", "_default_manager")
        and isinstance(node.value, ast.Name)
        and node.value.id in foreign
    ]


def test_templates_say_what_context_they_need():
    silent = [
        str(path.relative_to(ROOT))
        for path in (ROOT / "templates").rglob("*.html")
        if not path.read_text().lstrip().startswith(("{#", "{% extends", "{% comment"))
    ]
    assert silent == []


def test_models_have_no_hidden_ordering_and_serializers_no_all():
    guilty = [
        f"{path.relative_to(ROOT)}: {line.strip()}"
        for path in (ROOT / "apps").rglob("*.py")
        if "migrations" not in path.parts
        for line in path.read_text().splitlines()
        if line.strip().startswith(("ordering = [", 'fields = "__all__"'))
    ]
    assert guilty == []
