"""How well an embedded [SEG] model finds and segments from raw frames and a sentence: as source `seg` asks it.

Legend: T frames, H × W a frame.
"""

import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray

from stages.core.config.loading import load_config
from stages.core.media import masks as masks_of
from stages.core.state.frames import load_image
from stages.core.state.weights import Weights
from stages.datasets import open_split
from stages.micro.training.seg.batches import VARIANT, plan_of
from stages.micro.training.seg.recipe import FRAMES
from stages.micro.training.seg.scenes import random_scene
from stages.micro.training.seg.store import SAM2, entry_of
from stages.micro.training.seg.training import SAM2_FILE
from stages.micro.training.sentences import held_out
from stages.prompting.seg.checkpoint.loading import load_seg_model
from stages.prompting.seg.checkpoint.model import SegModel
from stages.prompting.seg.conversation import as_words
from stages.prompting.seg.decoding import at_frame_size, decode, frame_features, model_pixels
from stages.prompting.seg.pictures import draw_images
from stages.prompting.seg.tokens import fitted
from stages.prompting.seg.variants.frames import FewFrames
from stages.worlds.shapes.write import SIZES

HELD_OUT = 5
MARGIN = 3  # pixels around a candidate's box that stay


class Seen(NamedTuple):
    """A video's frames, and 1 + index of the object that is visible in each pixel; 0 = background."""

    frames_THW3: NDArray[np.uint8]
    labels_THW: NDArray[np.uint8]


@dataclass(frozen=True)
class Asked:
    """A sentence, its kind, where what it refers to can be seen: bool (T, H, W), and whether that is one object."""

    text: str
    kind: str
    target_THW: NDArray[np.bool_]
    is_one: bool


@dataclass(frozen=True)
class Found:
    """A sentence's mean IoU over decoded frames in which there is something to find, and what a chooser without ears would reach.

    Attributes:
        any_object: mean IoU of the true mask of an object drawn at random.
        everything: IoU of all objects together.
        given: the IoU where the one object that is meant is given by its box (`with_candidate`); None where it is not one.
    """

    kind: str
    iou: float
    any_object: float
    everything: float
    given: float | None = None


def measure(
    folder: Path, n_scenes: int, config: str | None, split: str, limit: int | None, threshold: float
) -> dict[str, Any]:
    """Figures on held-out generated scenes, and on a split of `shapes`.

    Args:
        threshold: logits above it are in a mask.

    Raises:
        ValueError: `folder` holds no [SEG] model.
    """
    model = load_model(folder)
    figures = {"scenes": figures_of([one for k in range(n_scenes) for one in on_scene(model, k, threshold)])}
    if config is not None:
        figures[split] = figures_of(list(on_split(model, config, split, limit, threshold)))
    return figures


def load_model(folder: Path) -> SegModel:
    """With the embedded SAM2 beside it."""
    from stages.core.config.file import Sam2Model

    source: dict[str, Any] = {
        "hub": None,
        "revision": None,
        "files": [],
        "seed": None,
        "license": None,
        "size_gb": None,
    }
    beside = Weights(SAM2_FILE, "", Sam2Model(config=SAM2, path=str(SAM2_FILE), **source))
    return load_seg_model(folder, entry_of(folder), "cpu", "float32", beside)


def find_all(model: SegModel, seen: Seen, asked: Sequence[Asked], threshold: float) -> Iterator[Found]:
    """Every sentence in a video, without a candidate and, where it means one object, with it."""
    for one, found in zip(asked, find(model, seen, asked, threshold), strict=True):
        if found is not None and one.is_one:
            shown = seen._replace(frames_THW3=with_candidate(seen.frames_THW3, one.target_THW))
            [given] = find(model, shown, [one], threshold)
            assert given is not None, "the target is in the same frames"
            yield replace(found, given=given.iou)
        elif found is not None:
            yield found


def with_candidate(frames_THW3: NDArray[np.uint8], candidate_THW: NDArray[np.bool_]) -> NDArray[np.uint8]:
    """Frames in which what is outside of the candidate's box has the frame's median colour."""
    shown_THW3 = np.empty_like(frames_THW3)
    shown_THW3[:] = np.median(frames_THW3, (1, 2), keepdims=True)
    for shown_HW3, frame_HW3, candidate_HW in zip(shown_THW3, frames_THW3, candidate_THW, strict=True):
        if candidate_HW.any():
            y, x = np.nonzero(candidate_HW)
            rows = slice(max(0, y.min() - MARGIN), y.max() + MARGIN + 1)
            columns = slice(max(0, x.min() - MARGIN), x.max() + MARGIN + 1)
            shown_HW3[rows, columns] = frame_HW3[rows, columns]
    return shown_THW3


