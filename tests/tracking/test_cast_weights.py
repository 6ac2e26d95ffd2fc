"""Weights cast once: under autocast no bit of what SAM2 computes changes."""

import copy

import numpy as np
import pytest
import torch
from sam2.modeling.sam2_base import SAM2Base
from support.project import CONFIG
from support.sam2 import draw_frames
from support.sam2_parity import RLES, lockstep, sensitive_model

from stages.core.config.loading import load_config, settings_of
from stages.prompting.grid.automatic_masks import AutomaticMasks
from stages.prompting.grounding_dino.prompter import BoxMasker
from stages.prompting.seg.decoding import decode, frame_features
from stages.tracking import lockstep as engine
from stages.tracking.sam2_model import CAST, autocast, cast_weights
from stages.tracking.tracker import PromptBatch


@pytest.fixture(scope="module", params=["2.1 micro", "2.0 micro", "2.1 tiny"])
def model(request, tmp_path_factory) -> SAM2Base:
    """With biases: new ones are 0."""
    made = sensitive_model(request.param, tmp_path_factory.mktemp("model"))
    with torch.random.fork_rng(devices=[]):
        torch.default_generator.manual_seed(1)
        for module in made.modules():
            if isinstance(module, CAST) and module.bias is not None:
                module.bias.add_(torch.randn_like(module.bias), alpha=0.01)
    return made


def cast(model: SAM2Base) -> SAM2Base:
    model = copy.deepcopy(model)
    cast_weights(model, "bfloat16")
    return model


def test_products_and_convolutions_alone_are_cast(model):
    for name, parameter in cast(model).named_parameters():
        module = model.get_submodule(name.rpartition(".")[0])
        is_cast = isinstance(module, CAST) and not name.endswith("float32_bias")
        assert parameter.dtype == (torch.bfloat16 if is_cast else torch.float32), name
    same = copy.deepcopy(model)
    cast_weights(same, "float32")
    assert all(parameter.dtype == torch.float32 for parameter in same.parameters())


def test_tracks_are_equal_to_the_bit(model, monkeypatch, tmp_path):
    """The whole engine: image encoder, memory attention, mask decoder, memory encoder, pointers and their ages."""
    frames = draw_frames(tmp_path / "f", 5)
    batches = [PromptBatch(1, RLES[:2]), PromptBatch(3, RLES[2:])]
    ours = lockstep(model, precision="bfloat16").track(frames, batches)
    monkeypatch.setattr(engine, "cast_weights", lambda model, precision: None)
    expected = lockstep(model, precision="bfloat16").track(frames, batches)
    for masklet, other in zip((m for ms in ours for m in ms), (m for ms in expected for m in ms), strict=True):
        assert masklet.rles_T == other.rles_T
        for name in ("tokens_TC", "score_T", "iou_T"):
            assert getattr(masklet, name).tobytes() == getattr(other, name).tobytes()


def test_seg_decoding_is_equal_to_the_bit(model):
    pixels_13SS = torch.rand(1, 3, model.image_size, model.image_size)
    token_BC = torch.randn(3, model.hidden_dim)
    with torch.inference_mode(), autocast("cpu", "bfloat16"):
        ours, expected = (
            decode(m, frame_features(m, pixels_13SS), token_BC, "predicted") for m in (cast(model), model)
        )
    assert all(torch.equal(a, b) for a, b in zip(ours, expected))


def test_automatic_and_box_masks_are_equal_to_the_bit(model, monkeypatch, tmp_path):
    image = draw_frames(tmp_path / "f", 1, size=(60, 90)).load(0)
    published = settings_of(load_config(CONFIG), "mevis").prompts.grid
    over = {
        "points_per_side": 4,
        "precision": "bfloat16",
        "pred_iou_thresh": 0.0,
        "stability_score_thresh": 0.0,
        "box_nms_thresh": 1.0,
    }
    boxes = np.array([[5, 5, 40, 40], [20, 10, 80, 50]], np.float32)

    def masks():
        generator = AutomaticMasks(copy.deepcopy(model), published.model_copy(update=over), 7)
        return generator.generate(image), BoxMasker(copy.deepcopy(model), "bfloat16").masks(image, boxes)

    ours = masks()
    for module in ("grid.automatic_masks", "grounding_dino.prompter"):
        monkeypatch.setattr(f"stages.prompting.{module}.cast_weights", lambda model, precision: None)
    assert len(ours[0]) > 2 and repr(ours) == repr(masks())  # a stability may be nan
