"""What our modules import: each other without a circle, and of others what pyproject.toml declares."""

import ast
import re
import sys
import tomllib
from collections.abc import Iterator, Mapping
from graphlib import CycleError, TopologicalSorter
from importlib.metadata import packages_distributions
from pathlib import Path

import pytest
from support.project import ROOT

from stages.core.trackers import TRACKERS

NOT_DEPENDED_ON = {"stages", "triton"}  # torch for CUDA brings Triton, and nothing needs it elsewhere


def modules(folder: Path) -> dict[str, Path]:
    """Module → its file, of everything below `folder`, a package."""
    files = sorted(folder.rglob("*.py"))
    return {".".join(f.relative_to(folder.parent).with_suffix("").parts).removesuffix(".__init__"): f for f in files}


def imports_of(tree: ast.AST) -> Iterator[tuple[str, str | None]]:
    """(module, name taken from it) of every import that can run, those inside functions included."""
    if isinstance(tree, ast.If) and ast.unparse(tree.test).endswith("TYPE_CHECKING"):
        for node in tree.orelse:
            yield from imports_of(node)
    elif isinstance(tree, ast.Import):
        yield from ((alias.name, None) for alias in tree.names)
    elif isinstance(tree, ast.ImportFrom):
        assert tree.level == 0 and tree.module, "imports name their module in full"
        yield from ((tree.module, alias.name) for alias in tree.names)
    else:
        for node in ast.iter_child_nodes(tree):
            yield from imports_of(node)


def graph_of(files: Mapping[str, Path]) -> dict[str, set[str]]:
    """Module → modules that it names, and the packages around those, whose __init__.py this runs first."""
    graph: dict[str, set[str]] = {}
    for name, file in files.items():
        named = set()
        for module, attribute in imports_of(ast.parse(file.read_text(encoding="utf-8"))):
            submodule = f"{module}.{attribute}"
            named.add(submodule if submodule in files else module)
        around = {package for target in named for package in packages_of(target)} - packages_of(name)
        graph[name] = ((named | around) & files.keys()) - {name}
    return graph


def packages_of(module: str) -> set[str]:
    """ "a.b.c" → a, a.b."""
    parts = module.split(".")
    return {".".join(parts[:n]) for n in range(1, len(parts))}


def cycle_in(graph: Mapping[str, set[str]]) -> list[str]:
    """One circle, as a walk that ends where it began; [] where there is none."""
    try:
        TopologicalSorter(graph).prepare()
    except CycleError as error:
        return list(error.args[1])
    return []


def test_no_module_imports_itself_by_way_of_others() -> None:
    graph = graph_of(modules(ROOT / "stages"))
    assert len(graph) > 200 and "stages.core.records" in graph["stages.core.state.prompt_file"]
    assert cycle_in(graph) == []


@pytest.mark.parametrize(
    ("lazy", "circle"),
    [
        ("def late():\n    from package.a import A\n", True),
        ("import package.a\n", True),
        ("from package import a\n", True),
        ("from typing import TYPE_CHECKING\nif TYPE_CHECKING:\n    from package.a import A\n", False),
    ],
)
def test_a_circle_is_found(tmp_path: Path, lazy: str, circle: bool) -> None:
    (tmp_path / "package").mkdir()
    for name, text in {"__init__": "", "a": "from package.b import B\nA = B", "b": lazy}.items():
        (tmp_path / "package" / f"{name}.py").write_text(text)
    assert bool(cycle_in(graph_of(modules(tmp_path / "package")))) is circle


def test_a_circle_through_a_package_is_found(tmp_path: Path) -> None:
    """Whoever imports inner.leaf runs inner/__init__.py first."""
    (tmp_path / "package" / "inner").mkdir(parents=True)
    texts = {
        "__init__": "",
        "user": "import package.inner.leaf",
        "inner/__init__": "import package.user",
        "inner/leaf": "",
    }
    for name, text in texts.items():
        (tmp_path / "package" / f"{name}.py").write_text(text)
    assert cycle_in(graph_of(modules(tmp_path / "package")))


def test_what_is_imported_is_declared() -> None:
    """A library that comes along with another one may not come along any more one day."""
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    extras = project["optional-dependencies"]
    trackers = [text for name in TRACKERS for text in extras.get(name, [])]  # which need not be installed
    texts = [*project["dependencies"], *extras["groundingdino"], *trackers]
    declared = {normal(re.split(r"[^\w.-]", text)[0]) for text in texts}
    homes = packages_distributions()
    missing: dict[str, str] = {}
    for name, file in modules(ROOT / "stages").items():
        for module, _ in imports_of(ast.parse(file.read_text(encoding="utf-8"))):
            top = module.partition(".")[0]
            if top not in sys.stdlib_module_names | NOT_DEPENDED_ON:
                assert top in homes or top in TRACKERS, f"{name}: {top} is not installed"
                if not declared & {normal(home) for home in homes.get(top, [top])}:
                    missing.setdefault(top, name)
    assert not missing, "add them to the dependencies of pyproject.toml"


def normal(name: str) -> str:
    return re.sub(r"[-_.]+", "-", name).lower()
