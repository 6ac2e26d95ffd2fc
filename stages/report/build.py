"""From a run to its report: videos first, one by one, then what stands above them."""

import logging
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from PIL import Image

from stages.core.records import Split, Video
from stages.core.run.cli import Job
from stages.core.run.progress import Progress
from stages.core.state.cache import CacheError, remedy
from stages.core.state.frames import FrameFolder, open_frames
from stages.core.state.graph import EVALUATE, RERANK_TRACKS
from stages.metrics.protocols import protocol_of
from stages.metrics.report import Evaluation, collect
from stages.report.asked import Redrawn, redraw
from stages.report.entries import Entry
from stages.report.measured import Measured, measure
from stages.report.media import end_of, jpeg, times_of, write_thumb, write_video
from stages.report.names import page_names
from stages.report.other import OtherRun
from stages.report.page import VideoPage, open_page, page_data
from stages.report.small import Image3, shrink_frame, worst_frame
from stages.report.writing import write_data

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Notice:
    """Something that the report has not, why, and how to get it."""

    what: str
    why: str


@dataclass(frozen=True)
class Wanted:
    """What the report is to have: `media` = videos and pictures; `bounds` = oracle, baselines and curves."""

    media: bool = True
    bounds: bool = True


@dataclass
class Report:
    """What the pages above the videos are made of.

    Attributes:
        videos: that have a page; `names`: video id → the name of its page.
        entries: one per expression of these videos, in order.
        notices: what is missing.
    """

    job: Job
    split: Split
    other: OtherRun | None
    videos: list[Video]
    names: Mapping[str, str]
    evaluation: Evaluation | None
    measured: Measured
    entries: list[Entry]
    notices: list[Notice] = field(default_factory=list)

    @property
    def metric(self) -> str:
        return protocol_of(self.split.protocol).metric


def open_report(job: Job, split: Split, other: OtherRun | None, wanted: Wanted) -> Report:
    """Reads, and measures, what the split has.

    Raises:
        ValueError: nothing is decided yet, or the other run is about other sentences.
    """
    every = split.videos()[: job.limit]
    videos = [v for v in every if not v.defect and job.layout.file(RERANK_TRACKS, v.id).exists()]
    if not videos:
        raise ValueError(
            f"{job.dataset}/{job.split}: nothing is decided yet in {job.layout.folder(RERANK_TRACKS)}; run `referee run "
            f"{job.dataset}/{job.split}` first"
        )
    notices = []
    if len(videos) < len(every):
        notices.append(
            Notice(f"{len(every) - len(videos)} of {len(every)} videos", "they have no decisions, or failed")
        )
    evaluation = _evaluation(job, split, videos, notices)
    measured = _measured(job, split, videos, wanted, notices)
    entries = _entries(job, videos, evaluation, measured, other)
    if other is not None and not any(entry.other for entry in entries):
        raise ValueError(f"--compare {other.folder}: has none of the sentences of {job.dataset}/{job.split}")
    names = page_names([video.id for video in videos])
    return Report(job, split, other, videos, names, evaluation, measured, entries, notices)


def _evaluation(job: Job, split: Split, videos: Sequence[Video], notices: list[Notice]) -> Evaluation | None:
    done = [video for video in videos if job.layout.file(EVALUATE, video.id).exists()]
    if not split.has_truth:
        notices.append(Notice("Scores", "this split has no ground truth here; candidates and answers are shown"))
    elif len(done) < len(videos):
        lacking = f"{len(videos) - len(done)} of {len(videos)} videos are not evaluated; "
        notices.append(Notice("Some scores" if done else "Scores", lacking + remedy(EVALUATE.name)))
    return collect(job.layout, done) if done else None


def _measured(job: Job, split: Split, videos: Sequence[Video], wanted: Wanted, notices: list[Notice]) -> Measured:
    what = "Oracle, baselines and threshold curves"
    if not split.has_truth:
        notices.append(Notice(what, "they need ground truth"))
    elif not wanted.bounds:
        notices.append(Notice(what, "left out with --quick"))
    else:
        try:
            return measure(job, split, videos)
        except ValueError as error:
            notices.append(Notice(what, str(error)))
    return Measured()


