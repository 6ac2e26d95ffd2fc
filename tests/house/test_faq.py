"""Messages that docs/faq.md quotes are those of the code: of ours, or of Snakemake's locks."""

import ast
import inspect
import re
from collections.abc import Iterator
from pathlib import Path

import pytest
from snakemake import exceptions
from support.project import ROOT

QUOTED = re.findall(
    r"^```text\n(.*?)\n```", (ROOT / "docs/faq.md").read_text(encoding="utf-8"), re.MULTILINE | re.DOTALL
)
HOLE = "\0"  # a value in a message of the code
LETTERS = 7  # of a message that are the code's own, so that it is recognised
LONGEST = 1000  # a longer string is a document


def strings_of(tree: ast.AST) -> Iterator[str]:
    """Every string of a module, with a hole where a value is put in."""
    for node in ast.walk(tree):
        if isinstance(node, ast.JoinedStr):
            yield "".join(str(part.value) if isinstance(part, ast.Constant) else HOLE for part in node.values)
        elif isinstance(node, ast.Constant) and isinstance(node.value, str):
            yield re.sub(r"%[srd]|%\.\d+f", HOLE, node.value)


@pytest.fixture(scope="module")
def known() -> list[str]:
    sources = [path.read_text(encoding="utf-8") for path in sorted((ROOT / "stages").rglob("*.py"))]
    sources.append(inspect.getsource(exceptions))
    trees = [ast.parse(source) for source in sources]
    return list({text for tree in trees for text in strings_of(tree) if LETTERS <= len(text) <= LONGEST})


def pattern_of(message: str) -> re.Pattern[str]:
    """Matches a string of the code that may have given the message: "…" is anything."""
    return re.compile(".*?".join(map(re.escape, message.strip("…").split("…"))), re.DOTALL)


def test_the_faq_quotes_messages() -> None:
    assert len(QUOTED) > 25
    assert all(len(re.sub(r"[…\W]", "", message)) >= LETTERS for message in QUOTED), "too little to recognise"


@pytest.mark.parametrize("message", QUOTED, ids=lambda message: re.sub(r"\W+", "_", message)[:40])
def test_a_quoted_message_is_the_codes(message: str, known: list[str]) -> None:
    pattern = pattern_of(message)
    assert any(pattern.search(text) for text in known), "the code has no such message any more: quote today's"


def test_another_message_would_be_noticed(known: list[str]) -> None:
    assert not any(pattern_of("…: does not exist any more; …").search(text) for text in known)
    assert isinstance(ROOT, Path)
