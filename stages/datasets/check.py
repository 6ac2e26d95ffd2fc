"""Looks a whole split over: what it holds, and every defect in it, without stopping at the first.

An error is what a stage would fail on. A warning is what a reader logs on its way: other counts than the
published ones, videos that no index lists.
"""

import logging
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from itertools import pairwise
from typing import Literal

from stages.core.media import masks
from stages.core.records import MaskSequence, Split, Video
from stages.datasets.checks import image_size
from stages.datasets.frame_files import frame_files
from stages.datasets.split import expression_defects

NO_VIDEO = "the split lists no video; restore its index"
Size = tuple[int, int]  # (height, width)


@dataclass(frozen=True)
class Finding:
    """One thing that is wrong; `video` is "" where it concerns the split as a whole."""

    level: Literal["error", "warning"]
    video: str
    message: str


@dataclass
class Report:
    """What a split holds and what is wrong with it.

    Attributes:
        videos, expressions, no_target: as the index lists them.
        frames: listed, or declared by video files.
        annotations: objects that expressions refer to, counted once per video.
        masks: frames in which these objects are annotated.
        scored: frames that are scored.
        findings: in the order in which they were met.
    """

    videos: int = 0
    expressions: int = 0
    no_target: int = 0
    frames: int = 0
    annotations: int = 0
    masks: int = 0
    scored: int = 0
    findings: list[Finding] = field(default_factory=list)

    def count(self, level: str) -> int:
        return sum(finding.level == level for finding in self.findings)


def check_split(open_it: Callable[[], Split], limit: int | None = None, *, decode: bool = False) -> Report:
    """Opens a split and reads everything but its frames' pixels.

    Args:
        open_it: gives the split; what it raises as ValueError or OSError is an error of the report.
        limit: only the first videos.
        decode: read the pixels of every frame too.
    """
    report = Report()
    with _warnings_of_readers(report):
        try:
            split = open_it()
            videos = split.videos()
        except (ValueError, OSError) as error:
            report.findings.append(Finding("error", "", str(error)))
            return report
        of_expressions = {message for video in videos for message in expression_defects(video)}
        names = [message for message in split.left_out if message not in of_expressions]
        report.findings += [Finding("error", "", message) for message in names]
        if not videos:
            report.findings.append(Finding("error", "", NO_VIDEO))
        for video in videos[:limit]:
            _VideoCheck(report, split, video).run(decode=decode)
    return report


@contextmanager
def _warnings_of_readers(report: Report) -> Iterator[None]:
    """Turns what the readers log into findings."""

    class Collector(logging.Handler):
        def emit(self, record: logging.LogRecord) -> None:
            report.findings.append(Finding("warning", "", record.getMessage()))

    readers, collector = logging.getLogger("stages.datasets"), Collector(logging.WARNING)
    propagate, readers.propagate = readers.propagate, False
    readers.addHandler(collector)
    try:
        yield
    finally:
        readers.removeHandler(collector)
        readers.propagate = propagate


class _VideoCheck:
    """Everything about one video."""

    def __init__(self, report: Report, split: Split, video: Video) -> None:
        self.report, self.split, self.video = report, split, video

    def run(self, *, decode: bool) -> None:
        video, report = self.video, self.report
        report.videos += 1
        report.expressions += len(video.expressions)
        report.no_target += sum(expression.annotations == () for expression in video.expressions)
        report.frames += len(video.frames)
        report.findings += [Finding("error", video.id, message) for message in expression_defects(video)]
        if video.defect:
            self._error(video.defect)
            return
        if not video.expressions:
            self._error(f"{video.location}: has no expression; delete its entry from the index")
        with self._recording():
            n_frames, size = self._frames(decode)
            with self._recording():
                self._annotations(self.split.annotations(video), n_frames, size)
            with self._recording():
                self._sequence("void", self.split.void(video), n_frames, size)
            with self._recording():
                self._sequence("foreground", self.split.foreground(video), n_frames, size)
            with self._recording():
                self._scored(self.split.scored_frames(video), n_frames)

    def _frames(self, decode: bool) -> tuple[int, Size]:
        """Number and size of the frames; raises ValueError where one is missing."""
        if not self.video.frames:
            return self._clip(decode)
        as_shown = self.split.as_shown
        files = frame_files(self.video, as_shown=as_shown)
        size = image_size(files[0])
        if decode:
            from stages.core.media.pictures import inspect_picture

            size = inspect_picture(files[0], upright=as_shown).size
            for path in files[1:]:
                other = inspect_picture(path, upright=as_shown).size
                if other != size:
                    raise ValueError(f"{path}: is of size {other} (height, width), {files[0]} of {size}; replace it")
        return len(files), size

    def _clip(self, decode: bool) -> tuple[int, Size]:
        from stages.core.media.video import decode as decode_frames
        from stages.core.media.video import measure

        n_frames, size = measure(self.video.location)
        self.report.frames += n_frames
        if decode:
            for frame in decode_frames(self.video.location, as_shown=self.split.as_shown):
                size = (frame.image_HW3.shape[0], frame.image_HW3.shape[1])
        return n_frames, size

    def _annotations(self, annotations: Mapping[str, MaskSequence], n_frames: int, size: Size) -> None:
        self.report.annotations += len(annotations)
        for expression in self.video.expressions:
            lacking = [key for key in expression.annotations or () if key not in annotations]
            if lacking:
                self._error(f"{self.video.location}: expression {expression.id!r} refers to {lacking}, not annotated")
        for key, sequence in annotations.items():
            self.report.masks += sum(rle is not None for rle in sequence)
            self._sequence(f"annotation {key}", sequence, n_frames, size)

    def _sequence(self, what: str, sequence: MaskSequence | None, n_frames: int, size: Size) -> None:
        if sequence is None:
            return
        where = f"{self.video.location}: {what}"
        if len(sequence) != n_frames:
            raise ValueError(f"{where} has {len(sequence)} masks for {n_frames} frames; restore one of them")
        for index, rle in enumerate(sequence):
            if rle is not None and tuple(masks.check(rle)["size"]) != size:
                raise ValueError(f"{where} is of size {rle['size']} (height, width) in frame {index}, frames of {size}")

    def _scored(self, scored: Sequence[int] | None, n_frames: int) -> None:
        scored = range(n_frames) if scored is None else scored
        self.report.scored += len(scored)
        if any(a >= b for a, b in pairwise(scored)) or any(not 0 <= index < n_frames for index in scored):
            raise ValueError(f"{self.video.location}: scored frames {list(scored)} do not fit {n_frames} frames")

    @contextmanager
    def _recording(self) -> Iterator[None]:
        try:
            yield
        except (ValueError, OSError) as error:
            self._error(str(error))

    def _error(self, message: str) -> None:
        finding = Finding("error", self.video.id, message)
        if finding not in self.report.findings[-3:]:  # annotations and scored frames trip over the same file
            self.report.findings.append(finding)
