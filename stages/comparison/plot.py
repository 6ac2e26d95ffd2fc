"""The plot of a comparison: for every mix of sources the quoted figure by threshold, precision by recall of the
chosen tracks, and the recall of tracks by their number. And a second one: figures by the weight of existence."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from stages.comparison.lines import TRACK_FIGURES, Line
from stages.comparison.measure import OWN, Mix
from stages.comparison.recall import LEVELS, TRACKED, Ranks
from stages.core.state.cache import atomic_path

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

CURVES = {"Final": "-", "J&F": "--", "N-acc": ":", "T-acc": "-."}  # figure by the weight of existence → style
LEVEL_STYLES = ("--", "-")  # of recall.LEVELS, the looser first


def plot(
    lines: Sequence[Line],
    swept: Sequence[Line],
    ranks: Mapping[tuple[Mix, str, str], Ranks],
    metric: str,
    title: str,
    files: Sequence[Path],
) -> None:
    """Draws the plot into `files`, by their suffix (.png, .svg); equal figures give equal bytes."""
    import matplotlib
    from matplotlib.figure import Figure

    mixes = list(dict.fromkeys(line.mix for line in lines))
    names = dict.fromkeys([*(line.name for line in (*lines, *swept)), TRACKED])
    colours = {name: f"C{i % 10}" for i, name in enumerate(names)}
    with matplotlib.rc_context({"svg.hashsalt": "referee", "font.size": 9}):
        figure = Figure(figsize=(13, 4 * len(mixes) + 0.7), layout="constrained")
        axes = figure.subplots(len(mixes), 3, squeeze=False)
        for mix, row in zip(mixes, axes, strict=True):
            mine, moving = ([line for line in some if line.mix == mix] for some in (lines, swept))
            draw_thresholds(row[0], mine, moving, metric, colours)
            draw_precision(row[1], mine, moving, colours)
            draw_recall(row[2], {key[1:]: ranked for key, ranked in ranks.items() if key[0] == mix}, colours)
            row[0].set_title(f"{title}, tracks: {'+'.join(mix)}", loc="left")
        draw_legend(figure, colours)
        for file in files:
            save(figure, file)


def draw_thresholds(
    axes: "Axes", lines: Sequence[Line], swept: Sequence[Line], metric: str, colours: Mapping[str, str]
) -> None:
    """Methods that decide by themselves are horizontal lines; the band is a standard deviation over runs."""
    for line in lines:
        spread_of_line = line.figures[metric]
        if line.label == OWN and spread_of_line is not None:
            axes.axhline(spread_of_line.mean, color=colours[line.name], linestyle=":")
    for name in dict.fromkeys(line.name for line in swept):
        mine = [line for line in swept if line.name == name]
        points = [(line.threshold or 0.0, spread) for line in mine if (spread := line.figures[metric])]
        threshold = [t for t, _ in points]
        centre = np.array([s.mean for _, s in points])
        width = np.array([s.deviation or 0.0 for _, s in points])
        axes.plot(threshold, centre, color=colours[name])
        axes.fill_between(threshold, centre - width, centre + width, color=colours[name], alpha=0.2, linewidth=0)
    axes.set(xlabel="threshold", ylabel=metric, xlim=(0, 1), ylim=(0, 1))


def draw_precision(axes: "Axes", lines: Sequence[Line], swept: Sequence[Line], colours: Mapping[str, str]) -> None:
    """A curve over thresholds per swept method, a point per method that decides by itself."""
    precision, recall, _ = TRACK_FIGURES
    for name in dict.fromkeys(line.name for line in swept):
        pairs = [(line.figures[recall], line.figures[precision]) for line in swept if line.name == name]
        known = [
            (r.mean, p.mean) for r, p in pairs if r and p and (r.mean or p.mean)
        ]  # no point where nothing is chosen
        axes.plot([r for r, _ in known], [p for _, p in known], color=colours[name])
    for line in lines:
        r, p = line.figures[recall], line.figures[precision]
        if line.label == OWN and r and p:
            axes.plot(r.mean, p.mean, "o", color=colours[line.name])
    axes.set(xlabel="recall of chosen tracks", ylabel="precision of chosen tracks", xlim=(0, 1.02), ylim=(0, 1.02))


def draw_recall(axes: "Axes", ranks: Mapping[tuple[str, str], Ranks], colours: Mapping[str, str]) -> None:
    """Means over runs."""
    from matplotlib.ticker import MaxNLocator

    for order in dict.fromkeys(order for order, _ in ranks):
        runs = [ranked for (name, _), ranked in ranks.items() if name == order]
        for level, style in zip(runs[0].places, LEVEL_STYLES, strict=True):
            recall_K = np.mean([run.curve(level) for run in runs], axis=0)
            axes.plot(np.arange(1, len(recall_K) + 1), recall_K, style, color=colours[order])
    for level, style in zip(LEVELS, LEVEL_STYLES, strict=True):
        axes.plot([], [], style, color="black", label=f"IoU ≥ {level}")
    axes.set(xlabel="tracks kept per expression", ylabel="recall of referred objects", ylim=(0, 1))
    axes.xaxis.set_major_locator(MaxNLocator(integer=True))
    axes.legend(loc="lower right")


def draw_legend(figure: "Figure", colours: Mapping[str, str]) -> None:
    from matplotlib.lines import Line2D

    handles = [Line2D([], [], color=colour, label=name) for name, colour in colours.items()]
    figure.legend(handles=handles, loc="outside lower center", ncols=min(len(handles), 10))


def plot_existence(lines: Sequence[Line], title: str, files: Sequence[Path]) -> None:
    """Draws the curves of every decision into `files`, by their suffix; equal figures give equal bytes."""
    import matplotlib
    from matplotlib.figure import Figure

    names = list(dict.fromkeys(line.name for line in lines))
    with matplotlib.rc_context({"svg.hashsalt": "referee", "font.size": 9}):
        figure = Figure(figsize=(7, 4 * len(names) + 0.3), layout="constrained")
        for name, [axes] in zip(names, figure.subplots(len(names), 1, squeeze=False), strict=True):
            mine = [line for line in lines if line.name == name]
            for drawn, style in CURVES.items():
                points = [(float(line.label), spread) for line in mine if (spread := line.figures.get(drawn))]
                factors, centre = [factor for factor, _ in points], np.array([spread.mean for _, spread in points])
                width = np.array([spread.deviation or 0.0 for _, spread in points])
                axes.plot(factors, centre, style, label=drawn)
                axes.fill_between(factors, centre - width, centre + width, alpha=0.2, linewidth=0)
            axes.axvline(1.0, color="grey", linewidth=0.5)
            axes.set(xlabel="weight of existence, in its own", ylim=(0, 1))
            axes.set_title(f"{title}: {name}", loc="left")
            axes.legend(loc="lower right")
        for file in files:
            save(figure, file)


def save(figure: "Figure", file: Path) -> None:
    kind = file.suffix.lstrip(".")
    metadata = {"Date": None, "Creator": None} if kind == "svg" else {"Software": None}
    with atomic_path(file) as temporary:
        figure.savefig(temporary, format=kind, dpi=120, metadata=metadata)
