"""A split whose ground truth is one label PNG per frame: <annotations>/<video>/<frame>.png (Ref-YouTube-VOS, Ref-DAVIS17)."""

import logging
from collections.abc import Mapping, Sequence
from functools import lru_cache
from pathlib import Path

from stages.core.records import MaskSequence, Video
from stages.core.spelling import stored_path
from stages.datasets.checks import check_frame_size
from stages.datasets.palette import label_masks
from stages.datasets.split import SplitDefaults

log = logging.getLogger(__name__)


class LabelSplit(SplitDefaults):
    """Annotation keys are labels: `Expression.annotations` holds "2", the pixels are those of palette index 2.

    The masks of the last video that was asked for are kept: a stage reads them for fingerprints first, then for its work.

    Args:
        annotations: None = the split has no ground truth.
    """

    def __init__(
        self, name: str, videos: Sequence[Video], annotations: Path | None, left_out: Sequence[str] = ()
    ) -> None:
        super().__init__(name, videos, has_truth=annotations is not None, left_out=left_out)
        self._annotations = annotations
        self._labels = lru_cache(maxsize=1)(self._read)

    def annotations(self, video: Video) -> Mapping[str, MaskSequence]:
        """Label → one RLE (or None) per frame, for what the video's expressions refer to; all None if never seen.

        Raises:
            ValueError: a label image is missing, damaged, or of another size than the others or the frames; the
                message names file and video.
        """
        if not self.has_truth:
            return {}
        labels, folder = self._labels(video), self._folder(video)
        referred: dict[str, MaskSequence] = {}
        for expression in video.expressions:
            for key in expression.annotations or ():
                if int(key) not in labels and key not in referred:
                    log.warning(
                        "%s: video %r, expression %r: no frame shows object %s", *(folder, video.id, expression.id, key)
                    )
                referred[key] = labels.get(int(key), [None] * len(video.frames))
        return referred

    def sources(self, video: Video) -> Sequence[Path]:
        """The folder of label images."""
        return [self._folder(video)] if self.has_truth else []

    def _folder(self, video: Video) -> Path:
        assert self._annotations is not None
        return stored_path(self._annotations, video.id)

    def _read(self, video: Video) -> Mapping[int, MaskSequence]:
        """All labels of a video."""
        folder = self._folder(video)
        where = f"{folder}: video {video.id!r}"
        if not folder.is_dir():
            raise ValueError(f"{where}: its folder of label images does not exist; restore it")
        try:
            labels = label_masks([stored_path(folder, f"{name}.png") for name in video.frames])
        except ValueError as error:
            raise ValueError(f"video {video.id!r}: {error}") from error
        size = next((rle["size"] for masks in labels.values() for rle in masks if rle is not None), None)
        check_frame_size(video, size, where)
        return labels
