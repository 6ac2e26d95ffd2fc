"""In which frames a positive track covers the referred object: its mask against the annotation it fits best.

Legend: N tracks of a sample, T frames.
"""

from collections.abc import Callable, Mapping, Sequence

import numpy as np
from numpy.typing import NDArray

from stages.core.media import masks
from stages.core.records import MaskSequence, Rle, Video
from stages.core.state.track_file import read_masks
from stages.selectors.batch import Sample
from stages.selectors.kept import KeptAnnotations
from stages.selectors.samples import VideoTracks

COVERS = 0.5  # IoU


class FrameLabels:
    """Reads masks and annotations when they are first asked for, and keeps the answers, one bool per frame."""

    def __init__(self, annotations: Callable[[Video], Mapping[str, MaskSequence]], positive_iou: float) -> None:
        self.annotations, self.positive_iou = KeptAnnotations(annotations), positive_iou
        self._known: dict[tuple[str, str, int, str], NDArray[np.bool_]] = {}

    def seen(self, tracks: VideoTracks, expression: int, sample: Sample) -> NDArray[np.bool_]:
        """(N, T); False for tracks that are not positive."""
        assert sample.labels_N is not None
        seen_NT = np.zeros((len(sample), tracks.n_frames), bool)
        for n in np.flatnonzero(sample.labels_N):
            seen_NT[n] = self._covered(tracks, expression, int(sample.rows_N[n]))
        return seen_NT

    def _covered(self, tracks: VideoTracks, expression: int, row: int) -> NDArray[np.bool_]:
        source, track = tracks.ids[row]
        annotation = tracks.best_annotation(expression, row)
        key = (tracks.video.id, source, track, annotation)
        if key not in self._known:
            path = next(path for name, path, _ in tracks.sources if name == source)
            self._known[key] = covers(read_masks(path, [track])[0], self.annotations(tracks.video)[annotation])
        return self._known[key]


def covers(track_T: Sequence[Rle], annotation_T: MaskSequence) -> NDArray[np.bool_]:
    """(T,) whether the IoU exceeds one half; False where both are empty: nothing is visible."""
    return np.array(
        [
            truth is not None and masks.iou_matrix([rle], [truth])[0, 0] > COVERS
            for rle, truth in zip(track_T, annotation_T, strict=True)
        ],
        bool,
    )
