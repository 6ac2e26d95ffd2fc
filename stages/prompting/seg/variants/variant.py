"""What a variant of [SEG] models is."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Literal

from stages.core.config.section import Section
from stages.core.tables import check_settings
from stages.prompting.seg.plan import Plan, even_slots


def please_segment(sentence: str) -> str:
    """As the Sa2VA family is asked for an expression, or a question about the video."""
    asked = (
        f" {sentence} Please respond with a segmentation mask." if "?" in sentence else f"Please segment {sentence}."
    )
    return f"<image>\n{asked}"


# Frames that were chosen for a sentence beforehand, or the one frame that fits it best; () = none were.
Chosen = tuple[int, ...]


@dataclass(frozen=True)
class Variant:
    """A way from frames and a sentence to masks.

    Attributes:
        name: what `prompts.seg.variant` says.
        settings: the model of its section `prompts.seg.<name>`.
        plan: (number of frames, its settings, frames chosen for the sentence) → what it does to the video.
        answer: (its settings, plan) → the answer that is forced.
        request: sentence → what the MLLM is asked; `<image>` is where its images stand.
        merge: what becomes of the tokens: "clips" = each decodes the frames of its clip; "track" = they are aggregated
            into [TAK]'s, which decodes the frame that it fits best (stages/prompting/seg/aggregation.py).
        placed: how a frame becomes SAM2's square input (stages/prompting/seg/decoding.py).
        needs_chosen: its settings → how many frames must have been chosen for each sentence; 0 = none.
    """

    name: str
    settings: type[Section]
    plan: Callable[[int, Any, Chosen], Plan]
    answer: Callable[[Any, Plan], str]
    request: Callable[[str], str] = please_segment
    merge: Literal["clips", "track"] = "clips"
    placed: Literal["squashed", "padded"] = "squashed"
    needs_chosen: Callable[[Any], int] = lambda _: 0

    def plan_unchosen(self, n_frames: int, settings: Any) -> Plan:
        """The plan where no frames were chosen: where some must have been, frames that are spread evenly stand for them."""
        needed = self.needs_chosen(settings)
        return self.plan(n_frames, settings, even_slots(n_frames, needed) if needed else ())

    def check(self) -> None:
        check_settings("variant of [SEG] models", self.name, self.settings)
