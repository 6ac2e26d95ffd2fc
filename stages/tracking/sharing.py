"""Prompts of one object that several expressions found: one track may serve them all (`tracks.share_prompts`).

Not the published scheme: it tracks each expression's prompts separately, though detectors draw nearly the same
mask for many expressions. Outputs differ as far as such masks do; docs/tracking.md says how to measure it.
"""

from collections import defaultdict
from collections.abc import Sequence

from stages.core.media import masks
from stages.core.state.prompt_file import Prompt


class SharedPrompts:
    """Decides which prompt's track serves a prompt.

    Args:
        prompts: all of the video's file.
        iou: masks of one frame whose IoU reaches it are one prompt; None = every prompt is tracked itself.
    """

    def __init__(self, prompts: Sequence[Prompt], iou: float | None) -> None:
        self._prompts, self._iou = prompts, iou
        self._tracked: dict[int, list[int]] = defaultdict(list)

    def serving(self, row: int) -> int:
        """`row` itself, which is then tracked, or the most similar row of its frame that already is."""
        prompt = self._prompts[row]
        tracked = self._tracked[prompt.frame]
        if self._iou is not None and tracked:
            iou_R = masks.iou_matrix([prompt.mask], [self._prompts[other].mask for other in tracked])[0]
            if iou_R.max() >= self._iou:
                return tracked[int(iou_R.argmax())]
        tracked.append(row)
        return row
