"""What train_seg reads: sentences of known truth, frames of the cache, and masks of the frames that are supervised.

Legend: F supervised frames, H × W a frame.
"""

import logging
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property, lru_cache

import numpy as np
from numpy.typing import NDArray

from stages.core.media import masks
from stages.core.records import MaskSequence, Split, Video
from stages.core.state.frames import FrameFolder, open_frames
from stages.core.state.graph import Layout
from stages.prompting.seg.plan import Decode, Plan

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Part:
    """A split with ground truth.

    Attributes:
        name: <dataset>/<split>.
        limit: only its first videos; None = all.
    """

    name: str
    split: Split
    layout: Layout
    limit: int | None

    @cached_property
    def videos(self) -> list[Video]:
        """Those without a defect that have a sentence to learn from; a defect is logged as an error.

        Raises:
            ValueError: the split has no ground truth.
        """
        if not self.split.has_truth:
            raise ValueError(f"{self.name} has no ground truth: name splits that have it")
        videos = self.split.videos()[: self.limit]
        for video in videos:
            if video.defect:
                log.error("%s: video %s is left out: %s", self.name, video.id, video.defect)
        return [video for video in videos if not video.defect and trainable(video)]


def trainable(video: Video) -> list[int]:
    """Indices of the expressions that refer to something, as far as is known, and can be asked."""
    return [e for e, one in enumerate(video.expressions) if one.annotations and one.has_word and not one.defect]


@dataclass(frozen=True)
class Clip:
    """A video of a part, with its frames and its truth."""

    part: Part
    video: Video
    frames: FrameFolder
    annotations: Mapping[str, MaskSequence]
    scored: Sequence[int] | None

    def truth(self, expression: int, frame: int) -> NDArray[np.bool_]:
        """(H, W) all that the expression refers to."""
        keys = self.video.expressions[expression].annotations or ()
        rles = [rle for key in keys if (rle := self.annotations[key][frame]) is not None]
        return masks.decode(masks.union(rles, self.frames.size))


class Clips:
    """The videos of some parts, one after the other."""

    def __init__(self, parts: Sequence[Part]) -> None:
        self.places = [(part, video) for part in parts for video in part.videos]
        self.open = lru_cache(maxsize=32)(self._open)

    def _open(self, index: int) -> Clip:
        """Raises CacheError where its frames were not extracted."""
        part, video = self.places[index]
        frames = open_frames(part.layout, video.id)
        return Clip(part, video, frames, part.split.annotations(video), part.split.scored_frames(video))


def supervised(plan: Plan, scored: Sequence[int] | None, count: int, rng: np.random.Generator | None) -> list[Decode]:
    """Frames to learn masks of, with the clips whose tokens decode them: those that are shown whole, in order of time.

    Args:
        scored: frames whose truth is known; None = all.
        count: the most.
        rng: chooses among more; None = evenly.
    """
    whole = {image[0] for image in plan.images if len(image) == 1}
    known = [d for d in plan.decodes if scored is None or d.frame in scored]
    choice = [d for d in known if d.frame in whole] or known
    if len(choice) <= count:
        return choice
    if rng is None:
        chosen = np.linspace(0, len(choice) - 1, count, dtype=int)
    else:
        chosen = np.sort(rng.choice(len(choice), count, replace=False))
    return [choice[i] for i in chosen]
