"""The rules of the house (CONTRIBUTING.md): one way for data to flow, style, types. The command line: test_front_door.py."""

import ast
import json
import re
import subprocess
import sys
from collections.abc import Iterator
from itertools import chain
from pathlib import Path

import pytest
from support.project import ROOT

from stages.core.config.schema import SCHEMA, schema_text
from stages.core.trackers import TRACKERS

PACKAGES = {path.parent.name for path in (ROOT / "stages").glob("*/__init__.py")}
MODULES = sorted((ROOT / "stages").rglob("*.py"))
STAGES = sorted(path.stem for path in (ROOT / "stages").glob("*.py") if path.stem not in ("__init__", "__main__"))
TESTS = sorted((ROOT / "tests").rglob("*.py"))
BACKENDS = ("sam2", "transformers", "groundingdino")


def imported_names(tree: ast.AST) -> Iterator[str]:
    for node in ast.walk(tree):
        if isinstance(node, ast.ImportFrom) and node.module:
            yield node.module
            yield from (f"{node.module}.{alias.name}" for alias in node.names)
        elif isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)


def our_parts(path: Path) -> set[str]:
    """Which parts of `stages` a file imports: package names, or stage names."""
    names = imported_names(ast.parse(path.read_text(encoding="utf-8")))
    return {name.split(".")[1] for name in names if name.startswith("stages.")}


@pytest.mark.parametrize("path", MODULES, ids=lambda path: str(path.relative_to(ROOT)))
def test_data_flows_one_way(path: Path) -> None:
    parts = our_parts(path)
    folder = path.relative_to(ROOT / "stages").parts[0]
    if folder == "core":
        assert parts <= {"core", "__version__"}, "core imports nothing of ours"
    elif folder == "tools":
        assert not parts & set(STAGES), "tools never import stages"
    elif folder in PACKAGES:
        assert not parts & {*STAGES, "tools"}, "packages never import stages or tools"
    else:
        assert not parts & (set(STAGES) - {path.stem}), "stages never import stages"


@pytest.mark.parametrize("path", MODULES, ids=lambda path: str(path.relative_to(ROOT)))
def test_a_file_is_of_one_idea(path: Path) -> None:
    text = path.read_text(encoding="utf-8")
    assert len(text.splitlines()) <= 300
    if text.strip():
        assert ast.get_docstring(ast.parse(text)), "every module says what it is"


@pytest.mark.parametrize("path", TESTS, ids=lambda path: str(path.relative_to(ROOT)))
def test_no_test_imports_a_test(path: Path) -> None:
    """What tests share is in tests/support; also in programs that a test writes."""
    text = path.read_text(encoding="utf-8")
    assert not re.search(r"^\s*(from|import) (test_|conftest|tests\b)", text, re.MULTILINE)
    if path.parent.name == "support":
        assert len(text.splitlines()) <= 300
        assert ast.get_docstring(ast.parse(text)), "every module says what it holds"


def test_models_are_imported_in_backends_only() -> None:
    stage_files = [ROOT / "stages" / f"{name}.py" for name in STAGES]
    core_files = sorted((ROOT / "stages" / "core").rglob("*.py"))
    for path in (*stage_files, *core_files):
        found = {name.split(".")[0] for name in imported_names(ast.parse(path.read_text(encoding="utf-8")))}
        assert not found & set(BACKENDS), path


def test_the_schema_does_not_drift() -> None:
    assert (ROOT / SCHEMA).read_text(encoding="utf-8") == schema_text(), "run `make schema`"
    json.loads(schema_text())


@pytest.mark.parametrize(
    "command",
    [
        ["ruff", "check", "."],
        ["ruff", "format", "--check", "."],
        ["mypy"],
        ["snakefmt", "--check", "Snakefile", "workflow/rules"],
        ["snakemake", "--lint"],
    ],
    ids=" ".join,
)
def test_the_checkers_are_clean(command: list[str]) -> None:
    done = subprocess.run([sys.executable, "-m", *command], cwd=ROOT, capture_output=True, text=True)
    assert done.returncode == 0, done.stdout + done.stderr


def test_the_lock_serves_the_project() -> None:
    """Every dependency of pyproject.toml but experiment trackers is pinned in requirements.lock, and the pin fits its range."""
    import tomllib

    from packaging.requirements import Requirement

    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    lines = (ROOT / "requirements.lock").read_text(encoding="utf-8").splitlines()
    pins = {
        name.lower().replace("_", "-"): version
        for name, _, version in (line.partition("==") for line in lines if "==" in line)
    }
    extras = [texts for extra, texts in project["optional-dependencies"].items() if extra not in TRACKERS]
    for text in [*project["dependencies"], *chain.from_iterable(extras)]:
        requirement = Requirement(text)
        name = requirement.name.lower().replace("_", "-")
        assert name in pins and requirement.specifier.contains(pins[name], prereleases=True), text
