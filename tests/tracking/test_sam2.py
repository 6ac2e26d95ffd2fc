"""SAM2's configs and weights: built as the package builds them, loaded strictly, never half."""

import logging
import shutil

import pytest
import torch
from hydra import compose
from omegaconf import OmegaConf
from safetensors.torch import load_file, save_file
from sam2.modeling.sam2_base import SAM2Base
from sam2.sam2_video_predictor import SAM2VideoPredictor
from support.sam2 import MICRO_CONFIG, micro_weights, sam2_model

from stages.core.state.weights import Weights
from stages.micro.sam2 import build_random_sam2
from stages.tracking.sam2_model import config_file, image_predictor, load_sam2, model_config


@pytest.fixture(scope="module")
def weights(tmp_path_factory):
    return micro_weights(tmp_path_factory.mktemp("sam2"))


def test_random_weights_have_equal_bytes_and_leave_the_generator_alone(tmp_path):
    torch.manual_seed(5)
    expected = torch.rand(3)
    torch.manual_seed(5)
    first, again, other = (build_random_sam2(tmp_path / str(i), MICRO_CONFIG, seed) for i, seed in enumerate((3, 3, 4)))
    assert torch.equal(torch.rand(3), expected)
    assert first.read_bytes() == again.read_bytes() != other.read_bytes()
    assert first.name == "model.safetensors"


@pytest.mark.parametrize("name", ["configs/sam2/sam2_hiera_l.yaml", "configs/sam2.1/sam2.1_hiera_t.yaml"])
def test_config_equals_what_the_package_composes(name):
    overrides = [
        "++model._target_=sam2.sam2_video_predictor.SAM2VideoPredictor",
        "++model.sam_mask_decoder_extra_args.dynamic_multimask_via_stability=true",
        "++model.sam_mask_decoder_extra_args.dynamic_multimask_stability_delta=0.05",
        "++model.sam_mask_decoder_extra_args.dynamic_multimask_stability_thresh=0.98",
        "++model.binarize_mask_from_pts_for_mem_enc=true",
        "++model.fill_hole_area=0",
    ]
    composed = compose(config_name=name, overrides=overrides)
    assert OmegaConf.to_container(model_config(name, SAM2VideoPredictor)) == OmegaConf.to_container(composed.model)


def test_micro_model_is_small_and_has_published_pointer_width(weights):
    model = load_sam2(weights, "cpu", SAM2VideoPredictor)
    assert (model.hidden_dim, model.mem_dim, model.image_size, model.num_maskmem) == (256, 64, 128, 7)
    assert sum(p.numel() for p in model.parameters()) < 8e6
    assert model.fill_hole_area == 0 and model.binarize_mask_from_pts_for_mem_enc and not model.training


def test_loads_safetensors_pt_and_folder_alike(weights, tmp_path):
    state = load_file(weights.path)
    torch.save({"model": state}, tmp_path / "sam2.pt")
    for path in (weights.path, tmp_path / "sam2.pt", tmp_path):
        loaded = load_sam2(Weights(path, "x", sam2_model()), "cpu", SAM2Base).state_dict()
        assert loaded.keys() == state.keys()
        assert all(torch.equal(loaded[name], state[name]) for name in state)


def test_checkpoint_of_another_architecture_is_refused_by_name(weights, tmp_path):
    state = load_file(weights.path)
    state["image_encoder.trunk.blocks.99.norm1.weight"] = torch.zeros(3)
    del state["no_mem_embed"]
    state["maskmem_tpos_enc"] = torch.zeros(6, 1, 1, 64)
    save_file(state, tmp_path / "model.safetensors")
    with pytest.raises(ValueError) as error:
        load_sam2(Weights(tmp_path, "x", sam2_model()), "cpu", SAM2Base)
    for part in (
        "missing: no_mem_embed",
        "blocks.99",
        "(6, 1, 1, 64) for (7, 1, 1, 64)",
        MICRO_CONFIG,
        "models.sam2.config",
    ):
        assert part in str(error.value)


def test_unreadable_checkpoints_are_named(weights, tmp_path):
    cut = tmp_path / "cut.safetensors"
    cut.write_bytes(weights.path.read_bytes()[:1000])
    bare = tmp_path / "bare.pt"
    torch.save({"weights": {}}, bare)
    cut_pt = tmp_path / "cut.pt"
    cut_pt.write_bytes(bare.read_bytes()[:200])
    for file in (cut, bare, cut_pt):
        with pytest.raises(ValueError, match=file.name):
            load_sam2(Weights(file, "x", sam2_model()), "cpu", SAM2Base)


def test_pickled_code_is_not_executed(tmp_path):
    marker = tmp_path / "executed"

    class Evil:
        def __reduce__(self):
            return (marker.touch, ())

    torch.save({"model": Evil()}, tmp_path / "evil.pt")
    with pytest.raises(ValueError, match=r"evil\.pt"):
        load_sam2(Weights(tmp_path / "evil.pt", "x", sam2_model()), "cpu", SAM2Base)
    assert not marker.exists()


def test_folder_needs_exactly_one_checkpoint(weights, tmp_path):
    with pytest.raises(ValueError, match="found none"):
        load_sam2(Weights(tmp_path, "x", sam2_model()), "cpu", SAM2Base)
    for name in ("a.safetensors", "b.safetensors"):
        shutil.copy(weights.path, tmp_path / name)
    with pytest.raises(ValueError, match=r"a\.safetensors, b\.safetensors"):
        load_sam2(Weights(tmp_path, "x", sam2_model()), "cpu", SAM2Base)


def test_unknown_config_names_the_nearest():
    with pytest.raises(ValueError, match=r"configs/sam2/sam2_hiera_l\.yaml"):
        config_file("configs/sam2/sam2_hiera_large.yaml")


def test_image_predictor_works_at_another_size_and_logs_nothing(weights, caplog):
    predictor = image_predictor(load_sam2(weights, "cpu", SAM2Base))
    with caplog.at_level(logging.INFO):
        predictor.set_image(torch.zeros(50, 70, 3, dtype=torch.uint8).numpy())
    assert not [record for record in caplog.records if "image" in record.message]
    assert [tuple(f.shape[-2:]) for f in predictor._features["high_res_feats"]] == [(32, 32), (16, 16)]
    assert predictor._features["image_embed"].shape[-2:] == (8, 8)
