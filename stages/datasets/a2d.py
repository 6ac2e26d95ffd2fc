"""Reader of A2D-Sentences (Gavrilyuk et al., CVPR 2018): clips, one sentence per actor, masks in a few frames.

    <root>/Release/videoset.csv              one clip per line, no header; first cell its id, last 0 train, 1 test
    <root>/Release/clips320H/<video>.mp4
    <root>/text_annotations/a2d_annotation.txt        video_id,instance_id,query
    <root>/text_annotations/a2d_missed_videos.txt     clips without annotation
    <root>/text_annotations/a2d_annotation_with_instances/<video>/<frame:05d>.h5     see `a2d_masks`

An expression and its annotation go by the instance's id. A scored sample is a frame of `scored_frames` in
which the annotation is not None: a frame that lacks the instance is not a sample of it (so do MTTR and
ReferFormer). Frame numbers in file names count the clip's own frames from 1, so that every frame has to be
extracted: frames.fps, frames.max_frames and frames.max_side stay null for this data set.
"""

import logging
from collections.abc import Mapping, Sequence
from pathlib import Path

from stages.core.records import Expression, MaskSequence, Rle, Video
from stages.core.spelling import nfc, stored_path
from stages.core.tables import Counts, Format
from stages.core.text_files import read_text
from stages.datasets.checks import warn_of_counts
from stages.datasets.split import SplitDefaults
from stages.datasets.table_file import Row, check_video_id, load_table, read_expression

log = logging.getLogger(__name__)

VIDEOSET = Path("Release/videoset.csv")
CLIPS = Path("Release/clips320H")
TEXTS = Path("text_annotations")
HEADER = ("video_id", "instance_id", "query")
SPLITS = {"train": "0", "test": "1"}  # the last cell of videoset.csv
MISTAKE = "1 (copy)"  # instance of one line of video T6bNPuKV-wY, which the authors' evaluation drops
# Clips that papers count in each split; the sentences of a split are not published, those of the table are.
PUBLISHED: Counts = {"train": ((3017, None),), "test": ()}  # sources differ on the clips of test
PUBLISHED_ROWS = {"videoset.csv": 3782, "a2d_annotation.txt": 6655}


def open_split(root: Path, split: str, limit: int | None, published: bool = True) -> "A2dSplit":
    """Reads the tables.

    Args:
        split: "train" or "test".
        limit: only the first videos of videoset.csv; None = all.
        published: it is the published set, whose counts are known: counts that differ give a warning.

    Raises:
        ValueError: there is no such split, or a table is missing, broken, or disagrees with another.
    """
    if split not in SPLITS:
        raise ValueError(f"A2D-Sentences has the splits {' and '.join(SPLITS)}, not {split!r}; fix datasets.*.splits")
    subset = _read_subsets(root / VIDEOSET)
    missed = _read_missed(root / TEXTS / "a2d_missed_videos.txt", subset)
    sentences = _read_sentences(root / TEXTS / "a2d_annotation.txt", subset)
    videos: list[Video] = []
    left_out: list[str] = []
    for video, number in subset.items():
        if number != SPLITS[split] or video in missed:
            continue
        if video in sentences:
            record, wrong = _video(root, video, sentences[video])
            videos.append(record)
            left_out += wrong
        else:
            log.warning("%s: video %r has no line in a2d_annotation.txt and is left out", root / VIDEOSET, video)
    warn_of_counts(
        root / VIDEOSET, len(videos), sum(len(v.expressions) for v in videos), PUBLISHED[split] if published else ()
    )
    return A2dSplit(root, split, videos[:limit], left_out)


