"""Reader of JHMDB-Sentences (Gavrilyuk et al., CVPR 2018): one actor and one sentence per clip; evaluation only.

    <root>/jhmdb_annotation.txt                              video_id,query (with a header)
    <root>/Rename_Images/<action>/<video>/00001.png …        frames, counted from 1
    <root>/puppet_mask/<action>/<video>/puppet_mask.mat      part_mask (H, W, T); mask t belongs to frame t + 1

There can be fewer masks than frames: the frames after the last mask have no ground truth and are never scored.
Three frames per clip are scored. The authors' choice of them was never published, and the lists in public code
differ, each from its own unseeded draw; ours is `SAMPLES`.
"""

import hashlib
from collections.abc import Mapping, Sequence
from functools import cached_property
from pathlib import Path

from stages.core.records import MaskSequence, Rle, Video
from stages.core.spelling import nfc
from stages.core.tables import Counts, Format
from stages.datasets.checks import check_frame_size, warn_of_counts
from stages.datasets.split import SplitDefaults
from stages.datasets.table_file import Row, check_video_id, load_table, read_expression

TABLE = "jhmdb_annotation.txt"
# The list of samples: of a clip's frames that have a mask, the three whose sha256 of "<SAMPLES>/<video>/<frame
# number>" comes first. It depends on no library's random numbers, nor on which clips are read.
SAMPLES = "referee-jhmdb-928x3-seed0"
SAMPLES_PER_CLIP = 3
KEY = "0"  # of the one expression and its annotation
PUBLISHED: Counts = {"test": ((928, 928),)}  # videos, expressions


def open_split(root: Path, split: str, limit: int | None, published: bool = True) -> "JhmdbSplit":
    """Reads the table and looks for its clips.

    Args:
        split: "test".
        limit: only the first videos of the table; None = all.
        published: it is the published set, whose counts are known: counts that differ give a warning.

    Raises:
        ValueError: there is no such split, or the table or a folder is missing or broken.
    """
    if split not in PUBLISHED:
        raise ValueError(f"JHMDB-Sentences has the split 'test' alone, not {split!r}; fix datasets.*.splits")
    table = root / TABLE
    header, *rows = load_table(table, width=2)
    clips = _clips(root / "Rename_Images")
    if header.cells[0] in clips:
        raise ValueError(f"{header.where}: names a clip where the header video_id,query belongs; restore that line")
    by_video: dict[str, list[Row]] = {}
    for row in rows:
        by_video.setdefault(check_video_id(row, row.cells[0]), []).append(row)
    warn_of_counts(table, len(by_video), len(rows), PUBLISHED[split] if published else ())
    videos = [_video(root, name, lines, clips) for name, lines in by_video.items()]
    return JhmdbSplit(root, split, videos[:limit])


class JhmdbSplit(SplitDefaults):
    """The one split of JHMDB-Sentences (see `stages.core.records.Split`)."""

    protocol = "jhmdb"

    def __init__(self, root: Path, name: str, videos: list[Video]) -> None:
        super().__init__(name, videos, has_truth=True)
        self.root = root

    def annotations(self, video: Video) -> Mapping[str, MaskSequence]:
        """The actor's masks under one key: an RLE for every frame that has a mask, None after the last.

        Raises:
            ValueError: the masks are missing, damaged, or more than the frames.
        """
        from stages.core.media import masks
        from stages.datasets.mat_file import read_masks

        path = self._file(video)
        masks_THW = read_masks(path)
        check_frame_size(video, masks_THW.shape[1:], f"{path}")
        rest: list[Rle | None] = [None] * (len(video.frames) - self._n_masks(video, masks_THW.shape[0]))
        return {KEY: [*masks.encode_all(masks_THW), *rest]}

    def scored_frames(self, video: Video) -> Sequence[int]:
        """Indices of the clip's frames in `SAMPLES`, ascending."""
        from stages.datasets.mat_file import masks_shape

        return sample_frames(video.id, self._n_masks(video, masks_shape(self._file(video))[2]))

    def sources(self, video: Video) -> Sequence[Path]:
        """The file of masks."""
        return [self._file(video)] if video.id in self._actions else []

    def _n_masks(self, video: Video, n_masks: int) -> int:
        if n_masks > len(video.frames):
            path = self._file(video)
            raise ValueError(f"{path}: holds {n_masks} masks for {len(video.frames)} frames; restore {video.location}")
        return n_masks

    def _file(self, video: Video) -> Path:
        action = self._actions.get(video.id)
        if action is None:
            raise ValueError(f"{self.root / 'puppet_mask'}: holds no masks of video {video.id!r}; restore them")
        return action / "puppet_mask.mat"

    @cached_property
    def _actions(self) -> Mapping[str, Path]:
        return _clips(self.root / "puppet_mask")


def sample_frames(video: str, n_masks: int) -> list[int]:
    """Indices, from 0 and ascending, of the frames of a clip that `SAMPLES` scores."""
    order = sorted(range(n_masks), key=lambda i: hashlib.sha256(f"{SAMPLES}/{video}/{i + 1}".encode()).digest())
    return sorted(order[:SAMPLES_PER_CLIP])


def _clips(folder: Path) -> dict[str, Path]:
    """Clip → its folder, over all actions. Clip names are unique; hidden folders are a file system's own."""
    if not folder.is_dir():
        raise ValueError(f"{folder}: the folder does not exist; put it there or correct the data set's root")
    clips: dict[str, Path] = {}
    for path in sorted(folder.glob("[!.]*/[!.]*")):
        if path.is_dir() and clips.setdefault(nfc(path.name), path) != path:
            raise ValueError(f"{path}: {clips[nfc(path.name)]} has the same name; keep one folder of a clip")
    return clips


def _video(root: Path, name: str, rows: Sequence[Row], clips: Mapping[str, Path]) -> Video:
    """The record; what is wrong with a line or the frames is its defect."""
    (where, (_, query)), *others = rows
    location = clips.get(name, root / "Rename_Images" / name)
    frames, defect = (
        _frames(location) if name in clips else ((), f"{where}: no clip Rename_Images/*/{name}; restore it")
    )
    defects = [defect, *(f"{row.where}: video {name!r} has two sentences; keep one line" for row in others)]
    return Video(
        name, frames, location, (read_expression(rows[0], KEY, query),), len(frames), "; ".join(filter(None, defects))
    )


def _frames(folder: Path) -> tuple[tuple[str, ...], str]:
    """Names of the frames, which are 00001, 00002, …, and what is wrong with them."""
    names = sorted(path.stem for path in folder.glob("[!.]*.png"))
    expected = [f"{number:05d}" for number in range(1, len(names) + 1)]
    if not names:
        return (), f"{folder}: holds no frame (00001.png …); restore it"
    wrong = next((name for name, other in zip(names, expected) if name != other), None)
    return tuple(
        names
    ), f"{folder}: frame {wrong}.png where {expected[names.index(wrong)]}.png belongs" if wrong else ""


FORMAT = Format(
    name="jhmdb",
    open_split=open_split,
    index_files=("*.txt",),
    counts=PUBLISHED,
)
