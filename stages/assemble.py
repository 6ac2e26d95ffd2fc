"""Assembles the deliverable of one split: results/<dataset>/<split>.

Reads what evaluate and render_predictions left in the cache, and checks it: rendered files against their records, every
zip as check_submission does. A video that failed is left out and named, and then there is no zip. Writes
  predictions/         PNG masks in the layout of the data set's submission (links into the cache)
  submission.zip       the same, as the data set's server takes it (stages/exchange/layouts.py)
  overlays/            an MP4 per expression: outlines, tint and the sentence
  metrics.json         the official figures, or that there is no ground truth; what is empty, failed, left out
  per_expression.csv   one row per expression
  config.yaml          the config as it applied to this data set
  provenance.json      versions, weights ids, fingerprints, commit
The folder is built beside its place and renamed: it exists as a whole or not at all.
"""

import json
import logging
import os
import shutil
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from stages.core.config.file import Config
from stages.core.config.loading import settings_of
from stages.core.config.resolved import dataset_config
from stages.core.records import Split, Video
from stages.core.run.cli import Job, run_stage
from stages.core.state.cache import CacheError, remedy
from stages.core.state.failures import first_failure
from stages.core.state.graph import (
    BUILD_TRACKS,
    ENCODE_TEXT,
    EVALUATE,
    EXTRACT_FRAMES,
    GATHER_EVIDENCE,
    GENERATE_PROMPTS,
    RENDER_PREDICTIONS,
    RERANK_TRACKS,
    SCORE_TRACKS,
    STAGES,
)
from stages.core.state.marks import mark, refuse_foreign, remove_ours
from stages.core.state.provenance import Work, collect_provenance
from stages.core.state.renders import OVERLAYS, PREDICTIONS, open_render
from stages.core.state.temporary import remove_leftovers, temporary_beside
from stages.core.tables import EVIDENCE
from stages.datasets import open_split
from stages.exchange.check import check_zip
from stages.exchange.geometry import expected_files
from stages.exchange.importing import imported_record
from stages.exchange.layouts import layouts_of
from stages.exchange.submission import write_submissions
from stages.metrics.report import Outcome, collect, summarise
from stages.selectors import scoring_detector

log = logging.getLogger(__name__)


def run(job: Job) -> None:
    split = open_split(job.config, job.dataset, job.split)
    videos, failed = finished(job, split.videos()[: job.limit])
    target = Path(job.config.paths.results) / job.dataset / job.split
    refuse_foreign(target)  # before the work, not after it
    building = temporary_beside(target)
    remove_leftovers(target)
    try:
        make_folder(building)
        notes = link_renders(job, videos, building)
        outcome = Outcome(failed, list(split.left_out), notes)
        summary = write_scores(job, videos, building, outcome)
        if not failed:  # a server would score what is missing as wrong
            zips = write_submissions(job.layout, split, videos, building / "predictions", building)
            check_zips(job, split, videos, [building / name for name in zips])
        (building / "config.yaml").write_text(dataset_config(job.config, job.dataset), encoding="utf-8")
        write_document(building / "provenance.json", provenance_of(job))
        mark(building, f"results of {job.dataset}/{job.split}")
        remove_ours(target)
        building.rename(target)
    finally:
        shutil.rmtree(building, ignore_errors=True)
    log.log(logging.WARNING if failed else logging.INFO, "%s/%s: %s: %s", job.dataset, job.split, target, summary)


def finished(job: Job, videos: Sequence[Video]) -> tuple[list[Video], dict[str, str]]:
    """The videos that have an answer, and why the others failed.

    Raises:
        CacheError: a video is not evaluated or not rendered, and nothing says that it failed.
    """
    sound, failed = [], {}
    for video in videos:
        missing = [s for s in (EVALUATE, RENDER_PREDICTIONS) if not job.layout.file(s, video.id).exists()]
        failure = first_failure(job.layout, video.id) if missing else None
        reason = video.defect or ("" if failure is None else failure.reason)
        if reason:
            failed[video.id] = reason
        else:
            sound.append(video)
    if failed and not sound:
        raise ValueError(
            f"{job.dataset}/{job.split}: all {len(failed)} videos failed; the first: {next(iter(failed.values()))}"
        )
    return sound, failed


