"""What a comparison writes: tables, a plot, and the block of a document."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from stages.comparison.lines import Line
from stages.comparison.measure import BEST, Mix
from stages.comparison.plot import plot, plot_existence
from stages.comparison.recall import Ranks
from stages.comparison.tables import csv_of_lines, csv_of_ranks, decisions_markdown, markdown
from stages.core.state.cache import atomic_path, write_json
from stages.core.state.marks import mark, refuse_foreign


@dataclass(frozen=True)
class Result:
    """A finished comparison.

    Attributes:
        metric: the figure that the split's protocol quotes, `protocol` what it is quoted under.
        lines: of the table; `swept` at all thresholds; `curves` of decisions, by the weight of existence.
        ranks: (sources, order, run) → the ranks of the fitting tracks.
        notes: sentences under the table.
        command: what prints it.
        facts: JSON values that say what was compared.
    """

    dataset: str
    split: str
    metric: str
    protocol: str
    lines: Sequence[Line]
    swept: Sequence[Line]
    curves: Sequence[Line]
    ranks: Mapping[tuple[Mix, str, str], Ranks]
    notes: Sequence[str]
    command: str
    facts: Mapping[str, Any]


def write_result(result: Result, folder: Path) -> None:
    """Writes table.md, table.csv, sweep.csv, recall.csv, compare.json, compare.png and compare.svg, and where decisions look at
    existence existence.csv, .png and .svg; raises ValueError where the folder is not ours."""
    refuse_foreign(folder)
    folder.mkdir(parents=True, exist_ok=True)
    mark(folder, f"comparison on {result.dataset}/{result.split}")
    _write(folder / "table.md", document_block(result))
    _write(folder / "table.csv", csv_of_lines(result.lines))
    _write(folder / "sweep.csv", csv_of_lines(result.swept))
    _write(folder / "recall.csv", csv_of_ranks(result.ranks))
    write_json(folder / "compare.json", result.facts)
    title = f"{result.dataset}/{result.split}"
    files = [folder / "compare.png", folder / "compare.svg"]
    plain = [line for line in result.lines if line.cost is None]
    plot(plain or result.lines, result.swept, result.ranks, result.metric, title, files)
    of_existence = [folder / f"existence.{kind}" for kind in ("csv", "png", "svg")]
    if result.curves:
        _write(of_existence[0], csv_of_lines(result.curves))
        plot_existence(result.curves, title, of_existence[1:])
    else:
        for file in of_existence:  # of an earlier comparison
            file.unlink(missing_ok=True)


def document_block(result: Result) -> str:
    """The tables with the command that prints them and the notes needed to read them."""
    notes = [
        f"{result.protocol}. In percent; ± is the sample standard deviation over seeds or runs; the rest is one run.",
        *result.notes,
    ]
    if any(line.label == BEST for line in result.lines):
        notes.append("A threshold that is best here was chosen on this very split: more than anyone gets elsewhere.")
    listed = "".join(f"- {note}\n" for note in notes)
    decisions = [line for line in result.lines if line.cost is not None]
    plain = [line for line in result.lines if line.cost is None]
    tables = [markdown(plain, result.metric)] if plain else []
    tables += [decisions_markdown(decisions, result.lines, result.metric)] if decisions else []
    return f"`{result.command}` prints:\n\n{chr(10).join(tables)}\n{listed}"


def _write(path: Path, text: str) -> None:
    with atomic_path(path) as temporary:
        temporary.write_text(text, encoding="utf-8")
