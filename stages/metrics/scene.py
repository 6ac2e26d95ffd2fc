"""What one video's answers are scored against: ground truth and answers as clips of run lengths.

Legend: T frames.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import reduce
from typing import Any

import numpy as np
from numpy.typing import NDArray

from stages.core.records import Expression, MaskSequence
from stages.metrics import clips
from stages.metrics.boundary import bound_radius, clip_f
from stages.metrics.clips import Clip


@dataclass(frozen=True)
class Answer:
    """What was predicted for an expression.

    Attributes:
        masks: a mask for every frame of the video.
        confidence: 0 … 1; decides where answers overlap (Ref-DAVIS17, protocol A) and ranks them (mAP).
        missing: nothing was predicted; `masks` are empty.
    """

    expression: Expression
    masks: Clip
    confidence: float
    missing: bool = False


class Scene:
    """The ground truth of a video; unions and their boundaries are computed once per set of annotations.

    Args:
        size: (height, width) of the frames.
        scored: indices of the frames that are scored; None = all.

    Raises:
        ValueError: not one mask per frame, masks of another size than the frames, or broken.
    """

    def __init__(
        self,
        annotations: Mapping[str, MaskSequence],
        size: tuple[int, int],
        n_frames: int,
        *,
        void: MaskSequence | None = None,
        foreground: MaskSequence | None = None,
        scored: Sequence[int] | None = None,
    ) -> None:
        self.size, self.n_frames = size, n_frames
        self.scored = None if scored is None else tuple(scored)
        self.annotations = {key: self._clip(f"annotation {key}", masks) for key, masks in annotations.items()}
        self.present = {key: [rle is not None for rle in masks] for key, masks in annotations.items()}
        self.void = None if void is None else self._clip("void", void)
        self.foreground = None if foreground is None else self._clip("foreground", foreground)
        self._unions: dict[tuple[str, ...], Clip] = {}
        self._parts: dict[tuple[tuple[str, ...], tuple[int, ...]], Clip] = {}

    def truth(self, expression: Expression) -> Clip | None:
        """The union of what an expression refers to, empty for a no-target one; None where it is unknown."""
        keys = expression.annotations
        if keys is None:
            return None
        missing = [key for key in keys if key not in self.annotations]
        if missing:
            raise ValueError(f"refers to annotations {missing}, which the data set does not hold")
        if keys not in self._unions:  # many expressions of a video refer to the same objects
            self._unions[keys] = reduce(
                clips.union, [self.annotations[key] for key in keys] or [clips.empty(self.n_frames, self.size)]
            )
        return self._unions[keys]

    def truth_at(self, expression: Expression, frames: tuple[int, ...] | None) -> Clip | None:
        """`truth` in some frames (None = all)."""
        truth = self.truth(expression)
        if truth is None or frames is None:
            return truth
        assert expression.annotations is not None
        key = (expression.annotations, frames)
        if key not in self._parts:
            self._parts[key] = truth.take(frames)
        return self._parts[key]

    def frames_holding(self, expression: Expression) -> tuple[int, ...]:
        """The scored frames in which an annotation of the expression exists (its mask may be empty)."""
        keys = expression.annotations or ()
        frames = range(self.n_frames) if self.scored is None else self.scored
        return tuple(t for t in frames if any(self.present[key][t] for key in keys))

    def _clip(self, name: str, masks: MaskSequence) -> Clip:
        if len(masks) != self.n_frames:
            raise ValueError(f"{name} has {len(masks)} masks, the video has {self.n_frames} frames")
        try:
            return clips.from_rles(masks, self.size)
        except ValueError as error:
            raise ValueError(f"{name}: {error}") from error


@dataclass(frozen=True)
class Comparison:
    """An answer against its truth, in the frames that count.

    Attributes:
        frames: their indices.
        pred, truth: the masks in them.
        intersection_T, union_T: pixels.
        j_T, f_T: J and F of each.
    """

    frames: tuple[int, ...]
    pred: Clip
    truth: Clip
    intersection_T: NDArray[np.int64]
    union_T: NDArray[np.int64]
    j_T: NDArray[np.float64]
    f_T: NDArray[np.float64]


def compare(pred: Clip, truth: Clip, frames: Sequence[int], radius: int) -> Comparison:
    """J and F of every frame; `radius` in pixels."""
    shared_T = clips.intersection(pred, truth)
    union_T = pred.area + truth.area - shared_T
    j_T = np.where(union_T > 0, shared_T / np.maximum(union_T, 1), 1.0)
    return Comparison(tuple(frames), pred, truth, shared_T, union_T, j_T, clip_f(pred, truth, radius))


def compare_answer(scene: Scene, answer: Answer, ratio: float, *, holding_only: bool = False) -> Comparison | None:
    """An answer against the truth in the scored frames; None where the truth is unknown or no frame counts.

    Args:
        ratio: boundary tolerance as a share of the image diagonal.
        holding_only: leave out frames in which the referred object is not annotated.
    """
    frames = scene.frames_holding(answer.expression) if holding_only else scene.scored
    truth = scene.truth_at(answer.expression, frames)
    if truth is None or not len(truth):
        return None
    pred = answer.masks if frames is None else answer.masks.take(frames)
    return compare(pred, truth, range(scene.n_frames) if frames is None else frames, bound_radius(*scene.size, ratio))


def base_row(answer: Answer, comparison: Comparison | None, ratio: float) -> dict[str, Any]:
    """What every protocol's row holds; scores are means over frames, null where the truth is unknown."""
    row: dict[str, Any] = {"expression": answer.expression.id, "J": None, "F": None, "J&F": None, "no_target": None}
    row |= {"predicted_empty": not answer.masks.area.any(), "missing": answer.missing}
    row |= {"confidence": answer.confidence, "boundary_ratio": ratio}
    if comparison is not None:
        j, f = float(comparison.j_T.mean()), float(comparison.f_T.mean())
        row |= {"J": j, "F": f, "J&F": (j + f) / 2, "no_target": not answer.expression.annotations}
    return row
