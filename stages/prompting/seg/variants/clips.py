"""A token for each clip, whose frames are seen as one whole frame and one image of g × g smaller ones.

SVAC (anchor-based compression, clip-specific tokens) and SaSaSa2VA (arXiv 2509.16972, with its five frame modes).
"""

from typing import Literal

from pydantic import Field

from stages.core.config.section import Positive, Section
from stages.prompting.seg.plan import (
    Plan,
    even_clips,
    even_slots,
    first_clips,
    once_each,
    packed,
    slot_by_slot,
)
from stages.prompting.seg.variants.variant import Chosen, Variant

Mode = Literal["uniform", "uniform_plus", "q_frame", "wrap_around", "wrap_around_plus"]


class ClipSettings(Section):
    clips: Positive = Field(description="N, stretches of time with a [SEG] token of their own")
    grid: Positive = Field(description="g: of a clip one whole frame and one image of g × g smaller ones are seen")
    tokens: Positive = Field(
        description="[SEG] tokens of the forced answer; where they are fewer than clips, the last serves the rest"
    )

    @property
    def per_clip(self) -> int:
        return 1 + self.grid**2

    @property
    def slots(self) -> int:
        return self.clips * self.per_clip


class ModalClips(ClipSettings):
    mode: Mode = Field(
        description="Which frames fill the slots. uniform = evenly over the video; uniform_plus = and where it is shorter "
        "than the slots, the logits of a frame's slots are averaged; q_frame = those of chosen_frames; wrap_around = the "
        "first, repeated where the video is short; wrap_around_plus = that, and uniform where the video is longer"
    )


def even(n_frames: int, settings: ClipSettings, chosen: Chosen) -> Plan:
    """Every frame is decoded with the token of its clip."""
    slots = even_slots(n_frames, settings.slots)
    return _plan(slots, even_clips(n_frames, settings.clips), settings)


def modal(n_frames: int, settings: ModalClips, chosen: Chosen) -> Plan:
    return MODES[settings.mode](n_frames, settings, chosen)


def averaged(n_frames: int, settings: ClipSettings, chosen: Chosen) -> Plan:
    """Evenly; a frame in several slots gets the mean of what their tokens say."""
    if n_frames >= settings.slots:
        return even(n_frames, settings, chosen)
    slots, clips = even_slots(n_frames, settings.slots), even_clips(n_frames, settings.clips)
    return Plan(slots, packed(slots, settings.grid), clips, slot_by_slot(slots, settings.per_clip), propagate=False)


def of_chosen(n_frames: int, settings: ClipSettings, chosen: Chosen) -> Plan:
    """The frames that were chosen for the sentence; masks of the others come from tracking.

    Raises:
        ValueError: there are not as many as slots, or one is not of the video.
    """
    slots = tuple(sorted(chosen))
    if len(slots) != settings.slots or slots[0] < 0 or slots[-1] >= n_frames:
        raise ValueError(
            f"mode q_frame needs {settings.slots} chosen frames from 0 to {n_frames - 1}, and has {len(slots)}"
            + (f", {slots[0]} to {slots[-1]}" if slots else "")
        )
    clips = first_clips(slots, settings.per_clip, n_frames)
    decodes = slot_by_slot(slots, settings.per_clip)
    return Plan(slots, packed(slots, settings.grid), clips, decodes, propagate=None in clips)


def wrapped(n_frames: int, settings: ClipSettings, chosen: Chosen) -> Plan:
    """The video from its start, and again where it is short; a frame belongs to the first clip that shows it."""
    slots = tuple(sorted(i % n_frames for i in range(settings.slots)))
    return _plan(slots, first_clips(slots, settings.per_clip, n_frames), settings)


def wrapped_or_even(n_frames: int, settings: ClipSettings, chosen: Chosen) -> Plan:
    return (wrapped if n_frames <= settings.slots else even)(n_frames, settings, chosen)


def _plan(slots: tuple[int, ...], clips: tuple[int | None, ...], settings: ClipSettings) -> Plan:
    return Plan(slots, packed(slots, settings.grid), clips, once_each(clips), propagate=None in clips)


def _answer(settings: ClipSettings, plan: Plan) -> str:
    return ", ".join(f"Clip_{k} [SEG]" for k in range(1, settings.tokens + 1)) + "."


def _needs_chosen(settings: ModalClips) -> int:
    return settings.slots if settings.mode == "q_frame" else 0


MODES = {
    "uniform": even,
    "uniform_plus": averaged,
    "q_frame": of_chosen,
    "wrap_around": wrapped,
    "wrap_around_plus": wrapped_or_even,
}
SVAC = Variant("svac", ClipSettings, even, _answer)
SASASA2VA = Variant("sasasa2va", ModalClips, modal, _answer, needs_chosen=_needs_chosen)
