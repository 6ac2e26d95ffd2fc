"""The plots of a report, as SVG inside its pages: drawn by matplotlib, coloured by the page, so that they are light or dark
with it. Equal figures give equal bytes.
"""

import io
import re
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from stages.comparison.lines import Line
from stages.report.cuts import Cut
from stages.report.entries import Entry

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

# Colours as matplotlib takes them → what the page's style sheet calls them.
VARIABLES = {"#010101": "ink", "#020202": "soft", "#030303": "line", "#040404": "a", "#050505": "b", "#060606": "c"}
INK, SOFT, LINE, A, B, C = VARIABLES
STYLE: Any = {
    "svg.fonttype": "none",
    "svg.hashsalt": "referee",
    "font.size": 9,
    "text.color": INK,
    "axes.edgecolor": LINE,
    "axes.labelcolor": SOFT,
    "xtick.color": SOFT,
    "ytick.color": INK,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.axisbelow": True,
    "grid.color": LINE,
    "grid.linewidth": 0.6,
}
MARKED = (("N-acc", B, "D"), ("T-acc", C, "o"))


def plot_cut(cut: Cut, metric: str, name: str) -> str:
    """Bars of the quoted figure, marks of N-acc and T-acc, and hollow bars of the other run."""
    from matplotlib.lines import Line2D
    from matplotlib.patches import Patch

    figure, axes = _open(4.6, 0.55 + 0.3 * len(cut.parts))
    for y, part in enumerate(cut.parts):
        value = part.figures.get(metric)
        axes.barh(y, 100 * (value or 0.0), height=0.62, color=A)
        if part.others is not None and (other := part.others.get(metric)) is not None:
            axes.barh(y, 100 * other, height=0.62, color="none", edgecolor=INK, linewidth=1, linestyle="--")
        for label, colour, marker in MARKED:
            if (share := part.figures.get(label)) is not None:
                (mark,) = axes.plot(100 * share, y, marker, color=colour, markersize=6)
                mark.set(markeredgecolor=INK, markeredgewidth=0.6, clip_on=False)  # at 0 and 100 it is whole
    labels = [f"{part.name}  ({part.count:,})" for part in cut.parts]
    axes.set_yticks(range(len(labels)), [label.replace("$", r"\$") for label in labels])
    axes.set(xlim=(0, 101), ylim=(len(labels) - 0.5, -0.5))
    axes.tick_params(axis="y", length=0)
    axes.grid(axis="x")
    handles: list[Any] = [Patch(color=A, label=metric)]
    shown = [mark for mark in MARKED if any(part.figures.get(mark[0]) is not None for part in cut.parts)]
    handles += [Line2D([], [], color=c, marker=m, linestyle="", label=label) for label, c, m in shown]
    if any(part.others for part in cut.parts):
        handles.append(Patch(facecolor="none", edgecolor=INK, linestyle="--", label=f"{metric}, other run"))
    figure.legend(handles=handles, loc="outside lower center", ncols=4, frameon=False)
    return _svg(figure, name)


def plot_thresholds(swept: Sequence[Line], own: Line | None, metric: str, name: str) -> str:
    """The quoted figure, N-acc and T-acc of one score at all thresholds; dotted: the run's own decisions."""
    figure, axes = _open(4.6, 2.7)
    for label, colour, style in ((metric, A, "-"), ("N-acc", B, "--"), ("T-acc", C, "-.")):
        points = [(line.threshold or 0.0, spread.mean) for line in swept if (spread := line.figures.get(label))]
        if points:
            axes.plot([t for t, _ in points], [100 * v for _, v in points], style, color=colour, label=label)
    if own is not None and (spread := own.figures.get(metric)):
        axes.axhline(100 * spread.mean, color=A, linestyle=":", label=f"{metric}, as decided")
    axes.set(xlim=(0, 1), ylim=(0, 101), xlabel="threshold of the probability")
    axes.grid()
    figure.legend(loc="outside lower center", ncols=4, frameon=False)
    return _svg(figure, name)


def plot_methods(lines: Sequence[Line], metric: str, name: str) -> str:
    """A bar per method, the best on top."""
    known = [(line, spread.mean) for line in lines if (spread := line.figures.get(metric))]
    known.sort(key=lambda pair: -pair[1])
    figure, axes = _open(4.6, 0.3 + 0.3 * len(known))
    for y, (line, value) in enumerate(known):
        axes.barh(y, 100 * value, height=0.62, color=A if line.name == "this run" else SOFT)
        axes.text(100 * value + 1, y, f"{100 * value:.1f}", va="center")
    axes.set_yticks(range(len(known)), [line.name for line, _ in known])
    axes.set(xlim=(0, 110), ylim=(len(known) - 0.5, -0.5))
    axes.tick_params(axis="y", length=0)
    axes.grid(axis="x")
    return _svg(figure, name)


def plot_against(entries: Sequence[Entry], name: str) -> str:
    """A point per expression: J&F in the other run, and in this one."""
    pairs = [(e.other_jf, e.jf) for e in entries if e.jf is not None and e.other_jf is not None]
    figure, axes = _open(4.0, 3.8)
    axes.plot([0, 100], [0, 100], color=LINE, linewidth=1)
    axes.plot([100 * x for x, _ in pairs], [100 * y for _, y in pairs], "o", color=A, alpha=0.55, markersize=4)
    axes.set(xlim=(-2, 102), ylim=(-2, 102), xlabel="J&F, other run", ylabel="J&F, this run", aspect="equal")
    axes.grid()
    return _svg(figure, name)


def _open(width: float, height: float) -> "tuple[Figure, Axes]":
    import matplotlib
    from matplotlib.figure import Figure

    with matplotlib.rc_context(STYLE):
        figure = Figure(figsize=(width, height + 0.35), layout="constrained")
        return figure, figure.subplots()


def _svg(figure: "Figure", name: str) -> str:
    """The drawing for the inside of a page; `name` keeps its ids apart from those of other drawings."""
    import matplotlib

    content = io.StringIO()
    with matplotlib.rc_context(STYLE):
        figure.savefig(content, format="svg", transparent=True, metadata={"Date": None, "Creator": None})
    text = content.getvalue()
    text = text[text.index("<svg") :]
    text = re.sub(r"<metadata>.*?</metadata>", "", text, flags=re.DOTALL)
    text = re.sub(r'(id="|url\(#|href="#)', rf"\g<1>{name}-", text)
    text = re.sub(
        r'<svg [^>]*?viewBox="([^"]+)"[^>]*>', r'<svg viewBox="\1" aria-hidden="true" focusable="false">', text
    )
    for colour, variable in VARIABLES.items():
        text = text.replace(colour, f"var(--{variable})")
    return text.strip()
