"""Prompts from a [SEG] model: the masks that its tokens decode, each in its frame and for its sentence."""

from collections.abc import Sequence
from itertools import groupby
from typing import Any

import torch

from stages.core.records import Video
from stages.core.run.batches import Batches
from stages.core.state.frames import FrameFolder
from stages.core.state.prompt_file import Prompt
from stages.prompting.ground_truth import mask_box
from stages.prompting.seg.chosen import chosen_frames
from stages.prompting.seg.masks import Masker
from stages.prompting.seg.pictures import draw_images
from stages.prompting.seg.sentence import DecodedMask, Sentence, sentence_of
from stages.prompting.seg.settings import SegPrompts
from stages.prompting.seg.tokens import Speaker
from stages.prompting.seg.variants.variant import Chosen
from stages.tracking.sam2_model import autocast, cast_weights

Key = tuple[str, Chosen]  # what a sentence says, and the frames that were chosen for it


class SegPrompter:
    """A [SEG] model, and the variant that says what it looks at.

    Args:
        model: a stages.prompting.seg.checkpoint SegModel; its SAM2 is taken over, in the precision of the settings.
        sentences: how many go through the MLLM at once.
        tokens: how many are decoded at once in a frame.
        objects: how many the tuned SAM2 follows at once.
    """

    def __init__(self, model: Any, settings: SegPrompts, sentences: int, tokens: int, objects: int) -> None:
        self.model, self.settings = model, settings
        cast_weights(model.sam2, settings.precision)
        self.sentences, self.tokens = Batches(sentences, "sentences"), Batches(tokens, "tokens")
        self.objects = Batches(objects, "objects")
        self._speaker = Speaker(model, settings, self.sentences)
        self._masker = Masker(model, settings.chosen.placed, settings.mask_threshold, self.tokens, self.objects)

    def prompts(self, video: Video, frames: FrameFolder) -> list[Prompt]:
        """By frame, then by expression; equal sentences are asked once, one without a word never."""
        chosen = chosen_frames(self.settings.chosen_frames, video, self.settings.chosen_per_sentence)
        asked = {e: (x.text, chosen[x.id]) for e, x in enumerate(video.expressions) if x.has_word}
        sentences = self.segment(list(dict.fromkeys(asked.values())), frames)
        masks = {key: sentence.kept() for key, sentence in sentences.items()}
        return [
            self._prompt(frame, e, sentences[key], masks[key][frame])
            for frame in range(len(frames))
            for e, key in asked.items()
            if frame in masks[key]
        ]

    @torch.inference_mode()
    def segment(self, keys: Sequence[Key], frames: FrameFolder) -> dict[Key, Sentence]:
        """Sentences with their masks."""
        sentences = self._ask(keys, frames)
        spoken = [sentence for sentence in sentences.values() if len(sentence.token_NC)]
        tuned = [s for s in spoken if s.plan.propagate and self.settings.follow == "tuned"]
        with autocast(self.model.sam2.device.type, self.settings.precision):
            self._masker.decode([s for s in spoken if s not in tuned], frames)
            for _, group in groupby(tuned, lambda sentence: sentence.plan):
                self._masker.follow(list(group), frames)
        return sentences

    def _ask(self, keys: Sequence[Key], frames: FrameFolder) -> dict[Key, Sentence]:
        """Sentences for which the same frames were chosen see the same images."""
        sentences: dict[Key, Sentence] = {}
        for chosen, group in groupby(sorted(keys, key=_chosen), _chosen):
            together = list(group)
            plan = self.settings.chosen.plan(len(frames), self.settings.own, chosen)
            answers = self._speaker.ask(plan, draw_images(plan, frames.load), [text for text, _ in together])
            for key, answered in zip(together, answers, strict=True):
                sentences[key] = sentence_of(self.settings, plan, answered)
        return sentences

    def _prompt(self, frame: int, expression: int, sentence: Sentence, mask: DecodedMask) -> Prompt:
        said = sentence.answered.text if self.settings.answer == "generated" else ""
        return Prompt(frame, mask.rle, mask_box(mask.rle), expression, mask_score=mask.iou, phrase=said)


def _chosen(key: Key) -> Chosen:
    return key[1]
