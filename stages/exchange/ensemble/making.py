"""Makes an ensemble: the mean of every video, all scores, the submission and the table."""

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from stages.core.records import Video
from stages.core.run.progress import Progress
from stages.core.state.cache import CacheError, atomic_path
from stages.exchange.check import check_zip
from stages.exchange.ensemble.asked import Opened
from stages.exchange.ensemble.fitting import FOLDER
from stages.exchange.ensemble.mean import Mean, Mixture
from stages.exchange.ensemble.runs import Decided, Run
from stages.exchange.ensemble.scores import Scorer, figures
from stages.exchange.ensemble.table import markdown
from stages.exchange.geometry import expected_files
from stages.exchange.importing import Import, import_video
from stages.exchange.layouts import layouts_of
from stages.exchange.submission import cached_items, write_zip


def average(target: Import, opened: Opened, runs: Sequence[Run], mean: Mean) -> dict[str, Any] | None:
    """Brings every video's mean and, with ground truth, all scores up to date; returns the figures by name."""
    job, split = opened.job, opened.split
    scorer = Scorer(split, job.settings.evaluate.boundary_ratio, job.settings.run.threads) if split.has_truth else None
    documents: dict[str, list[dict[str, Any]]] = {name: [] for name in (*(r.name for r in runs), target.name)}
    result = Run(target.name, str(target.root), Decided(target.layout, opened.videos, opened.folders))

    def score(one: Run, video: Video) -> None:
        if scorer is not None:
            path = target.layout.root / FOLDER / "runs" / one.name / f"{video.id}.json"
            documents[one.name].append(scorer.rows(path, one, video, opened.folders[video.id]))

    with Progress(f"ensemble {opened.place}", len(opened.videos)) as progress:
        for video in opened.videos:
            for one in runs:
                score(one, video)
            import_video(target, video, opened.folders[video.id], mean, overwrite=job.overwrite)
            score(result, video)
            progress.more(1)
    if scorer is None:
        return None
    return {name: figures(split, job.dataset, rows, opened.videos) for name, rows in documents.items()}


def write_zips(target: Import, opened: Opened, folder: Path) -> None:
    """The submissions of the split's protocol; raises CacheError if check_submission would not accept one."""
    split, videos, layout = opened.split, opened.videos, target.layout
    for zip_layout in layouts_of(split.protocol):
        path = folder / zip_layout.zip_name
        write_zip(path, cached_items(layout, zip_layout, split, videos))
        report = check_zip(path, zip_layout, expected_files(layout, zip_layout, split, videos))
        if not report.ok:
            kind, lines = next(iter(report.defects.items()))
            raise CacheError(f"{path}: {kind}: {lines[0]}; run again with --overwrite")


def document_of(
    target: Import,
    opened: Opened,
    runs: Sequence[Run],
    mixture: Mixture,
    report: Mapping[str, Any] | None,
    outcomes: Mapping[str, Any] | None,
) -> dict[str, Any]:
    """What ensemble.json holds."""

    def line(name: str, weight: float | None, **more: Any) -> dict[str, Any]:
        outcome = {} if outcomes is None else outcomes[name]
        own = {key: outcome[key] for key in ("groups", "counts") if key in outcome}
        return {"name": name, "weight": weight, **more, "figures": outcome.get("figures", {}), **own}

    one = {} if outcomes is None else outcomes[target.name]
    return {
        "dataset": opened.job.dataset,
        "split": opened.job.split,
        "threshold": mixture.threshold,
        "fit": report,
        "metric": one.get("metric"),
        "protocol": one.get("protocol"),
        "mean": line(target.name, None),
        "runs": [
            line(r.name, mixture.weights[r.name], **{"from": r.origin, "probabilities": r.soft is not None})
            for r in runs
        ],
    }


def write_documents(folder: Path, document: Mapping[str, Any]) -> None:
    texts = {
        "ensemble.json": json.dumps(document, indent=1, ensure_ascii=False) + "\n",
        "ensemble.md": table_of(document),
    }
    for name, text in texts.items():
        with atomic_path(folder / name) as temporary:
            temporary.write_text(text, encoding="utf-8")


def table_of(document: Mapping[str, Any]) -> str:
    return markdown([*document["runs"], document["mean"]], document["metric"])
