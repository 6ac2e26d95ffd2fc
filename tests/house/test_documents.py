"""What documents name exists: links, files, flags of commands, keys of the config. Commands' names: test_front_door.py."""

import json
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from support.project import ROOT

from stages.__main__ import MODULES
from stages.core.config.loading import load_config, merge, read_yaml, settings_of

DOCUMENTS = sorted(
    [*ROOT.glob("*.md"), *ROOT.glob("docs/*.md"), *ROOT.glob("benchmarks/*.md"), ROOT / "results/README.md"]
)
VERB_OF = {module.removesuffix(".__main__"): verb for verb, module in MODULES.items()}
# `referee run` and `demo` pass snakemake's flags on.
COMMAND = re.compile(
    r"(?:python|torchrun [-\w ]+?) -m (stages[\w.]*\w)([^`#\n]*)|\breferee (?!run\b|demo\b)([a-z][\w-]+)([^`#\n]*)"
)
FLAG = re.compile(r"(?<!\S)(--[a-z][a-z-]*)")
CODE = re.compile(r"^```\w*\n(.*?)^```|^    (?!\s)(.*?)$|`([^`]+)`", re.MULTILINE | re.DOTALL)
PLACE = re.compile(r"(?:stages|tests|docs|workflow|benchmarks|envs)(?:/[\w.-]+)+/?")


def named(document: Path) -> str:
    return str(document.relative_to(ROOT))


def code_of(document: Path) -> Iterator[str]:
    """Everything that a document writes as code: blocks, indented lines, words in backticks."""
    for match in CODE.finditer(document.read_text(encoding="utf-8")):
        yield next(filter(None, match.groups()), "")


@pytest.fixture(scope="module")
def helps() -> dict[str, str]:
    """Verb → its --help."""
    code = (
        "import contextlib, io, json\n"
        "from stages.__main__ import MODULES, main\n"
        "helps = {}\n"
        "for verb in MODULES:\n"
        "    with contextlib.redirect_stdout(io.StringIO()) as text, contextlib.suppress(SystemExit):\n"
        "        main([verb, '--help'])\n"
        "    helps[verb] = text.getvalue()\n"
        "print(json.dumps(helps))\n"
    )
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    return dict(json.loads(done.stdout))


@pytest.mark.parametrize("document", DOCUMENTS, ids=named)
def test_links_lead_somewhere(document: Path) -> None:
    for target, anchor in re.findall(r"\]\((?!http)([^)#]*)(#[^)]+)?\)", document.read_text(encoding="utf-8")):
        place = document.parent / target if target else document
        assert place.exists(), target
        if anchor:
            headings = re.findall(r"^#+ (.*)$", place.read_text(encoding="utf-8"), re.MULTILINE)
            known = {"#" + re.sub(r"[^\w\- ]", "", heading).lower().replace(" ", "-") for heading in headings}
            assert anchor in known, f"{target}{anchor}"


@pytest.mark.parametrize("document", DOCUMENTS, ids=named)
def test_files_that_are_named_exist(document: Path) -> None:
    for code in code_of(document):
        for place in PLACE.findall(code):
            assert (ROOT / place).exists(), place


def test_flags_of_commands_exist(helps: dict[str, str]) -> None:
    tried = 0
    for document in DOCUMENTS:
        for code in code_of(document):
            for module, after_module, verb, after_verb in COMMAND.findall(code):
                help_text = helps[verb.replace("_", "-") or VERB_OF[module]]
                for flag in FLAG.findall(after_module or after_verb):
                    assert re.search(rf"(?<!\S)\[?{flag}\b", help_text), f"{named(document)}: {verb or module} {flag}"
                    tried += 1
    assert tried > 60


def keys_of(value: Any) -> set[str]:
    """Every key path of nested mappings, as "a.b.c", with those of `datasets` under any data set's name."""
    if not isinstance(value, dict):
        return set()
    return set(value) | {f"{key}.{inner}" for key, part in value.items() for inner in keys_of(part)}


def test_keys_of_the_config_exist() -> None:
    """A word in backticks that begins with a section and a dot is a key; <name> and * stand for any."""
    raw = read_yaml(ROOT / "config.yaml")
    config = load_config(ROOT / "config.yaml")
    known = keys_of(merge(raw, settings_of(config, "mevis").model_dump(mode="json")))
    sections = "|".join(raw)
    tried = 0
    for document in DOCUMENTS:
        for word in re.findall(rf"`((?:{sections})(?:\.[\w<>*]+)+)(?:`|:)", document.read_text(encoding="utf-8")):
            pattern = re.compile(re.sub(r"<\w+>|\\\*", r"\\w+", re.escape(word)))
            if not word.endswith((".py", ".yaml", ".md", ".json", ".h5", ".png", ".svg")):
                assert any(pattern.fullmatch(key) for key in known), f"{named(document)}: {word}"
                tried += 1
    assert tried > 25
