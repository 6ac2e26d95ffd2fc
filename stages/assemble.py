"""Assembles the deliverable of one split: results/<dataset>/<split>.

Reads what evaluate and render_predictions left in the cache. Writes
  predictions/         PNG masks in the layout of the data set's submission (links into the cache)
  submission.zip       the same, as the data set's server takes it (stages/exchange/layouts.py)
  overlays/            an MP4 an expression: outlines, tint and the sentence
  metrics.json         the official figures, or that there is no ground truth
  per_expression.csv   a row an expression
  config.yaml          the config as it held for this data set
  provenance.json      versions, weights ids, fingerprints, commit
The folder is built beside its place and renamed: it is there as a whole or not at all.
"""

import json
import logging
import os
import shutil
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from stages.core.config.resolved import dataset_config
from stages.core.records import Video
from stages.core.run.cli import Job, run_stage
from stages.core.state.cache import CacheError
from stages.core.state.graph import RENDER_PREDICTIONS
from stages.core.state.marks import mark, refuse_foreign, remove_ours
from stages.core.state.provenance import collect_provenance
from stages.datasets import open_split
from stages.exchange.importing import imported_record
from stages.exchange.submission import write_submissions
from stages.metrics.report import collect, summarise

log = logging.getLogger(__name__)


def run(job: Job) -> None:
    split = open_split(job.config, job.dataset, job.split)
    videos = split.videos()[: job.limit]
    target = Path(job.config.paths.results) / job.dataset / job.split
    refuse_foreign(target)  # before the work, not after it
    building = target.with_name(f".{target.name}.{os.getpid()}.tmp")
    clean_leftovers(target)
    try:
        make_folder(building)
        link_renders(job, videos, building)
        write_scores(job, videos, building)
        write_submissions(job.layout, split, videos, building / "predictions", building)
        (building / "config.yaml").write_text(dataset_config(job.config, job.dataset), encoding="utf-8")
        write_document(building / "provenance.json", provenance_of(job))
        mark(building, f"results of {job.dataset}/{job.split}")
        remove_ours(target)
        building.rename(target)
    finally:
        shutil.rmtree(building, ignore_errors=True)
    log.info("%s/%s: results are in %s", job.dataset, job.split, target)


def make_folder(folder: Path) -> None:
    try:
        folder.mkdir(parents=True)
    except OSError as error:
        raise CacheError(
            f"{folder.parent}: not writable ({error.strerror}); check its rights or paths.results"
        ) from error


def clean_leftovers(target: Path) -> None:
    """Removes what killed runs left half built."""
    for leftover in target.parent.glob(f".{target.name}.*.tmp"):
        shutil.rmtree(leftover, ignore_errors=True)


def link_renders(job: Job, videos: Sequence[Video], folder: Path) -> None:
    """predictions/<video>/… and overlays/<video>/… as hard links: they outlive the cache and cost no space."""
    for kind in ("predictions", "overlays"):
        (folder / kind).mkdir()
        for video in videos:
            rendered = job.layout.folder(RENDER_PREDICTIONS) / video.id / kind
            if rendered.is_dir():
                shutil.copytree(rendered, folder / kind / video.id, copy_function=link_or_copy)


def link_or_copy(source: str, target: str) -> None:
    try:
        os.link(source, target)
    except OSError:  # another file system
        shutil.copy2(source, target)


def write_scores(job: Job, videos: Sequence[Video], folder: Path) -> None:
    import pandas

    evaluation = collect(job.layout, videos)
    rows = evaluation.rows
    write_document(folder / "metrics.json", summarise(evaluation, job.dataset, job.split))
    table = pandas.DataFrame(rows, columns=list(rows[0]) if rows else ["video", "expression"])
    table.to_csv(folder / "per_expression.csv", index=False, lineterminator="\r\n")  # as RFC 4180 has it


def provenance_of(job: Job) -> dict[str, Any]:
    """Of imported predictions it says where they came from, and names no weights: none of ours made them."""
    provenance = collect_provenance(job.config, job.layout)
    imported = imported_record(job.layout)
    return provenance if imported is None else {**provenance, "weights": {}, "imported": imported}


def write_document(path: Path, document: Mapping[str, Any]) -> None:
    path.write_text(json.dumps(document, indent=1, ensure_ascii=False) + "\n", encoding="utf-8")


def main(argv: Sequence[str] | None = None) -> int:
    return run_stage(run, __doc__, argv)


if __name__ == "__main__":
    raise SystemExit(main())
