"""What a variant does to a video of a length: frames that the MLLM sees, and which [SEG] token decodes which frame.

Arithmetic alone: no model, no pixels. A video is cut into clips, each with a [SEG] token of its own. The frames that the
MLLM sees are *slots*, in order of time; where the video is short, several slots hold one frame.

Legend: T frames.
"""

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from itertools import groupby
from typing import Any, NamedTuple


class Decode(NamedTuple):
    """A frame is decoded with the token of a clip; a frame's logits are averaged by weight."""

    frame: int
    clip: int
    weight: int


@dataclass(frozen=True)
class Plan:
    """
    Attributes:
        slots: frame of each slot.
        images: frames of each image that the MLLM sees: one = whole, several = tiled, row by row.
        clips: of every frame of the video, the clip whose token decodes it; None = it is not decoded.
        decodes: what is decoded, in order of time.
        propagate: whether masks of other frames come from tracking alone.
    """

    slots: tuple[int, ...]
    images: tuple[tuple[int, ...], ...]
    clips: tuple[int | None, ...]
    decodes: tuple[Decode, ...]
    propagate: bool

    @property
    def frames(self) -> tuple[int, ...]:
        """The frames that are decoded, in order of time."""
        return tuple(self.at)

    @cached_property
    def at(self) -> Mapping[int, tuple[Decode, ...]]:
        """Frame → what is decoded in it."""
        return {frame: tuple(decodes) for frame, decodes in groupby(self.decodes, lambda decode: decode.frame)}

    @property
    def n_clips(self) -> int:
        return 1 + max((decode.clip for decode in self.decodes), default=-1)

    def to_json(self) -> dict[str, Any]:
        return {
            "slots": list(self.slots),
            "clips": list(self.clips),
            "images": [list(image) for image in self.images],
            "propagate": self.propagate,
        }


def whole(frames: Iterable[int]) -> tuple[tuple[int, ...], ...]:
    """Every frame as an image of its own."""
    return tuple((frame,) for frame in frames)


def packed(slots: Sequence[int], grid: int) -> tuple[tuple[int, ...], ...]:
    """Of each 1 + grid² slots the first as an image of its own, the key frame or anchor, and the others as one image."""
    per_clip = 1 + grid**2
    clips = [tuple(slots[i : i + per_clip]) for i in range(0, len(slots), per_clip)]
    return tuple(image for clip in clips for image in (clip[:1], clip[1:]))


def once_each(clips: Sequence[int | None]) -> tuple[Decode, ...]:
    """Each frame with the token of its clip."""
    return tuple(Decode(frame, clip, 1) for frame, clip in enumerate(clips) if clip is not None)


def slot_by_slot(slots: Sequence[int], per_clip: int) -> tuple[Decode, ...]:
    """Every slot with the token of its clip: a frame in several slots gets the mean of its logits."""
    weights = Counter((frame, slot // per_clip) for slot, frame in enumerate(slots))
    return tuple(Decode(frame, clip, weight) for (frame, clip), weight in sorted(weights.items()))


def first_clips(slots: Sequence[int], per_clip: int, n_frames: int) -> tuple[int | None, ...]:
    """Of every frame the first clip that has a slot with it; None where none has."""
    clips: list[int | None] = [None] * n_frames
    for slot, frame in reversed(list(enumerate(slots))):
        clips[frame] = slot // per_clip
    return tuple(clips)


def even_clips(n_frames: int, n_clips: int) -> tuple[int, ...]:
    """Clips of equal length: ⌊f·N/T⌋ of every frame f."""
    return tuple(frame * n_clips // n_frames for frame in range(n_frames))


def even_slots(n_frames: int, count: int) -> tuple[int, ...]:
    """Slots evenly over the video: ⌊i·T/count⌋."""
    return tuple(i * n_frames // count for i in range(count))
