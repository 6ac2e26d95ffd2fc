"""The bundled micro weights: found by the pipeline's own look-up, loaded by its loaders, with pinned predictions.

Pins hold within what another CPU's rounding may move; a retrained model gets new ones (docs/models.md).
"""

import shutil
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from safetensors import safe_open
from support.project import ROOT, make_config
from torchvision.ops import box_iou

from stages.core.config.loading import load_config, settings_of
from stages.core.media import masks
from stages.core.run.batches import Batches
from stages.core.state.frames import FrameFolder
from stages.core.state.graph import BUILD_TRACKS, ENCODE_TEXT
from stages.core.state.weights import find_weights, weights_ids
from stages.evidence.backends.transformers import load_judge
from stages.evidence.fusion.file import read_exported
from stages.micro.training.mllm.evaluate import HELD_OUT, asked_about
from stages.micro.training.mllm.generate import endless_record
from stages.micro.training.sam2.tracked import held_out_clip
from stages.micro.training.seg.evaluate import on_scene
from stages.prompting.grounding_dino.detector import load_detector
from stages.prompting.seg.checkpoint.loading import load_seg_model
from stages.selectors import finished_selector, load
from stages.selectors.batch import Sample, TrackFeatures
from stages.selectors.checkpoint import selector_id
from stages.selectors.text_encoder import TransformersTextEncoder
from stages.tracking.lockstep import LockstepTracker
from stages.tracking.tracker import PromptBatch
from stages.weights.fetch import fetch_preset

BUNDLE = ROOT / "stages/micro/weights"
MIB = 2**20
N_FRAMES = 12


@pytest.fixture(scope="module")
def config(tmp_path_factory):
    """The project's config as it stands, with the micro preset taken into use; no network, no seed for what is here."""
    place = tmp_path_factory.mktemp("place")
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(ROOT)
        config = make_config(place)
        fetch_preset(config, "micro", overwrite=False, source=None)
        yield config


def test_every_model_has_a_card_and_together_they_are_small():
    files = sorted(BUNDLE.rglob("*.safetensors"))
    assert files and sum(file.stat().st_size for file in files) <= 35 * MIB
    for file in files:
        card = (file.parent / "card.md").read_text(encoding="utf-8")
        assert "python -m stages." in card and "|" in card, f"{file.parent}: the card names its command and its scores"
        with safe_open(file, framework="np") as content:
            assert len(content.keys()) > 0


def clip_folder(folder: Path) -> tuple[FrameFolder, np.ndarray]:
    """A held-out clip as frames on disk, and its masks (N, T, H, W)."""
    clip = held_out_clip(3)
    names = tuple(f"{t:05}" for t in range(N_FRAMES))
    for name, frame_HW3 in zip(names, clip.frames_THW3):
        Image.fromarray(frame_HW3).save(folder / f"{name}.png")
    height, width = clip.frames_THW3.shape[1:3]
    return FrameFolder(folder, names, ".png", (height, width), None, "held-out"), clip.masks_NTHW[:, :N_FRAMES]


# in pixels, of two objects in frames 1, 6 and 11
AREAS = [[251, 235, 237], [294, 302, 257]]


@pytest.fixture(scope="module")
def tracked(config, tmp_path_factory):
    """Two objects of a held-out clip, tracked from their masks in frame 0, and their true masks (N, T, H, W)."""
    frames, masks_NTHW = clip_folder(tmp_path_factory.mktemp("clip"))
    settings = settings_of(config, "shapes")
    tracker = LockstepTracker.load(find_weights(config, "shapes", "sam2"), "cpu", settings.tracks, settings.run)
    prompts = masks.encode_all(masks_NTHW[:2, 0])
    return tracker.track(frames, [PromptBatch(0, prompts)])[0], masks_NTHW


def test_sam2_tracks_as_pinned(tracked):
    found, masks_NTHW = tracked
    areas = [[int(masks.area([masklet.rles_T[t]])[0]) for t in (1, 6, 11)] for masklet in found]
    np.testing.assert_allclose(areas, AREAS, atol=4)
    for masklet, masks_THW in zip(found, masks_NTHW[:2], strict=True):
        ious = masks.iou_matrix(masklet.rles_T[1:], masks.encode_all(masks_THW[1:])).diagonal()
        assert ious[masks_THW[1:].any((1, 2))].mean() > 0.85


SCORES = (0.8536, 0.8138)  # of the boxes of the two green squares


def test_the_detector_finds_what_is_named(config, tmp_path):
    frames, masks_NTHW = clip_folder(tmp_path)
    settings = settings_of(config, "shapes").prompts.gdino
    detector = load_detector(find_weights(config, "shapes", "grounding_dino"), settings, "cpu", 8)
    frame = frames.load(0)
    squares, stars = detector.detect([frame], ["the green squares", "a yellow star"])[0]
    assert squares.phrases == ["green squares"] * 2 and stars.phrases == []
    np.testing.assert_allclose(squares.scores_N, SCORES, atol=5e-3)
    true_boxes = torch.from_numpy(masks.boxes(masks.encode_all(masks_NTHW[:2, 0])).astype(np.float32))
    iou_NM = box_iou(torch.from_numpy(squares.boxes_N4), true_boxes)
    assert sorted(iou_NM.argmax(1).tolist()) == [0, 1] and iou_NM.amax(1).min() > 0.8


