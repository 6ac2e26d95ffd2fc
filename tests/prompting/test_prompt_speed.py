"""GroundingDINO in batches: what is shared, and that nothing changes by it. The reference is transformers' own model,
one caption in one frame at a time, on random weights that spread scores and boxes."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from support.detectors import build_wide, matched, prompts, weights

from benchmarks.plain_prompts import one_by_one
from stages.prompting.grounding_dino.checkpoint import find_checkpoint, read_config
from stages.prompting.grounding_dino.detector import GroundingDino, load_detector
from stages.prompting.grounding_dino.fusion import FoldedFusion
from stages.prompting.grounding_dino.transformers_backend import load_model

CAPTIONS = [
    "dog",
    " ".join(["the small dog that runs left"] * 12),
    "two dogs, run away. a zebra? yes",
    "?.a",
    "zzyzx",
    "the red circle moving left",
]


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return build_wide(tmp_path_factory.mktemp("dino"))


def load(folder: Path, pairs: int = 8, **over: Any) -> GroundingDino:
    detector = load_detector(weights(folder), prompts("transformers", **over), "cpu", pairs)
    assert isinstance(detector, GroundingDino)
    return detector


@pytest.fixture(scope="module")
def detector(folder: Path) -> GroundingDino:
    return load(folder)


@pytest.fixture(scope="module")
def frames() -> list[np.ndarray]:
    generator = np.random.default_rng(0)
    return [generator.integers(0, 256, shape, np.uint8) for shape in ((96, 128, 3), (96, 128, 3), (130, 70, 3))]


@pytest.fixture(scope="module")
def reference(folder: Path, detector: GroundingDino, frames: list[np.ndarray]) -> list[list[Any]]:
    model = load_model(find_checkpoint(folder), read_config(folder)).eval()
    return one_by_one(model, detector, frames, CAPTIONS)


@pytest.mark.parametrize("pairs", [1, 4, 64])
def test_pairs_together_give_what_each_gives_alone(
    folder: Path, frames: list[np.ndarray], reference: list[list[Any]], pairs: int
) -> None:
    found = load(folder, pairs=pairs).detect(frames, CAPTIONS)
    spread = []
    for frame, row, expected_row in zip(frames, found, reference, strict=True):
        height, width = frame.shape[:2]
        for detections, (scores_QT, boxes_Q4) in zip(row, expected_row, strict=True):
            centre, half = boxes_Q4[:, :2], boxes_Q4[:, 2:] / 2
            corners = (torch.cat([centre - half, centre + half], 1) * torch.tensor([width, height] * 2)).numpy()
            corners = corners.clip(0, [width, height, width, height])
            scores = np.array(detections.token_scores, np.float32)
            order = matched(np.hstack([detections.boxes_N4 / 100, scores]), np.hstack([corners / 100, scores_QT]))
            np.testing.assert_allclose(scores, scores_QT[order], rtol=0, atol=2e-5)
            np.testing.assert_allclose(detections.boxes_N4, corners[order], rtol=0, atol=5e-3)
            spread.append(scores.std())
    assert min(spread) > 0.02  # or equality would say nothing


def test_a_caption_is_read_once_and_a_frame_once(folder: Path, frames: list[np.ndarray]) -> None:
    detector = load(folder, pairs=4)
    model = detector.network.model.model  # type: ignore[attr-defined]
    read, seen = [], []
    model.text_backbone.backbone.register_forward_hook(lambda _m, inputs, _o: read.append(inputs[0].shape))
    model.backbone.backbone.register_forward_hook(lambda _m, _i, output: seen.append(len(output[0][0][0])))
    detector.detect(frames, CAPTIONS)
    detector.detect(frames[::-1], CAPTIONS[::-1])
    assert len(read) == len(CAPTIONS) and {batch for batch, _ in read} == {1}
    assert len({length for _, length in read}) > 2  # never padded
    assert sum(seen) == 2 * len(frames)


def test_one_caption_over_many_frames_fills_a_pass(folder: Path, frames: list[np.ndarray]) -> None:
    detector = load(folder, pairs=4)
    passes = []
    detector.network.model.register_forward_hook(lambda _m, _i, output: passes.append(len(output.logits)))  # type: ignore[attr-defined]
    many = [np.roll(frames[0], i, 0) for i in range(6)]
    together = detector.detect(many, ["dog"])
    assert passes == [4, 2]
    assert len({row[0].boxes_N4.tobytes() for row in together}) == len(many)


def test_fusion_equals_the_published_module_with_padding_on_both_sides(folder: Path) -> None:
    attention = (
        load_model(find_checkpoint(folder), read_config(folder)).eval().model.encoder.layers[0].fusion_layer.attn
    )
    generator = torch.Generator().manual_seed(0)
    vision, text = (torch.randn(3, n, 256, generator=generator) for n in (50, 7))
    vision_padding, text_padding = (torch.arange(n) >= torch.tensor([[n], [n - 2], [1]]) for n in (50, 7))
    with torch.inference_mode():
        (pixels, _), (words, _) = attention(vision, text, vision_padding, text_padding)
        (our_pixels, _), (our_words, _) = FoldedFusion(attention)(vision, text, vision_padding, text_padding)
        (unmasked, _), _ = FoldedFusion(attention)(vision, text)
    torch.testing.assert_close(our_pixels, pixels, rtol=0, atol=1e-5)
    torch.testing.assert_close(our_words, words, rtol=0, atol=1e-5)
    assert (unmasked - pixels).abs().max() > 1e-3