def _entries(
    job: Job, videos: Sequence[Video], evaluation: Evaluation | None, measured: Measured, other: OtherRun | None
) -> list[Entry]:
    rows = {(row["video"], row["expression"]): row for row in evaluation.rows} if evaluation else {}
    return [
        Entry(
            video.id,
            _length(job, video),
            expression,
            rows.get((video.id, expression.id)),
            measured.oracle.get((video.id, expression.id)),
            other.row_of(video, expression) if other else None,
        )
        for video in videos
        for expression in video.expressions
    ]


def _length(job: Job, video: Video) -> int:
    return len(video.frames) or len(open_frames(job.layout, video.id))


# ---------------------------------------------------------------- videos


def write_videos(report: Report, folder: Path, wanted: Wanted) -> None:
    """Media, pictures and data of every video's page; what a video lacks becomes a notice."""
    entries: dict[str, dict[str, Entry]] = {}
    for entry in report.entries:
        entries.setdefault(entry.video, {})[entry.expression.id] = entry
    if not wanted.media:
        report.notices.append(Notice("Videos and pictures", "left out with --no-media"))
    lost: dict[str, str] = {}
    with Progress(f"report {report.job.dataset}/{report.job.split}", len(report.videos)) as progress:
        for video in report.videos:
            try:
                write_video_data(report, video, entries[video.id], folder, wanted, lost)
            except CacheError as error:
                raise ValueError(f"video {video.id!r}: {error}") from error
            progress.more(1)
    if lost:
        first, reason = next(iter(lost.items()))
        report.notices.append(Notice(f"What was asked about {len(lost)} videos", f"{first}: {reason}"))


def write_video_data(
    report: Report, video: Video, entries: Mapping[str, Entry], folder: Path, wanted: Wanted, lost: dict[str, str]
) -> None:
    job, name = report.job, report.names[video.id]
    frames = open_frames(job.layout, video.id)
    page = open_page(job, report.split, video, frames, report.other)
    redrawn = redraw(job, video, page.gathered)
    if redrawn.unknown:
        lost[video.id] = "; ".join(f"{name}: {reason}" for name, reason in redrawn.unknown.items())
    data = page_data(job, page, entries)
    data |= {"times": times_of(frames), "end": end_of(frames), "media": None, "thumbs": None, "pictures": wanted.media}
    if wanted.media:
        data |= {"media": f"media/{name}.mp4", "thumbs": f"thumbs/{name}"}
        write_media(page, frames, name, folder)
        write_pictures(redrawn, folder / "pictures")
    write_data(folder / "data" / f"{name}.js", "video", {**data, "asked": redrawn.to_json()})


def write_media(page: VideoPage, frames: FrameFolder, name: str, folder: Path) -> None:
    images: list[Image3] = [shrink_frame(frames.load(t)) for t in range(len(frames))]
    write_video(folder / "media" / f"{name}.mp4", frames, images)
    for expression in page.video.expressions:
        pred_T, truth_T = page.prediction(expression), page.target(expression)
        t = worst_frame(pred_T, truth_T, page.size)
        path = folder / "thumbs" / name / f"{expression.id}.jpg"
        write_thumb(path, images[t], pred_T[t], None if truth_T is None else truth_T[t])


def write_pictures(redrawn: Redrawn, folder: Path) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    for name, picture in redrawn.pictures.items():
        if not (folder / f"{name}.jpg").exists():
            (folder / f"{name}.jpg").write_bytes(jpeg(Image.fromarray(picture.pixels_HW3)))


def summary_of(report: Report) -> dict[str, Any]:
    """What `metrics.json` would say of these videos."""
    from stages.metrics.report import summarise

    if report.evaluation is None:
        return {"counts": {"videos": len(report.videos), "expressions": len(report.entries)}, "truth": False}
    return summarise(report.evaluation, report.job.dataset, report.job.split)