COSINES = (0.8307, 0.6940, -0.0244)  # of the first sentence with the others
SENTENCES = (
    "the red square moving left",
    "the square that is red and goes to the left",
    "the red square moving right",
    "two blue circles",
)


def test_text_features_are_as_pinned(config):
    folder = find_weights(config, "shapes", "text").path
    encoder = TransformersTextEncoder(folder, 64, "cpu")
    means = np.stack([encoder.encode(sentence, "test").mean_D for sentence in SENTENCES])
    means /= np.linalg.norm(means, axis=1, keepdims=True)
    np.testing.assert_allclose(means[1:] @ means[0], COSINES, atol=2e-3)


LOGITS = {"the green squares": (1.222, 1.438), "the yellow star": (-8.149, -7.882)}


def test_the_selector_scores_as_pinned(config, tracked):
    found, masks_NTHW = tracked
    ids = weights_ids(config, "shapes", BUILD_TRACKS, "gt") | weights_ids(config, "shapes", ENCODE_TEXT, None)
    selector = load(finished_selector(config, "shapes"), "cpu", ids)
    encoder = TransformersTextEncoder(find_weights(config, "shapes", "text").path, 64, "cpu")
    height, width = masks_NTHW.shape[2:]
    boxes_MT4 = np.stack([masks.boxes(masklet.rles_T) for masklet in found]).astype(np.float32)
    tokens_MTC = np.stack([masklet.tokens_TC for masklet in found])
    tracks = TrackFeatures.of_tokens(tokens_MTC)
    tracks = replace(tracks, boxes_MT4=boxes_MT4 / np.array([width, height, width, height], np.float32))
    for sentence, logits in LOGITS.items():
        words = encoder.encode(sentence, "test")
        detections_N2 = np.full((len(found), 2), np.nan, np.float32)
        sample = Sample(tracks, np.arange(len(found)), words.words_WD, words.mean_D, detections_N2=detections_N2)
        (scored,) = selector.score_all([sample], tokens_per_pass=4096)
        np.testing.assert_allclose(scored, logits, atol=5e-2, err_msg=sentence)


JUDGED = {  # log-odds of four tracks of a generated scene; the second is the red cross, the third turns round last
    "the red cross": (-7.231, 5.607, -6.832, -7.21),
    "the cross that turns round last": (-4.08, -2.317, 1.858, -7.014),
    "the thing starting to move late": (4.359, -4.739, -4.296, -7.377),
}


def test_the_mllm_judges_as_pinned(config):
    judge = load_judge(find_weights(config, "shapes", "mllm").path, "cpu", "float32", Batches(8, "questions"))
    record = endless_record(HELD_OUT, 8)
    odds_EN = asked_about(judge, record.composition(("card", "facts")), record.first, list(JUDGED))
    assert odds_EN.argmax(1).tolist() == [1, 2, 0]
    np.testing.assert_allclose(odds_EN, list(JUDGED.values()), atol=5e-2)


# IoU of sentences about a generated scene, without a candidate and with it: a motion, looks, several objects, a place
FOUND = {1: (0.222, 0.801), 2: (0.793, 0.787), 5: (0.654, None), 7: (0.788, 0.663), 15: (0.925, 0.927)}


def test_the_seg_model_finds_as_pinned(config):
    settings, weights = settings_of(config, "shapes").prompts["seg"], find_weights(config, "shapes", "seg")
    model = load_seg_model(
        weights.path, weights.model, "cpu", settings.precision, find_weights(config, "shapes", "sam2")
    )
    found = list(on_scene(model, 2, settings.mask_threshold))
    for index, (iou, given) in FOUND.items():
        assert found[index].iou == pytest.approx(iou, abs=0.02), index
        assert found[index].given == (given and pytest.approx(given, abs=0.02)), index


def test_weights_that_are_gone_are_named(config, tmp_path, monkeypatch):
    for name in ("config.yaml", "stages/micro/sam2_micro.yaml"):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(ROOT / name, tmp_path / name)
    monkeypatch.chdir(tmp_path)
    with pytest.raises(ValueError, match=r"stages/micro/weights/sam2/model\.safetensors: missing"):
        find_weights(config, "shapes", "sam2")


def test_the_fusion_is_of_the_bundled_selector_and_of_what_shapes_decides_by():
    settings = settings_of(load_config(ROOT / "config.yaml"), "shapes")
    rerank, choice = settings.rerank, load_config(ROOT / "config.yaml").datasets["shapes"].selector
    assert rerank.fusion == "fitted" and rerank.fusion_file is not None and choice.weights is not None
    fusion = read_exported(ROOT / rerank.fusion_file)
    assert fusion.selector == selector_id(ROOT / choice.weights) and fusion.fitted_on == choice.validate_on
    assert list(fusion.evidence) == sorted(rerank.evidence)
    assert (fusion.fusion.rule, fusion.fusion.same_iou) == (rerank.rule.kind, rerank.same_iou)
    weights = fusion.fusion.weights
    assert weights["score"] > 0 and all(weights[f"evidence.{name}"] > 0 for name in rerank.evidence)
    assert ("score.looks" in weights) == rerank.looks_apart
    card = (ROOT / rerank.fusion_file).with_name("card.md").read_text(encoding="utf-8")
    assert fusion.selector in card and f"| bias | {fusion.fusion.bias:.3f} |" in card
