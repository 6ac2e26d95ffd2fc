"""Prompts from GroundingDINO: boxes for every expression on some frames, turned into masks by SAM2.

Legend: N boxes, H × W the frame.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace

import numpy as np
import torch
from numpy.typing import NDArray
from sam2.modeling.sam2_base import SAM2Base
from sam2.utils.amg import calculate_stability_score

from stages.core.config.section import Precision
from stages.core.media import masks
from stages.core.records import Rle, Video
from stages.core.run import progress
from stages.core.run.batches import Batches
from stages.core.state.frames import FrameFolder
from stages.core.state.prompt_file import Prompt
from stages.prompting.grounding_dino.detector import Detections, Detector
from stages.prompting.grounding_dino.settings import GroundingDinoPrompts
from stages.tracking.sam2_model import autocast, cast_weights, image_predictor

FRAMES_PER_CALL = 8  # bounds the pixels held; the detector batches inside
BOXES_PER_CALL = 16  # logits at frame size are 8 MB per box at 1080p
STABILITY_OFFSET = 1.0  # Segment Anything's own


class GroundingDinoPrompter:
    """A detector, and SAM2's image predictor for the masks of its boxes."""

    def __init__(self, detector: Detector, model: SAM2Base, settings: GroundingDinoPrompts) -> None:
        self._detector = detector
        self._masker = BoxMasker(model, settings.precision)
        self._settings = settings

    def prompts(self, video: Video, frames: FrameFolder) -> list[Prompt]:
        """Frame by frame, expression by expression, best box first; equal captions are detected once, one without a word never."""
        texts = [expression.text for expression in video.expressions]
        captions = list(dict.fromkeys(e.text for e in video.expressions if e.has_word))
        prompts: list[Prompt] = []
        chosen = self._settings.frames.select(len(frames)) if captions else []
        for index, image_HW3, detections in progress.steps(self._detect(frames, chosen, captions), len(chosen)):
            by_caption = dict(zip(captions, self._frame_prompts(index, image_HW3, detections)))
            prompts += [
                replace(prompt, expression=e) for e, text in enumerate(texts) for prompt in by_caption.get(text, ())
            ]
        return prompts

    def _detect(
        self, frames: FrameFolder, chosen: Sequence[int], captions: Sequence[str]
    ) -> Iterator[tuple[int, NDArray[np.uint8], list[Detections]]]:
        for indices in (chosen[i : i + FRAMES_PER_CALL] for i in range(0, len(chosen), FRAMES_PER_CALL)):
            images = frames.load_all(indices)
            yield from zip(indices, images, self._detector.detect(images, captions))

    def _frame_prompts(
        self, index: int, image_HW3: NDArray[np.uint8], detections: Sequence[Detections]
    ) -> list[list[Prompt]]:
        """The prompts of each caption; the frame is encoded once for all of them."""
        best = [_best(d, self._settings.max_boxes) for d in detections]
        boxes_N4 = np.concatenate([np.zeros((0, 4), np.float32), *(d.boxes_N4[b] for d, b in zip(detections, best))])
        box_masks = iter(self._masker.masks(image_HW3, boxes_N4))
        return [
            [
                prompt
                for box, mask in [(box, next(box_masks)) for box in boxes]
                if mask.usable(self._settings.stability_min)
                for prompt in [_prompt(index, detected, box, mask)]
            ]
            for detected, boxes in zip(detections, best)
        ]


@dataclass(frozen=True)
class BoxMask:
    """SAM2's mask of a box, its predicted IoU and its stability."""

    rle: Rle
    score: float
    stability: float

    def usable(self, stability_min: float) -> bool:
        return self.stability >= stability_min and int(masks.area([self.rle])[0]) > 0


class BoxMasker:
    """Boxes → masks: one mask per box, as published (no choice among several). Takes the model over, in its precision."""

    def __init__(self, model: SAM2Base, precision: Precision) -> None:
        cast_weights(model, precision)
        self._predictor = image_predictor(model)
        self._precision = precision
        self._batches = Batches(BOXES_PER_CALL, "boxes")

    def masks(self, image_HW3: NDArray[np.uint8], boxes_N4: NDArray[np.float32]) -> list[BoxMask]:
        """The mask of every box (x0 y0 x1 y1 in pixels), in order."""
        box_masks: list[BoxMask] = []
        if len(boxes_N4):
            with autocast(self._predictor.device.type, self._precision):
                self._predictor.set_image(image_HW3)
                for _, part_masks in self._batches.run(
                    range(len(boxes_N4)), lambda part: self._predict(boxes_N4[list(part)])
                ):
                    box_masks += part_masks
            self._predictor.reset_predictor()
        return box_masks

    def _predict(self, boxes_N4: NDArray[np.float32]) -> list[BoxMask]:
        logits, scores, _ = self._predictor.predict(box=boxes_N4, multimask_output=False, return_logits=True)
        logits_NHW = logits.reshape(len(boxes_N4), *logits.shape[-2:])  # a single box comes without its axis
        stability_N = calculate_stability_score(torch.from_numpy(logits_NHW), 0.0, STABILITY_OFFSET).nan_to_num(0.0)
        rles = masks.encode_all(logits_NHW > 0)
        return [BoxMask(*mask) for mask in zip(rles, scores.reshape(-1).tolist(), stability_N.tolist())]


def _best(detections: Detections, count: int) -> NDArray[np.intp]:
    """Indices of the best boxes, best first; ties keep the detector's order."""
    return np.argsort(-detections.scores_N, kind="stable")[:count]


def _prompt(frame: int, detections: Detections, box: int, mask: BoxMask) -> Prompt:
    x0, y0, x1, y1 = map(float, detections.boxes_N4[box])
    return Prompt(
        frame=frame,
        mask=mask.rle,
        box=(x0, y0, x1, y1),
        box_score=float(detections.scores_N[box]),
        mask_score=mask.score,
        stability=mask.stability,
        phrase=detections.phrases[box],
        token_scores=detections.token_scores[box],
    )
