"""What a track reads at a frame, and which slot of its memory bank holds it (SAM 2, arXiv 2408.00714, section 4).

A track has one prompt frame, is followed forward from it to the end, then backward to frame 0. At a frame it
reads the prompt's memory and those of up to `reach` frames that it just passed; object pointers likewise, with
a longer reach. Going back, the frames just passed lie on both sides of the prompt: next to it, forward
memories are read again. Hence a track never has more than `2 · reach` slots:

| slot | frame |
|---|---|
| 0 | the prompt |
| 1 … reach − 1 | that many frames after the prompt: kept for the way back |
| reach … 2 · reach − 1 | every other frame, by its number modulo reach: overwritten as the sweep goes on |
"""

from dataclasses import dataclass


@dataclass(frozen=True)
class Reach:
    """How far a track looks back, in frames, at least one: at memories, and at pointers."""

    memory: int
    pointer: int


def recalled_ages(prompt: int, frame: int, n_frames: int, reach: int, *, reverse: bool) -> tuple[int, ...]:
    """Distances to the frames read besides the prompt's, nearest first.

    The prompt's own place is left empty: its memory has the position of a prompt, not of an age.
    """
    if not reverse:
        return tuple(range(1, min(reach, frame - prompt - 1) + 1))
    last = min(reach, n_frames - 1 - frame)
    return tuple(age for age in range(1, last + 1) if frame + age != prompt)


def is_active(prompt: int, frame: int, *, reverse: bool) -> bool:
    """Whether a sweep follows the track at this frame; the prompt frame itself is given, not followed."""
    return frame < prompt if reverse else frame > prompt


def slot_of(prompt: int, frame: int, reach: int) -> int:
    """The slot for the memory of `frame` in the bank of a track with `prompt`."""
    after = frame - prompt
    return after if 0 <= after < reach else reach + frame % reach


def n_slots(reach: int) -> int:
    return 2 * reach