class A2dSplit(SplitDefaults):
    """One split of A2D-Sentences (see `stages.core.records.Split`)."""

    protocol = "a2d"

    def __init__(self, root: Path, name: str, videos: list[Video], left_out: Sequence[str]) -> None:
        super().__init__(name, videos, has_truth=True, left_out=left_out)
        self.root = root

    def annotations(self, video: Video) -> Mapping[str, MaskSequence]:
        """Instance id → one RLE (or None) for every frame of the clip.

        Raises:
            ValueError: the clip or an h5 file is missing or damaged, or they disagree.
        """
        from stages.core.media.video import measure
        from stages.datasets.a2d_masks import read_instances

        n_frames = measure(video.location).n_frames
        instances: dict[str, list[Rle | None]] = {expression.id: [None] * n_frames for expression in video.expressions}
        size: tuple[int, int] | None = None
        for index, path in self._files(video):
            if index >= n_frames:
                raise ValueError(
                    f"{path}: annotates frame {index + 1}, but {video.location} has {n_frames} frames; restore the "
                    "clip (and extract all its frames: frames.fps and frames.max_frames are null)"
                )
            for instance, rle in read_instances(path).items():
                if size not in (None, rle["size"]):
                    raise ValueError(f"{path}: masks of size {rle['size']}, others of the video are {size}; restore it")
                size = rle["size"]
                if str(instance) in instances:
                    instances[str(instance)][index] = rle
                else:
                    log.warning("%s: instance %d of video %r has no sentence", path, instance, video.id)
        for key, masks in instances.items():
            if not any(masks):
                log.warning("%s: no frame holds instance %s: no sample is scored", self._folder(video), key)
        return instances

    def scored_frames(self, video: Video) -> Sequence[int]:
        """Indices of the annotated frames, ascending; raises ValueError where the video has none."""
        return [index for index, _ in self._files(video)]

    def sources(self, video: Video) -> Sequence[Path]:
        """The folder of annotated frames."""
        return [self._folder(video)]

    def _folder(self, video: Video) -> Path:
        return stored_path(self.root / TEXTS / "a2d_annotation_with_instances", video.id)

    def _files(self, video: Video) -> list[tuple[int, Path]]:
        """Frame index, from 0, and h5 file of every annotated frame."""
        folder = self._folder(video)
        paths = sorted(path for path in folder.glob("*.h5") if not path.name.startswith("."))
        if not paths:
            raise ValueError(f"{folder}: holds no annotated frame (*.h5) of video {video.id!r}; restore it")
        files: dict[int, Path] = {}
        for path in paths:
            number = int(path.stem) if path.stem.isdecimal() and path.stem.isascii() else 0
            if number < 1 or number - 1 in files:
                raise ValueError(
                    f"{path}: its name is not a frame number from 1, or another file has the same; restore it"
                )
            files[number - 1] = path
        return sorted(files.items())


def _read_subsets(path: Path) -> dict[str, str]:
    """Video → its last cell, in order."""
    subset: dict[str, str] = {}
    rows = load_table(path, width=9)
    for row in rows:
        video, number = check_video_id(row, row.cells[0]), row.cells[-1]
        if number not in SPLITS.values():
            raise ValueError(f"{row.where}: subset {number!r}; the last cell is 0 (train) or 1 (test): restore it")
        if video in subset:
            raise ValueError(f"{row.where}: video {video!r} is listed twice; keep one line")
        subset[video] = number
    _warn_of_count(path, len(rows))
    return subset


def _read_missed(path: Path, subset: Mapping[str, str]) -> set[str]:
    """The ids of clips without annotation, one per line; the published file may be empty, but not missing."""
    missed = {nfc(line.strip()) for line in read_text(path, "list of clips without annotation").splitlines()} - {""}
    for video in sorted(missed - set(subset)):
        log.warning("%s: lists %r, which videoset.csv does not hold", path, video)
    return missed


def _read_sentences(path: Path, subset: Mapping[str, str]) -> dict[str, list[Row]]:
    """Video → its lines, without the one that the authors call a mistake."""
    header, *rows = load_table(path, width=len(HEADER))
    if header.cells != HEADER:
        raise ValueError(f"{header.where}: the header is {','.join(header.cells)!r} instead of {','.join(HEADER)!r}")
    sentences: dict[str, list[Row]] = {}
    for row in rows:
        video, instance = nfc(row.cells[0]), row.cells[1]
        if video not in subset:
            raise ValueError(f"{row.where}: video {video!r} is not in {VIDEOSET}; restore the line or that file")
        if instance != MISTAKE:
            sentences.setdefault(video, []).append(row)
    _warn_of_count(path, len(rows))
    return sentences


def _warn_of_count(path: Path, n_rows: int) -> None:
    expected = PUBLISHED_ROWS[path.name]
    if n_rows != expected:
        log.warning("%s: holds %d rows; published: %d", path, n_rows, expected)


def _video(root: Path, video: str, rows: Sequence[Row]) -> tuple[Video, list[str]]:
    """The record, and which of its lines are left out; a clip that is not there is its defect."""
    clip = stored_path(root / CLIPS, f"{video}.mp4")
    expressions: dict[str, Expression] = {}
    left_out = []
    for row in rows:
        _, instance, query = row.cells
        if not _is_number(instance):
            left_out.append(f"{row.where}: instance {instance[:40]!r} is not a number; restore the line")
        elif instance in expressions:
            left_out.append(f"{row.where}: instance {instance} of video {video!r} has two sentences; keep one line")
        else:
            expressions[instance] = read_expression(row, instance, query)
    cost = clip.stat().st_size if clip.is_file() else 0
    defect = "" if clip.is_file() else f"{clip}: the clip does not exist; restore it"
    return Video(video, (), clip, tuple(expressions.values()), cost, defect), left_out


def _is_number(text: str) -> bool:
    """Whether text is a whole number as one writes it: "12", not "012"."""
    return text.isascii() and text.isdecimal() and len(text) < 10 and text == str(int(text))


FORMAT = Format(
    name="a2d",
    open_split=open_split,
    index_files=("text_annotations/*.txt", "Release/*.csv"),
    counts=PUBLISHED,
)
