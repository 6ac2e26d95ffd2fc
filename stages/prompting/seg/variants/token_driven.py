"""A token for each frame and one for the whole video: VRS-HQ (arXiv 2501.08549)."""

from typing import Annotated

from pydantic import Field

from stages.core.config.section import Section
from stages.prompting.seg.plan import Plan, once_each, whole
from stages.prompting.seg.variants.variant import Chosen, Variant


class TokenDriven(Section):
    frames: Annotated[int, Field(ge=2)] = Field(description="Most frames that the MLLM sees, with a [SEG] token each")
    alpha: float = Field(description="Weight of the frames' tokens in the token of the video")


def around_best(n_frames: int, settings: TokenDriven, chosen: Chosen) -> Plan:
    """Every step-th frame, among them the one that fits the sentence best; without one, the first.

    Raises:
        ValueError: it is not of the video.
    """
    best = chosen[0] if chosen else 0
    if not 0 <= best < n_frames:
        raise ValueError(f"the frame that fits the sentence best is {best}, and the video has {n_frames}")
    step = -(-n_frames // (settings.frames - 1))
    slots = tuple(range(best % step, n_frames, step))
    clips = tuple(slots.index(frame) if frame in slots else None for frame in range(n_frames))
    return Plan(slots, whole(slots), clips, once_each(clips), propagate=n_frames > 1)


def _answer(settings: TokenDriven, plan: Plan) -> str:
    frames = ", ".join(f"({i}) [SEG]" for i in range(len(plan.slots)))
    return f"Sure, the segmentation result of each frame is {frames}, while for the entire video it is [TAK]."


def _request(sentence: str) -> str:
    """The shape of the training's questions that every expression fits."""
    plain = " ".join(sentence.lower().split())
    masks = "segmentation masks for each frame and for the entire video separately."
    if plain.endswith("?"):
        return f"Reference Video: <image> \n{plain} Please find it in the Reference Video and respond with {masks}"
    return f"Reference Video: <image> \nWhat is {plain} in the Reference Video? Please respond with {masks}"


VRS_HQ = Variant("vrs_hq", TokenDriven, around_best, _answer, _request, merge="track", placed="padded")