def check_zips(job: Job, split: Split, videos: Sequence[Video], zips: Sequence[Path]) -> None:
    """Raises CacheError if check_submission would not accept a zip: something happened to what was rendered."""
    for path, layout in zip(zips, layouts_of(split.protocol), strict=True):
        report = check_zip(path, layout, expected_files(job.layout, layout, split, videos))
        if not report.ok:
            kind, lines = next(iter(report.defects.items()))
            raise CacheError(
                f"{path.name}: {sum(map(len, report.defects.values()))} defects, as {kind}: {lines[0]}; "
                f"{remedy(RENDER_PREDICTIONS.name)} with --overwrite"
            )


def make_folder(folder: Path) -> None:
    try:
        folder.mkdir(parents=True)
    except OSError as error:
        raise CacheError(
            f"{folder.parent}: not writable ({error.strerror}); check its rights or paths.results"
        ) from error


def link_renders(job: Job, videos: Sequence[Video], folder: Path) -> dict[str, str]:
    """predictions/<video>/… and overlays/<video>/… as hard links: they outlive the cache and cost no space.

    Returns:
        <video>/<expression> → why its answer is empty.

    Raises:
        CacheError: a rendered file does not match its record, by size or digest.
    """
    notes: dict[str, str] = {}
    for kind in (PREDICTIONS, OVERLAYS):
        (folder / kind).mkdir()
    for video in videos:
        rendered = open_render(job.layout, video.id)
        if damage := rendered.damage(thorough=True):
            raise CacheError(f"{rendered.folder}: {damage}; {remedy(RENDER_PREDICTIONS.name)}")
        notes |= {f"{video.id}/{expression}": note for expression, note in rendered.notes.items()}
        for kind in (PREDICTIONS, OVERLAYS):
            if (rendered.folder / kind).is_dir():
                shutil.copytree(rendered.folder / kind, folder / kind / video.id, copy_function=link_or_copy)
    return notes


def link_or_copy(source: str, target: str) -> None:
    try:
        os.link(source, target)
    except OSError:  # another file system
        shutil.copy2(source, target)


def write_scores(job: Job, videos: Sequence[Video], folder: Path, outcome: Outcome) -> str:
    """Writes the figures; returns a summary of them in one line."""
    import pandas

    evaluation = collect(job.layout, videos)
    rows = evaluation.rows
    summary = summarise(evaluation, job.dataset, job.split, outcome)
    write_document(folder / "metrics.json", summary)
    table = pandas.DataFrame(rows, columns=list(rows[0]) if rows else ["video", "expression"])
    table.to_csv(folder / "per_expression.csv", index=False, lineterminator="\r\n")  # as RFC 4180 has it
    return str(summary["summary"])


def provenance_of(job: Job) -> dict[str, Any]:
    """For imported predictions it says where they came from, and names no weights: none of ours made them."""
    provenance = collect_provenance(job.config, job.layout, work_behind(job.config, job.dataset))
    imported = imported_record(job.layout)
    return provenance if imported is None else {**provenance, "weights": {}, "imported": imported}


def work_behind(config: Config, dataset: str) -> set[Work]:
    """The stages, and their branches, that the results of a split rest on."""
    own, has_selector = settings_of(config, dataset), not config.datasets[dataset].selector.is_none
    stages = [EXTRACT_FRAMES, *([ENCODE_TEXT] if has_selector else []), SCORE_TRACKS, RERANK_TRACKS, EVALUATE]
    work: set[Work] = {(stage, None) for stage in (*stages, RENDER_PREDICTIONS)}
    work |= {(stage, source) for stage in (GENERATE_PROMPTS, BUILD_TRACKS) for source in own.selector.sources.evaluate}
    if (detector := scoring_detector(config, dataset)) is not None:
        work.add((GENERATE_PROMPTS, detector.source))
    left: list[Work] = [(GATHER_EVIDENCE, name) for name in own.rerank.evidence]
    while left:
        stage, branch = left.pop()
        work.add((stage, branch))
        if stage is GATHER_EVIDENCE and branch is not None:  # it may read prompts, or other evidence
            entry = own.evidence[branch]
            read = [task.partition("-") for task in EVIDENCE[entry.kind].tasks(entry)]
            left += [(STAGES[name], of or None) for name, _, of in read]
    return work


def write_document(path: Path, document: Mapping[str, Any]) -> None:
    path.write_text(json.dumps(document, indent=1, ensure_ascii=False) + "\n", encoding="utf-8")


def main(argv: Sequence[str] | None = None) -> int:
    return run_stage(run, __doc__, argv)


if __name__ == "__main__":
    raise SystemExit(main())
