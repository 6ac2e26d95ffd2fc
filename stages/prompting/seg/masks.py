"""The masks of a video's sentences, decoded by the checkpoint's SAM2.

A frame is encoded once for all tokens that are decoded in it, and nothing but run-length masks is kept of it: a video's
length does not decide memory.

Legend: B tokens or objects, H × W the frame.
"""

from collections.abc import Sequence
from functools import partial
from typing import Any

import torch
from torch import Tensor

from stages.core.media import masks as masks_of
from stages.core.run import progress
from stages.core.run.batches import Batches
from stages.core.state.frames import FrameFolder
from stages.prompting.seg.decoding import (
    Decoded,
    FrameFeatures,
    Placed,
    at_frame_size,
    decode,
    frame_features,
    model_pixels,
)
from stages.prompting.seg.propagation import TunedPropagation
from stages.prompting.seg.sentence import DecodedMask, Sentence

Wanted = tuple[Sentence, Tensor, int]  # a token of a sentence in a frame, and its weight


class Masker:
    """Gives sentences their masks.

    Args:
        model: a stages.prompting.seg.checkpoint SegModel.
        placed: how the variant's frames become SAM2's input.
        threshold: logits above it are in the mask.
        tokens: how many are decoded at once in a frame.
        objects: how many the tuned SAM2 follows at once.
    """

    def __init__(self, model: Any, placed: Placed, threshold: float, tokens: Batches, objects: Batches) -> None:
        self.sam2, self.object_score, self.placed, self.threshold = model.sam2, model.object_score, placed, threshold
        self.tokens, self.objects = tokens, objects

    def decode(self, sentences: Sequence[Sentence], frames: FrameFolder) -> None:
        """The frames of their plans, without memory."""
        for frame in progress.steps(sorted({frame for sentence in sentences for frame in sentence.plan.frames})):
            features = frame_features(self.sam2, self._pixels(frames, frame))
            wanted = [(s, token, weight) for s in sentences for token, weight in s.tokens_at(frame)]
            means: dict[Sentence, Mean] = {}
            for part, out in self.tokens.run(wanted, partial(self._decode, features)):
                for i, (sentence, _, weight) in enumerate(part):
                    said = (out.logits_Bhw[i], float(out.iou_B[i]), float(out.score_B[i]))
                    means.setdefault(sentence, Mean()).add(*said, weight)
            for sentence, mean in means.items():
                sentence.masks[frame] = self._mask(*mean.values(), frames.size)

    def follow(self, sentences: Sequence[Sentence], frames: FrameFolder) -> None:
        """Sentences of one plan through all frames, by the tuned SAM2's own propagation."""
        for part, followed in self.objects.run(sentences, partial(self._follow, frames)):
            for sentence, own in zip(part, followed, strict=True):
                sentence.masks |= own

    def _decode(self, features: FrameFeatures, part: Sequence[Wanted]) -> Decoded:
        return decode(self.sam2, features, torch.stack([token for _, token, _ in part]), self.object_score)

    def _follow(self, frames: FrameFolder, part: Sequence[Sentence]) -> list[dict[int, DecodedMask]]:
        """Of several tokens of a frame the first counts."""
        tokens = {f: torch.stack([s.tokens_at(f)[0][0] for s in part]) for f in part[0].plan.frames}
        propagation = TunedPropagation(self.sam2, partial(self._pixels, frames), len(frames), self.object_score)
        followed: list[dict[int, DecodedMask]] = [{} for _ in part]
        for frame, logits_Bhw, iou_B in progress.steps(propagation.run(tokens), len(frames)):
            for i, own in enumerate(followed):
                own[frame] = self._mask(logits_Bhw[i], float(iou_B[i]), float("nan"), frames.size)
        return followed

    def _pixels(self, frames: FrameFolder, frame: int) -> Tensor:
        return model_pixels(frames.load(frame), self.sam2, self.placed)

    def _mask(self, logits_hw: Tensor, iou: float, score: float, size: tuple[int, int]) -> DecodedMask:
        logits_HW = at_frame_size(self.sam2, logits_hw[None], size, self.placed)[0]
        return DecodedMask(masks_of.encode((logits_HW > self.threshold).cpu().numpy()), iou, score)


class Mean:
    """The weighted mean of what several tokens of a sentence say about a frame: logits, predicted IoU, object score."""

    def __init__(self) -> None:
        self.logits_hw: Tensor | None = None
        self.iou = self.score = 0.0
        self.weight = 0

    def add(self, logits_hw: Tensor, iou: float, score: float, weight: int) -> None:
        added_hw = logits_hw * weight
        self.logits_hw = added_hw if self.logits_hw is None else self.logits_hw + added_hw
        self.iou, self.score, self.weight = self.iou + weight * iou, self.score + weight * score, self.weight + weight

    def values(self) -> tuple[Tensor, float, float]:
        assert self.logits_hw is not None
        return self.logits_hw / self.weight, self.iou / self.weight, self.score / self.weight
