"""The documentation as a site: every document is in it, no link is broken, nothing is asked of another server."""

import re
import tomllib
from collections.abc import Iterator
from importlib.util import find_spec, module_from_spec, spec_from_file_location
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest
from support.project import ROOT


def load(path: Path) -> ModuleType:
    spec = spec_from_file_location(path.stem, path)
    assert spec is not None and spec.loader is not None
    module = module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


build_site = load(ROOT / "docs/build_site.py")


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Path:
    if find_spec("zensical") is None:
        pytest.skip("zensical is not installed: pip install zensical (the extra docs)")
    folder = tmp_path_factory.mktemp("docs") / "site"
    assert build_site.build(folder) == 0, "a link or an anchor leads nowhere: zensical says which"
    return folder


def entries(nav: Any) -> Iterator[str]:
    for entry in nav if isinstance(nav, list) else nav.values():
        yield from [entry] if isinstance(entry, str) else entries(entry)


def test_every_document_is_in_the_navigation() -> None:
    nav = tomllib.loads((ROOT / "zensical.toml").read_text(encoding="utf-8"))["project"]["nav"]
    wanted = {build_site.page_of(f"docs/{path.name}") for path in (ROOT / "docs").glob("*.md")}
    assert wanted - set(entries(nav)) == set(), "give it a line in zensical.toml"


def test_every_page_is_made_and_asks_no_other_server(site: Path) -> None:
    nav = tomllib.loads((ROOT / "zensical.toml").read_text(encoding="utf-8"))["project"]["nav"]
    made = {str(path.relative_to(site / "html").with_suffix(".md")) for path in (site / "html").rglob("*.html")}
    assert {page.replace("README", "index") for page in entries(nav)} <= made
    assert len([page for page in made if page.startswith("source/")]) > 30, "files that documents link to"
    for page in (site / "html").rglob("*.html"):
        text = page.read_text(encoding="utf-8")
        loaded = re.findall(
            r"<(?:script|img|iframe|source|link(?! rel=\"?canonical))\b[^>]*?(?:src|href)=\"?(https?:[^\s\">]+)", text
        )
        assert not loaded, f"{page.name} loads {loaded}"
        assert not re.search(r"<p>[^<]*\n(- |\d\. |\|)", text), (
            f"{page.name}: a list or a table without a blank line before it"
        )


def test_the_search_knows_documents_and_not_code(site: Path) -> None:
    index = (site / "html/search.json").read_text(encoding="utf-8")
    assert "Fletcher-32" in index and "source/stages" not in index


@pytest.mark.parametrize("link", ["[x](nowhere.md)", "[x](cache.md#nowhere)"])
def test_a_broken_link_ends_the_build(link: str, tmp_path: Path, site: Path) -> None:
    (tmp_path / "pages").mkdir()
    (tmp_path / "pages/index.md").write_text(f"# Start\n\n{link}\n", encoding="utf-8")
    (tmp_path / "pages/cache.md").write_text("# The cache\n", encoding="utf-8")
    config = (ROOT / "zensical.toml").read_text(encoding="utf-8")
    (tmp_path / "zensical.toml").write_text(re.sub(r"(?s)^nav = .*?^\]\n", "", config, flags=re.M), encoding="utf-8")
    assert build_site.render(tmp_path) != 0


def test_a_link_to_what_is_not_there_is_named() -> None:
    with pytest.raises(ValueError, match=r"docs/a\.md: links to \.\./stages/gone\.py, which is not there"):
        build_site.with_links("[x](../stages/gone.py)", "docs/a.md")
    text, linked = build_site.with_links("`[x](gone)` [y](../README.md#run)", "docs/a.md")
    assert text == "`[x](gone)` [y](index.md#run)" and linked == ["README.md"]


def test_a_folder_of_somebody_elses_is_left_alone(tmp_path: Path) -> None:
    (tmp_path / "pages").mkdir()
    (tmp_path / "pages/mine.txt").write_text("mine", encoding="utf-8")
    with pytest.raises(ValueError, match="did not make"):
        build_site.build(tmp_path)
    assert (tmp_path / "pages/mine.txt").exists()
