"""A marked block of a Markdown document that a command rewrites, so that every figure in it is printed by one.

<!-- compare shapes/valid_u: begin -->
…
<!-- compare shapes/valid_u: end -->
"""

from pathlib import Path

from stages.core.state.cache import atomic_path


def rewrite(document: Path, name: str, text: str) -> None:
    """Puts `text` between the markers of `name`; everything else stays.

    Raises:
        ValueError: the document is missing, or does not hold the two markers once each, in order.
    """
    if not document.is_file():
        raise ValueError(
            f"{document}: does not exist; write to a document that holds the lines {' and '.join(markers(name))}"
        )
    old = document.read_text(encoding="utf-8")
    begin, end = markers(name)
    if old.count(begin) != 1 or old.count(end) != 1 or old.index(begin) > old.index(end):
        raise ValueError(
            f"{document}: put the lines {begin} and {end} where the figures belong, once each, in this order"
        )
    head, tail = old[: old.index(begin) + len(begin)], old[old.index(end) :]
    with atomic_path(document) as temporary:
        temporary.write_text(f"{head}\n\n{text.strip()}\n\n{tail}", encoding="utf-8")


def markers(name: str) -> tuple[str, str]:
    """The lines before and after the block."""
    return f"<!-- compare {name}: begin -->", f"<!-- compare {name}: end -->"
