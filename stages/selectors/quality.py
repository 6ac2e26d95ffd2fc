"""J&F of a choice of tracks, by the official per-frame measures, remembered between epochs."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from stages.core import masks
from stages.core.choices import Candidate, predicted_masks
from stages.core.graph import Layout
from stages.core.records import MaskSequence, Rle, Split
from stages.selectors.samples import Origin, VideoTracks

# (T, H, W) predicted and true masks → (T,)
Measure = Callable[[NDArray[np.bool_], NDArray[np.bool_]], NDArray[np.floating]]
FRAMES = 16  # decoded at a time: 66 MB at 1080 × 1920


@dataclass
class TrackQuality:
    """(expression, chosen tracks) → its (J, F), means over all frames.

    The measures are handed in by the stage: model code does not know the metrics package. Choices change
    little from one epoch to the next, so each one is measured once.
    """

    layout: Layout
    split: Split
    jaccard: Measure
    boundary_f: Measure
    known: dict[tuple[str, str, tuple[Origin, ...]], tuple[float, float]] = field(default_factory=dict)

    def __call__(self, tracks: VideoTracks, expression: int, chosen: tuple[Origin, ...]) -> tuple[float, float]:
        key = (tracks.video.id, tracks.video.expressions[expression].id, chosen)
        if key not in self.known:
            self.known[key] = self._measure(tracks, expression, chosen)
        return self.known[key]

    def _measure(self, tracks: VideoTracks, expression: int, chosen: tuple[Origin, ...]) -> tuple[float, float]:
        candidates = [Candidate(source, row, 0.0, chosen=True) for source, row in chosen]
        predicted_T = predicted_masks(self.layout, tracks.video.id, candidates, tracks.size, tracks.n_frames)
        keys = tracks.video.expressions[expression].annotations or ()
        truth_T = union_of(self.split.annotations(tracks.video), keys, tracks.size, tracks.n_frames)
        j_T, f_T = [], []
        for start in range(0, tracks.n_frames, FRAMES):
            predicted_THW = _decode(predicted_T[start : start + FRAMES])
            truth_THW = _decode(truth_T[start : start + FRAMES])
            j_T.append(self.jaccard(predicted_THW, truth_THW))
            f_T.append(self.boundary_f(predicted_THW, truth_THW))
        return float(np.concatenate(j_T).mean()), float(np.concatenate(f_T).mean())


def union_of(
    annotations: Mapping[str, MaskSequence], keys: Sequence[str], size: tuple[int, int], n_frames: int
) -> list[Rle]:
    """The referred annotations as one mask a frame; none gives empty masks."""
    referred = [annotations[key] for key in keys]
    return [
        masks.union([rle for masklet in referred if (rle := masklet[t]) is not None], size) for t in range(n_frames)
    ]


def _decode(rles: Sequence[Rle]) -> NDArray[np.bool_]:
    return np.stack([masks.decode(rle) for rle in rles])