@torch.inference_mode()
def find(model: SegModel, seen: Seen, asked: Sequence[Asked], threshold: float) -> list[Found | None]:
    """Every sentence in the frames of a video that a token decodes; None for one whose target is in none of them."""
    frames_THW3, labels_THW = seen
    plan = plan_of(FRAMES, len(frames_THW3))
    requests = [VARIANT.request(as_words(one.text, model.tokenizer)) for one in asked]
    answer = VARIANT.answer(FewFrames(frames=FRAMES), plan)
    images = model.encode(draw_images(plan, lambda t: frames_THW3[t]))
    states = model.states(images, requests, [answer] * len(asked))
    tokens = [fitted(model.project(state_ND), plan.n_clips) for state_ND in states]
    iou: list[list[float]] = [[] for _ in asked]
    deaf: list[list[tuple[float, float]]] = [[] for _ in asked]
    for decoded in plan.decodes:
        features = frame_features(model.sam2, model_pixels(frames_THW3[decoded.frame], model.sam2))
        token_BC = torch.stack([token_NC[decoded.clip] for token_NC in tokens])
        logits_BHW = at_frame_size(
            model.sam2, decode(model.sam2, features, token_BC, "forced").logits_Bhw, labels_THW.shape[1:]
        )
        objects = [labels_THW[decoded.frame] == o for o in np.unique(labels_THW[decoded.frame]) if o]
        for one, mask_HW, own, chance in zip(asked, (logits_BHW > threshold).numpy(), iou, deaf, strict=True):
            target_HW = one.target_THW[decoded.frame]
            if target_HW.any():
                own.append(_iou(mask_HW, target_HW))
                any_object = float(np.mean([_iou(object_HW, target_HW) for object_HW in objects]))
                chance.append((any_object, _iou(labels_THW[decoded.frame] > 0, target_HW)))
    return [
        Found(one.kind, float(np.mean(own)), *np.mean(chance, axis=0).tolist()) if own else None
        for one, own, chance in zip(asked, iou, deaf, strict=True)
    ]


def figures_of(found: Sequence[Found]) -> dict[str, Any]:
    """Means over sentences, of all and by kind."""
    kinds = sorted({one.kind for one in found})
    by_kind = {kind: round(float(np.mean([one.iou for one in found if one.kind == kind])), 4) for kind in kinds}
    means: dict[str, float | None] = {
        name: round(float(np.mean([getattr(one, name) for one in found])), 4)
        for name in ("iou", "any_object", "everything")
    }
    given = [one.given for one in found if one.given is not None]
    means["given"] = round(float(np.mean(given)), 4) if given else None
    return {"sentences": len(found), **means, "kinds": by_kind}


def rows_of(figures: Mapping[str, Any]) -> list[str]:
    """Rows of the card's table."""
    rows = []
    for name, of in figures.items():
        kinds = ", ".join(f"{kind} {value}" for kind, value in of["kinds"].items())
        cells = (of[key] for key in ("sentences", "iou", "any_object", "everything", "given"))
        rows.append(" | ".join(["| " + name, *map(str, cells), kinds + " |"]))
    return rows


def on_scene(model: SegModel, index: int, threshold: float) -> Iterator[Found]:
    """The sentences of a held-out generated scene."""
    scene = random_scene(held_out(HELD_OUT, index), SIZES[index % len(SIZES)])
    asked = [
        Asked(one.text, one.kind, np.isin(scene.labels_THW, np.asarray(one.referred) + 1), len(one.referred) == 1)
        for one in scene.said
        if not one.statement
    ]
    return find_all(model, Seen(scene.frames_THW3, scene.labels_THW), asked, threshold)


def on_split(model: SegModel, config: str, split: str, limit: int | None, threshold: float) -> Iterator[Found]:
    """The sentences of a split of `shapes`."""
    loaded = load_config(config)
    reader = open_split(loaded, "shapes", split)
    root = Path(loaded.datasets["shapes"].root) / split
    meanings = json.loads((root / "meta_expressions.json").read_text(encoding="utf-8"))["videos"]
    for video in reader.videos()[:limit]:
        frames_THW3 = np.stack([load_image(video.location / f"{name}.jpg") for name in video.frames])
        labels_THW = np.zeros(frames_THW3.shape[:3], np.uint8)
        annotations = reader.annotations(video)
        for n, rles in enumerate(annotations.values()):
            for label_HW, rle in zip(labels_THW, rles, strict=True):
                if rle is not None:
                    label_HW[masks_of.decode(rle)] = n + 1
        rows = {key: n + 1 for n, key in enumerate(annotations)}
        asked = [
            Asked(
                one.text,
                meanings[video.id]["expressions"][one.id].get("kind", one.group),
                np.isin(labels_THW, [rows[key] for key in one.annotations]),
                len(one.annotations) == 1,
            )
            for one in video.expressions
            if one.annotations
        ]
        yield from find_all(model, Seen(frames_THW3, labels_THW), asked, threshold)


def _iou(mask_HW: NDArray[np.bool_], target_HW: NDArray[np.bool_]) -> float:
    return float((mask_HW & target_HW).sum() / (mask_HW | target_HW).sum())
