"""The score of one expression: a prediction and a truth in RLE → J, F and what else its row says.

Legend: T frames, H height, W width, K annotations.
"""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from stages.core import masks
from stages.core.records import Expression, MaskSequence, Rle
from stages.metrics.boundary import boundary_f
from stages.metrics.region import jaccard

# Frames decoded together: a 1080p video of 300 frames would take a gigabyte.
FRAMES_AT_ONCE = 16


class Truth:
    """The ground truth of a video's expressions: the union of what each refers to.

    Raises:
        ValueError: an annotation has not one mask a frame, or masks of another size than the frames.
    """

    def __init__(self, annotations: Mapping[str, MaskSequence], size: tuple[int, int], n_frames: int) -> None:
        for key, annotation in annotations.items():
            _check_fit(key, annotation, size, n_frames)
        self.annotations, self.size, self.n_frames = annotations, size, n_frames
        self._unions: dict[tuple[str, ...], list[Rle]] = {}

    def of(self, expression: Expression) -> list[Rle] | None:
        """T RLEs, all empty for a no-target expression; None where the truth is unknown."""
        keys = expression.annotations
        if keys is None:
            return None
        missing = [key for key in keys if key not in self.annotations]
        if missing:
            raise ValueError(f"refers to annotations {missing}, which the data set does not hold")
        if keys not in self._unions:  # many expressions of a video refer to the same objects
            self._unions[keys] = [self._union(keys, t) for t in range(self.n_frames)]
        return self._unions[keys]

    def _union(self, keys: Sequence[str], t: int) -> Rle:
        masks_K = [self.annotations[key][t] for key in keys]
        return masks.union([rle for rle in masks_K if rle is not None], self.size)


def score_expression(
    expression: Expression, pred_T: Sequence[Rle], truth_T: Sequence[Rle] | None, bound_ratio: float
) -> dict[str, Any]:
    """The scores of a row: means over all frames; null where the truth is unknown."""
    row: dict[str, Any] = {"expression": expression.id, "J": None, "F": None, "J&F": None, "no_target": None}
    row |= {"predicted_empty": not masks.area(pred_T).any(), "boundary_ratio": bound_ratio}
    if truth_T is not None:
        j, f = _frame_means(pred_T, truth_T, bound_ratio)
        row |= {"J": j, "F": f, "J&F": (j + f) / 2, "no_target": not expression.annotations}
    return row


def _frame_means(pred_T: Sequence[Rle], truth_T: Sequence[Rle], bound_ratio: float) -> tuple[float, float]:
    j_T, f_T = [], []
    for start in range(0, len(pred_T), FRAMES_AT_ONCE):
        part = slice(start, start + FRAMES_AT_ONCE)
        pred_THW, truth_THW = (np.stack([masks.decode(rle) for rle in rles[part]]) for rles in (pred_T, truth_T))
        j_T.append(jaccard(pred_THW, truth_THW))
        f_T.append(boundary_f(pred_THW, truth_THW, bound_ratio=bound_ratio))
    return float(np.concatenate(j_T).mean()), float(np.concatenate(f_T).mean())


def _check_fit(key: str, annotation: MaskSequence, size: tuple[int, int], n_frames: int) -> None:
    if len(annotation) != n_frames:
        raise ValueError(f"annotation {key} has {len(annotation)} masks, the video has {n_frames} frames")
    wrong = {tuple(rle["size"]) for rle in annotation if rle is not None} - {tuple(size)}
    if wrong:
        raise ValueError(f"annotation {key} is of size {sorted(wrong)} (height, width), the frames are of size {size}")
