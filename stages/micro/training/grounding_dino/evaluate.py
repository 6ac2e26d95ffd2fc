"""Held-out figures of a detector's folder, through the loader and the detector that the pipeline uses.

Legend: N boxes, M objects.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import numpy as np
import torch
from numpy.typing import NDArray
from torchvision.ops import box_convert, box_iou

from stages.core.config.file import Model
from stages.core.state.weights import Weights
from stages.micro.training.grounding_dino.scenes import SIZES, Frame, fits, frame_of
from stages.micro.training.sentences import held_out
from stages.prompting.frame_choice import FrameChoice
from stages.prompting.grounding_dino.detector import Detections, Detector, load_detector
from stages.prompting.grounding_dino.settings import GroundingDinoPrompts
from stages.worlds.shapes import Clip, Sentence, draw_clip, sample_scene, sample_sentences
from stages.worlds.shapes.outlines import SHAPES
from stages.worlds.shapes.scene import COLOURS

Backend = Literal["transformers", "groundingdino"]
STREAM = 7  # of held-out numbers
CLIP_FRAMES = 22
BEST = 10
PAIRS = 16  # read together
SAME = 0.5  # IoU from which a box matches an object
THRESHOLDS = tuple(np.round(np.arange(0.05, 0.75, 0.05), 2).tolist())
OTHER_PHRASES = 3  # of pairs that the frame does not show
WORDS_PER_PHRASE = 3  # "a red square": each one token
STRANGERS = tuple(zip(COLOURS, SHAPES))


def settings(backend: Backend = "transformers") -> GroundingDinoPrompts:
    """Detector settings that give its 10 best boxes."""
    return GroundingDinoPrompts(
        backend=backend,
        frames=FrameChoice(step=1, count=None),
        box_threshold=0.0,
        text_threshold=0.3,
        max_boxes=BEST,
        stability_min=0.0,
        precision="float32",
    )


def evaluate(folder: Path, n_clips: int, backend: Backend = "transformers") -> dict[str, float]:
    """Recall of referred objects, right phrases, and what thresholds would keep, on `n_clips` held-out clips.

    Args:
        folder: a GroundingDINO in the layout of transformers.
        backend: what runs it, as in the config.

    Returns:
        recall_referred: share of visible referred objects that one of the 10 best boxes for their sentence
            matches with IoU ≥ 0.5; recall_named: the same for all objects that the sentence's nouns describe.
        phrase_right: for a caption that lists pairs of colour and shape (those of the frame, and three others, of
            mixed words where there are any), the share of objects with a matching box whose best such box has its
            best token in the phrase of the object's own colour and shape; phrase_right_of_all also counts objects
            without a box as wrong.
        mean_iou: of the best box of every recalled object.
        first_is_referred: share of sentences with a visible referred object whose best box matches one.
        precision_t, recall_t: over thresholds t on the score, of boxes and of objects that the nouns describe;
            best_threshold: the one with the best F1.

    Raises:
        ValueError: `folder` holds no GroundingDINO.
    """
    model = Model(hub=None, revision=None, files=[], seed=0, path=None, license=None, size_gb=None)
    detector = load_detector(Weights(folder, "evaluated", model), settings(backend), "cpu", PAIRS)
    return figures_of(detector, n_clips)


def figures_of(detector: Detector, n_clips: int) -> dict[str, float]:
    """As `evaluate`, of a detector that gives its 10 best boxes."""
    asked: list[_Asked] = []
    phrases: list[bool | None] = []
    for index in range(n_clips):
        rng, clip, sentences = held_out_clip(index)
        for t in (3, 14):
            frame = frame_of(clip, t)
            if frame.looks:
                asked += _ask_sentences(detector, clip, t, frame, sentences)
                phrases += _ask_phrases(detector, rng, frame)
    return _figures(asked) | _phrase_figures(phrases)


def held_out_clip(index: int) -> tuple[np.random.Generator, Clip, list[Sentence]]:
    """Its random generator, clip and sentences; no training draws it."""
    rng = held_out(STREAM, index)
    scene = sample_scene(rng, CLIP_FRAMES, SIZES[index % 2])
    return rng, draw_clip(rng, scene), sample_sentences(rng, scene)


@dataclass(frozen=True)
class _Asked:
    """A frame and sentence: IoU of boxes with visible objects, which are referred to, and which the nouns describe."""

    iou_NM: NDArray[np.float64]
    scores_N: NDArray[np.float32]
    referred_M: NDArray[np.bool_]
    named_M: NDArray[np.bool_]


def _ask_sentences(
    detector: Detector, clip: Clip, t: int, frame: Frame, sentences: Sequence[Sentence]
) -> Iterator[_Asked]:
    (detections_of_sentences,) = detector.detect([frame.image_HW3], [sentence.text for sentence in sentences])
    for sentence, detections in zip(sentences, detections_of_sentences):
        nouns = [looks for part in sentence.parts for looks in (part.looks, part.landmark) if looks is not None]
        named_M = np.array([any(fits(noun, looks) for noun in nouns) for looks in frame.looks])
        referred_M = np.isin(frame.things, sentence.referred)
        yield _Asked(_ious(detections, frame), detections.scores_N, referred_M, named_M)


def _ask_phrases(detector: Detector, rng: np.random.Generator, frame: Frame) -> list[bool | None]:
    """Whether each object's best box names its colour and shape; None = it has no box."""
    there = list(dict.fromkeys((one.colour, one.shape) for one in frame.looks))
    mixed = [(colour, shape) for colour, _ in there for _, shape in there]
    others = [pair for pair in [*mixed, *STRANGERS] if pair not in there]
    pairs = [*there, *dict.fromkeys(others)][: len(there) + OTHER_PHRASES]
    pairs = [pairs[i] for i in rng.permutation(len(pairs))]
    caption = " . ".join(f"a {colour} {shape}" for colour, shape in pairs) + " ."
    (detections,) = detector.detect([frame.image_HW3], [caption])[0]
    iou_NM = _ious(detections, frame)
    right: list[bool | None] = []
    for m, one in enumerate(frame.looks):
        fitting_N = np.flatnonzero(iou_NM[:, m] >= SAME)
        if len(fitting_N) == 0:
            right.append(None)
        else:
            best_token = int(np.argmax(detections.token_scores[fitting_N[0]]))  # boxes come best first
            right.append(pairs[best_token // WORDS_PER_PHRASE] == (one.colour, one.shape))
    return right


def _ious(detections: Detections, frame: Frame) -> NDArray[np.float64]:
    """(N, M)"""
    height, width = frame.image_HW3.shape[:2]
    true_M4 = box_convert(torch.from_numpy(frame.boxes_N4 * np.array([width, height] * 2)), "cxcywh", "xyxy")
    result: NDArray[np.float64] = box_iou(torch.from_numpy(detections.boxes_N4).double(), true_M4).numpy()
    return result


def _figures(asked: Sequence[_Asked]) -> dict[str, float]:
    best_of = [(one.iou_NM.max(0, initial=0.0), one) for one in asked]
    referred = np.concatenate([best_M[one.referred_M] for best_M, one in best_of])
    named = np.concatenate([best_M[one.named_M] for best_M, one in best_of])
    figures = {
        "recall_referred": _share(referred >= SAME),
        "recall_named": _share(named >= SAME),
        "mean_iou": float(referred[referred >= SAME].mean()) if (referred >= SAME).any() else 0.0,
        "first_is_referred": _share(
            np.array([one.iou_NM[0, one.referred_M].max() >= SAME for one in _answerable(asked)])
        ),
        "referred_objects": len(referred),
    }
    f1: dict[float, float] = {}
    for threshold in THRESHOLDS:
        precision, recall = _at(asked, threshold)
        figures[f"precision_{threshold:.2f}"], figures[f"recall_{threshold:.2f}"] = precision, recall
        f1[threshold] = 2 * precision * recall / max(precision + recall, 1e-9)
    return {name: round(value, 4) for name, value in figures.items()} | {"best_threshold": max(f1, key=f1.__getitem__)}


def _answerable(asked: Sequence[_Asked]) -> list[_Asked]:
    return [one for one in asked if one.referred_M.any() and len(one.scores_N)]


def _at(asked: Sequence[_Asked], threshold: float) -> tuple[float, float]:
    """Share of kept boxes that match a described object, and share of described objects that a kept box matches."""
    box_is_right, object_is_found = [], []
    for one in asked:
        fits_NM = one.iou_NM[one.scores_N > threshold][:, one.named_M] >= SAME
        box_is_right.append(fits_NM.any(1))
        object_is_found.append(fits_NM.any(0))
    return _share(np.concatenate(box_is_right)), _share(np.concatenate(object_is_found))


def _phrase_figures(phrases: Sequence[bool | None]) -> dict[str, float]:
    boxed = np.array([right for right in phrases if right is not None], bool)
    return {
        "phrase_right": round(_share(boxed), 4),
        "phrase_right_of_all": round(float(boxed.sum() / max(len(phrases), 1)), 4),
        "phrase_objects": len(phrases),
    }


def _share(values: NDArray[np.bool_]) -> float:
    return float(values.mean()) if len(values) else 0.0
