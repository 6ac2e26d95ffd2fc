"""Builds the documentation as a site: python docs/build_site.py [DIR]; without DIR, site/ in the project's folder.

DIR/pages   what zensical reads: README.md as the start page, every document, and whatever of the project they link to: other
            documents, pictures, and source files as pages of code. Links are rewritten, the text is not.
DIR/html    the site. It asks no other server for anything, and its search works from file:// too.

A link or an anchor that leads nowhere ends the build.
"""

import argparse
import os
import posixpath
import re
import shutil
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

from stages.core.state.marks import mark, refuse_foreign

ROOT = Path(__file__).resolve().parent.parent
CONFIG = ROOT / "zensical.toml"
LINK = re.compile(r"(?<!\\)\]\((?!https?:|mailto:)([^)\s#]+)(#[^)\s]*)?\)")
CODE = re.compile(r"^```.*?^```|`[^`\n]+`", re.MULTILINE | re.DOTALL)
LANGUAGES = {".py": "python", ".yaml": "yaml", ".json": "json", ".toml": "toml", ".smk": "python", ".sh": "bash"}
PICTURES = {".svg", ".jpg", ".png", ".gif", ".webp", ".mp4"}
UNSEARCHED = "---\nsearch:\n  exclude: true\n---\n\n"  # files of code, of which the words would hide the documents'


def page_of(path: str) -> str:
    """Where a file of the project is among the pages, both as relative paths."""
    if path == "README.md":
        return "index.md"
    place = path.removeprefix("docs/")
    return place if Path(path).suffix in PICTURES | {".md"} else f"source/{place}.md"


def gather(pages: Path) -> list[str]:
    """Writes every page, following links; returns the paths of what became one.

    Raises:
        ValueError: a document links to what is not there.
    """
    waiting = ["README.md", *sorted(f"docs/{path.name}" for path in (ROOT / "docs").glob("*.md"))]
    done: list[str] = []
    while waiting:
        path = waiting.pop()
        if path in done:
            continue
        done.append(path)
        target = pages / page_of(path)
        target.parent.mkdir(parents=True, exist_ok=True)
        if Path(path).suffix in PICTURES:
            shutil.copyfile(ROOT / path, target)
        elif Path(path).suffix == ".md":
            text, linked = with_links((ROOT / path).read_text(encoding="utf-8"), path)
            target.write_text(text, encoding="utf-8")
            waiting += linked
        else:
            target.write_text(code_page(path), encoding="utf-8")
    return done


def with_links(text: str, path: str) -> tuple[str, list[str]]:
    """A document with its links rewritten for the site, and the files of the project that it links to."""
    code = [match.span() for match in CODE.finditer(text)]
    linked: list[str] = []

    def rewritten(match: re.Match[str]) -> str:
        if any(start < match.start() < end for start, end in code):
            return match[0]
        other = posixpath.normpath(posixpath.join(posixpath.dirname(path), match[1]))
        if not (ROOT / other).exists() or other.startswith(".."):
            raise ValueError(f"{path}: links to {match[1]}, which is not there")
        linked.append(other)
        return f"]({posixpath.relpath(page_of(other), posixpath.dirname(page_of(path)) or '.')}{match[2] or ''})"

    return LINK.sub(rewritten, text), linked


def code_page(path: str) -> str:
    """A page that shows a file, or what a folder holds."""
    place = ROOT / path
    if place.is_dir():
        names = sorted(f"{child.name}{'/' * child.is_dir()}" for child in place.iterdir() if child.name[0] not in "._")
        text, language = "\n".join(names), "text"
    else:
        text, language = place.read_text(encoding="utf-8").rstrip("\n"), LANGUAGES.get(place.suffix, "text")
    return f"{UNSEARCHED}# {path.replace('_', chr(92) + '_')}\n\n````{language}\n{text}\n````\n"


def build(folder: Path) -> int:
    """Gathers and renders; returns the exit status of zensical, which is not 0 where it found a broken link.

    Raises:
        ValueError: a document links to what is not there, or `folder` holds what is not ours.
    """
    refuse_foreign(folder)
    folder.mkdir(parents=True, exist_ok=True)
    mark(folder, "documentation as a site")
    for name in ("pages", "html"):
        shutil.rmtree(folder / name, ignore_errors=True)
    gather(folder / "pages")
    shutil.copytree(ROOT / "docs/assets", folder / "pages/assets")
    shutil.copyfile(CONFIG, folder / CONFIG.name)
    return render(folder)


def render(folder: Path) -> int:
    """pages/ → html/; returns the exit status of zensical."""
    command = [sys.executable, "-m", "zensical", "build", "--strict", "--clean", "--config-file", CONFIG.name]
    return subprocess.run(command, cwd=folder, env=os.environ | {"NO_COLOR": "1"}).returncode


def main(argv: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", nargs="?", type=Path, default=ROOT / "site", metavar="DIR")
    folder = parser.parse_args(argv).folder
    try:
        status = build(folder)
    except ValueError as error:
        print(f"error: {error}", file=sys.stderr)
        return 1
    if status == 0:
        print(folder / "html" / "index.html")
    return status


if __name__ == "__main__":
    raise SystemExit(main())
