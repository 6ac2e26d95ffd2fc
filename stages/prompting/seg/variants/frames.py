"""A few whole frames: with one token for all of them, as in Sa2VA (arXiv 2501.04001) and Sa2VA-i (arXiv 2509.19082), or one each."""

import numpy as np
from pydantic import Field

from stages.core.config.section import Positive, Section
from stages.prompting.seg.plan import Plan, once_each, whole
from stages.prompting.seg.variants.variant import Chosen, Variant


class FewFrames(Section):
    frames: Positive = Field(description="Whole frames that the MLLM sees")


def first(n_frames: int, settings: FewFrames, chosen: Chosen) -> Plan:
    """The first frames of the video, as Sa2VA was released."""
    return _one_token(range(min(settings.frames, n_frames)), n_frames)


def spread(n_frames: int, settings: FewFrames, chosen: Chosen) -> Plan:
    """Frames evenly from the first to the last; of a short video each is shown once."""
    return _one_token(np.linspace(0, n_frames - 1, settings.frames, dtype=int).tolist(), n_frames)


def _one_token(slots: "range | list[int]", n_frames: int) -> Plan:
    shown = sorted(set(slots))
    clips = tuple(0 if frame in shown else None for frame in range(n_frames))
    return Plan(tuple(slots), whole(shown), clips, once_each(clips), propagate=None in clips)


def one_each(n_frames: int, settings: FewFrames, chosen: Chosen) -> Plan:
    """The middle frames of stretches of equal length, each decoded with a token of its own; a short video's frames once each.

    What moves is in another place in every frame, and a token that says where needs to be right in one.
    """
    middles = ((2 * i + 1) * n_frames // (2 * settings.frames) for i in range(settings.frames))
    slots = tuple(dict.fromkeys(middles))
    clips = tuple(slots.index(frame) if frame in slots else None for frame in range(n_frames))
    return Plan(slots, whole(slots), clips, once_each(clips), propagate=None in clips)


def _answer_each(settings: FewFrames, plan: Plan) -> str:
    return ", ".join(f"Clip_{k} [SEG]" for k in range(1, len(plan.slots) + 1)) + "."


def _answer(settings: FewFrames, plan: Plan) -> str:
    return "It is [SEG]."


SA2VA = Variant("sa2va", FewFrames, first, _answer)
SA2VA_I = Variant("sa2va_i", FewFrames, spread, _answer)
FRAME_TOKENS = Variant("frame_tokens", FewFrames, one_each, _answer_each)
