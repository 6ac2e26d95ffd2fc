"""The pages above the videos, and everything that all pages share: templates, style, scripts, table data."""

import shutil
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from stages.comparison.lines import Line, share_of_oracle
from stages.report.build import Report, Wanted, summary_of
from stages.report.cuts import Cut, Part, cuts_of
from stages.report.entries import OUTCOMES, RIGHT, UNSCORED, Entry, by_cost
from stages.report.measured import BY_FINAL, BY_SCORE, OWN
from stages.report.plots import plot_against, plot_cut, plot_methods, plot_thresholds
from stages.report.writing import write_data

if TYPE_CHECKING:
    from jinja2 import Environment
    from markupsafe import Markup

HERE = Path(__file__).parent
GALLERY = 12  # failures with a picture on the first page
METHOD_FIGURES = ("J&F", "N-acc", "T-acc", "Final")
COLUMNS = (
    "video", "page", "id", "sentence", "group", "outcome", "jf", "cost", "choice", "tracks", "confidence", "chosen",
    "objects", "frames", "words", "motion", "other", "change",
)  # fmt: skip


def write_site(report: Report, folder: Path, wanted: Wanted) -> None:
    """Everything but the videos' data."""
    shutil.copytree(HERE / "assets", folder / "assets")
    write_data(folder / "data" / "table.js", "table", table_data(report, wanted))
    shared = shared_values(report)
    pages = {"index.html": overview(report, wanted), "expressions.html": expressions(report)}
    if report.other is not None:
        pages["compare.html"] = comparison(report, wanted)
    environment = open_environment()
    for name, values in pages.items():
        text = environment.get_template(f"{name}.j2").render(shared | values | {"here": name, "root": ""})
        (folder / name).write_text(text, encoding="utf-8")
    (folder / "videos").mkdir()
    template = environment.get_template("video.html.j2")
    for place, video in enumerate(report.videos):
        values = video_values(report, place) | {"here": "video", "root": "../", "compared": report.other is not None}
        text = template.render(shared | values)
        (folder / "videos" / f"{report.names[video.id]}.html").write_text(text, encoding="utf-8")


def open_environment() -> "Environment":
    """Sentences are data: what is put into a page is escaped."""
    from jinja2 import Environment, FileSystemLoader, StrictUndefined

    environment = Environment(
        loader=FileSystemLoader(HERE / "templates"),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        keep_trailing_newline=True,
    )
    environment.filters |= {"percent": percent, "signed": signed, "thousands": lambda n: f"{n:,}"}
    return environment


def percent(value: float | None) -> str:
    return "–" if value is None else f"{100 * value:.1f}"


def signed(value: float | None) -> str:
    return "–" if value is None else f"{100 * value:+.1f}".replace("-", "−")


def shared_values(report: Report) -> dict[str, Any]:
    return {
        "title": f"{report.job.dataset}/{report.job.split}",
        "has_other": report.other is not None,
        "first_page": report.names[report.videos[0].id],
    }


def overview(report: Report, wanted: Wanted) -> dict[str, Any]:
    summary = summary_of(report)
    costly = [entry for entry in by_cost(report.entries) if entry.outcome != RIGHT][:GALLERY]
    return {
        "summary": summary,
        "cards": cards(report, summary),
        "outcomes": outcome_counts(report.entries),
        "notices": report.notices,
        "failures": [failure(report, entry) for entry in costly],
        "media": wanted.media,
        "cuts": [drawn_cut(cut, report.metric, f"cut{n}") for n, cut in enumerate(cuts(report))],
        "curves": curves(report),
        "methods": methods(report),
        "methods_plot": inline(plot_methods(report.measured.lines, report.metric, "methods"))
        if report.measured.lines
        else None,
        "notes": list(report.measured.notes),
        "metric": report.metric,
    }


def cards(report: Report, summary: Mapping[str, Any]) -> list[dict[str, Any]]:
    """The figures of the protocol, the quoted one first, each with the change against the other run."""
    figures = dict(summary.get("figures", {}))
    others = report.other.summary.get("figures", {}) if report.other else {}
    names = [report.metric, *(name for name in figures if name != report.metric)] if figures else []
    made = []
    for name in names:
        mine, other = figures[name], others.get(name)
        change = None if mine is None or other is None else mine - other
        made.append({"name": name, "value": mine, "change": change, "quoted": name == report.metric})
    return made


def outcome_counts(entries: Sequence[Entry]) -> list[dict[str, Any]]:
    """How many of each outcome, and the share of all that was lost by it."""
    total = sum(entry.cost or 0.0 for entry in entries)
    counts = []
    for outcome in OUTCOMES:
        mine = [entry for entry in entries if entry.outcome == outcome]
        cost = sum(entry.cost or 0.0 for entry in mine)
        share = cost / total if total and outcome != UNSCORED else None
        if mine:
            counts.append({"name": outcome, "count": len(mine), "cost": share})
    return counts


def failure(report: Report, entry: Entry) -> dict[str, Any]:
    name = report.names[entry.video]
    return {"entry": entry, "page": name, "id": entry.expression.id}


def cuts(report: Report) -> list[Cut]:
    evaluation = report.evaluation
    return cuts_of(report.entries, evaluation.protocol, evaluation.extras) if evaluation else []


