"""The losses of some sentences about a video: images once, answers forced, masks of each supervised frame without memory.

Legend: B sentences, N clips, C = 256 channels of a token, h × w mask logits, H × W a frame.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import groupby

import numpy as np
import torch
from torch import Tensor

from stages.core.config.seg_training_section import SegTraining
from stages.prompting.seg.checkpoint.model import SegModel
from stages.prompting.seg.chosen import chosen_frames
from stages.prompting.seg.conversation import as_words
from stages.prompting.seg.decoding import at_frame_size, decode, frame_features, model_pixels
from stages.prompting.seg.pictures import draw_images
from stages.prompting.seg.plan import Decode, Plan
from stages.prompting.seg.sentence import sentence_of
from stages.prompting.seg.settings import SegPrompts
from stages.prompting.seg.tokens import Answered
from stages.prompting.seg.training.data import Clip, supervised
from stages.prompting.seg.training.losses import mask_losses, text_loss
from stages.prompting.seg.training.spoken import Forced, force
from stages.prompting.seg.variants.variant import Chosen

LOSSES = ("text", "mask", "dice")


@dataclass(frozen=True)
class Draws:
    """Random numbers of a group of sentences: they depend on nothing but its key."""

    key: tuple[int, ...]

    def frames(self) -> np.random.Generator:
        return np.random.default_rng([0, *(number & 0xFFFFFFFF for number in self.key)])

    def points(self) -> torch.Generator:
        words = np.random.SeedSequence([1, *(number & 0xFFFFFFFF for number in self.key)]).generate_state(1, np.uint64)
        return torch.Generator().manual_seed(int(words[0]) & (2**63 - 1))


class Learner:
    """Asks a [SEG] model in the variant of `prompts.seg`, and compares with the truth.

    Args:
        settings: of the source.
        training: how it is trained.
    """

    def __init__(self, model: SegModel, settings: SegPrompts, training: SegTraining) -> None:
        self.model, self.settings, self.training = model, settings, training

    def losses(self, clip: Clip, expressions: Sequence[int], draws: Draws) -> dict[str, Tensor]:
        """Sums over the sentences, by the names in LOSSES."""
        sums = {name: torch.zeros((), device=self.model.device) for name in LOSSES}
        frames, points = draws.frames(), draws.points()
        for plan, together in self._plans(clip, expressions):
            answers, token_BNC = self._ask(plan, clip, together)
            sums["text"] = sums["text"] + torch.stack([text_loss(a.logits_TV, a.ids_T) for a in answers]).sum()
            learnt = supervised(plan, clip.scored, self.training.frames, frames)
            for decoded in learnt:
                logits_Bhw = self._decode(clip, decoded, token_BNC)
                truth_BHW = self._truth(clip, together, decoded.frame)
                found = mask_losses(logits_Bhw, truth_BHW, self.training.points, points)
                sums["mask"] = sums["mask"] + found.mask_B.sum() / len(learnt)
                sums["dice"] = sums["dice"] + found.dice_B.sum() / len(learnt)
        return sums

    @torch.no_grad()
    def iou(self, clip: Clip, expressions: Sequence[int]) -> list[float]:
        """Of each sentence the mean IoU of its masks over supervised frames; 1 where both are empty."""
        found: dict[int, list[float]] = {e: [] for e in expressions}
        for plan, together in self._plans(clip, expressions):
            _, token_BNC = self._ask(plan, clip, together)
            for decoded in supervised(plan, clip.scored, self.training.frames, None):
                logits_Bhw = self._decode(clip, decoded, token_BNC)
                mask_BHW = at_frame_size(self.model.sam2, logits_Bhw, clip.frames.size) > 0
                truth_BHW = self._truth(clip, together, decoded.frame)
                for e, value in zip(together, overlap(mask_BHW, truth_BHW).tolist(), strict=True):
                    found[e].append(value)
        return [float(np.mean(values)) for values in found.values() if values]

    def _plans(self, clip: Clip, expressions: Sequence[int]) -> Iterator[tuple[Plan, list[int]]]:
        """What is shown for which expressions: those with the same chosen frames share images."""
        settings, video = self.settings, clip.video
        chosen = chosen_frames(settings.chosen_frames, video, settings.chosen_per_sentence)

        def frames_of(e: int) -> Chosen:
            return chosen[video.expressions[e].id]

        for frames, together in groupby(sorted(expressions, key=frames_of), frames_of):
            yield settings.chosen.plan(len(clip.frames), settings.own, frames), list(together)

    def _ask(self, plan: Plan, clip: Clip, expressions: Sequence[int]) -> tuple[list[Forced], Tensor]:
        """The forced answers, and of each sentence the tokens of the clips, float32."""
        settings, model = self.settings, self.model
        texts = [as_words(clip.video.expressions[e].text, model.tokenizer) for e in expressions]
        text = settings.chosen.answer(settings.own, plan)
        seen = model.encode(draw_images(plan, clip.frames.load))
        share = not (self.training.gradient_checkpointing and model.mllm.training)
        answers = force(model, seen, [settings.chosen.request(one) for one in texts], text, share=share)
        said = [Answered(text, model.project(answer.states_nD).float()) for answer in answers]
        return answers, torch.stack([sentence_of(settings, plan, one).token_NC for one in said])

    def _decode(self, clip: Clip, decoded: Decode, token_BNC: Tensor) -> Tensor:
        """(B, h, w) logits; an object is there whatever its score says, so that masks are learnt on every frame."""
        sam2 = self.model.sam2
        features = frame_features(sam2, model_pixels(clip.frames.load(decoded.frame), sam2))
        return decode(sam2, features, token_BNC[:, decoded.clip], "forced").logits_Bhw

    def _truth(self, clip: Clip, expressions: Sequence[int], frame: int) -> Tensor:
        truth_BHW = np.stack([clip.truth(e, frame) for e in expressions])
        return torch.from_numpy(truth_BHW).to(self.model.device)


def overlap(mask_BHW: Tensor, truth_BHW: Tensor) -> Tensor:
    """(B,) intersection over union; 1 where both are empty."""
    both_B, any_B = ((x.sum((1, 2))).float() for x in (mask_BHW & truth_BHW, mask_BHW | truth_BHW))
    return torch.where(any_B > 0, both_B / any_B.clamp(min=1), torch.ones_like(any_B))