def drawn_cut(cut: Cut, metric: str, name: str) -> dict[str, Any]:
    """A cut as a drawing, and as the table that it shows."""
    columns = [metric, "N-acc", "T-acc"]
    known = [column for column in columns if any(part.figures.get(column) is not None for part in cut.parts)]
    compared = any(part.others for part in cut.parts)
    rows = [[part.name, part.count, *_cells(part, known, metric, compared)] for part in cut.parts]
    heads = ["", "expressions", *known, *([f"{metric}, other run"] if compared else [])]
    return {"cut": cut, "svg": inline(plot_cut(cut, metric, name)), "heads": heads, "rows": rows}


def _cells(part: Part, known: Sequence[str], metric: str, compared: bool) -> list[str]:
    cells = [percent(part.figures.get(column)) for column in known]
    return [*cells, percent((part.others or {}).get(metric))] if compared else cells


def curves(report: Report) -> list[dict[str, Any]]:
    """Threshold curves: of the final score, and of the selector's alone."""
    lines = report.measured.lines
    own = next((line for line in lines if line.name == OWN), None)
    drawn: list[dict[str, Any]] = []
    for name, about in ((BY_FINAL, "Final score"), (BY_SCORE, "The selector's score alone")):
        swept = [line for line in report.measured.swept if line.name == name]
        if not swept:
            continue
        best = max(swept, key=lambda line: _mean(line, report.metric))
        svg = plot_thresholds(swept, own, report.metric, f"curve{len(drawn)}")
        drawn.append({"about": about, "svg": inline(svg), "best": best.threshold, "value": _mean(best, report.metric)})
    return drawn


def methods(report: Report) -> list[dict[str, Any]]:
    lines, metric = report.measured.lines, report.metric
    ordered = sorted(lines, key=lambda line: -_mean(line, metric))
    names = [n for n in METHOD_FIGURES if any(line.figures.get(n) for line in lines)]
    return [
        {
            "name": line.name,
            "figures": {name: _value(line, name) for name in names},
            "share": share_of_oracle(line, lines, metric),
        }
        for line in ordered
    ]


def _mean(line: Line, name: str) -> float:
    value = _value(line, name)
    return -1.0 if value is None else value


def _value(line: Line, name: str) -> float | None:
    spread = line.figures.get(name)
    return None if spread is None else spread.mean


def inline(svg: str) -> "Markup":
    """A drawing of ours, which is put into a page as it is: matplotlib has escaped the words in it."""
    from markupsafe import Markup

    return Markup(svg)


def expressions(report: Report) -> dict[str, Any]:
    groups = sorted({entry.expression.group for entry in report.entries} - {""})
    found = {entry.outcome for entry in report.entries}
    return {
        "count": len(report.entries),
        "videos": len(report.videos),
        "groups": groups,
        "found": [outcome for outcome in OUTCOMES if outcome in found],
    }


def comparison(report: Report, wanted: Wanted) -> dict[str, Any]:
    assert report.other is not None
    changed = [entry for entry in report.entries if entry.change is not None]
    ordered = sorted(changed, key=lambda entry: entry.change or 0.0)
    summary = summary_of(report)
    return {
        "other": report.other,
        "cards": cards(report, summary),
        "figures": summary.get("figures", {}),
        "others": report.other.summary.get("figures", {}),
        "compared": len(changed),
        "without": len(report.entries) - len(changed),
        "better": sum((entry.change or 0.0) > 0.01 for entry in changed),
        "worse": sum((entry.change or 0.0) < -0.01 for entry in changed),
        "lost": [failure(report, entry) for entry in ordered[:GALLERY] if (entry.change or 0.0) < -0.01],
        "won": [failure(report, entry) for entry in ordered[::-1][:GALLERY] if (entry.change or 0.0) > 0.01],
        "plot": inline(plot_against(report.entries, "against")) if changed else None,
        "media": wanted.media,
    }


def video_values(report: Report, place: int) -> dict[str, Any]:
    names = [report.names[video.id] for video in report.videos]
    return {
        "video": report.videos[place].id,
        "page": names[place],
        "before": names[place - 1] if place else None,
        "after": names[place + 1] if place + 1 < len(names) else None,
        "place": place + 1,
        "total": len(names),
    }


def table_data(report: Report, wanted: Wanted) -> dict[str, Any]:
    """All expressions, a list of values each, in the order of COLUMNS."""
    rows = [_values(report, entry) for entry in report.entries]
    kept = [n for n in range(len(COLUMNS)) if any(row[n] not in (None, "") for row in rows)]
    return {
        "columns": [COLUMNS[n] for n in kept],
        "rows": [[row[n] for n in kept] for row in rows],
        "thumbs": wanted.media,
    }


def _values(report: Report, entry: Entry) -> list[Any]:
    row = entry.row or {}
    numbers = (entry.jf, entry.cost, entry.lost_by_choice, entry.lost_by_tracks, row.get("confidence"))
    return [
        entry.video,
        report.names[entry.video],
        entry.expression.id,
        entry.expression.raw,
        entry.expression.group,
        entry.outcome,
        *(None if number is None else round(number, 4) for number in numbers),
        row.get("tracks"),
        entry.objects,
        entry.frames,
        entry.words,
        " ".join(entry.motion),
        *(None if number is None else round(number, 4) for number in (entry.other_jf, entry.change)),
    ]
