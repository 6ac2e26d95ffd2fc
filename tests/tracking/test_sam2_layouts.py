"""SAM2 2.0 and 2.1, every size, from the package's .pt and from transformers' safetensors."""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
import torch
from sam2.modeling.sam2_base import SAM2Base
from sam2.sam2_video_predictor import SAM2VideoPredictor
from support.sam2 import sam2_model
from support.sam2_published import CONFIGS, at_side, cheap_values, shapes_only, transformers_config, transformers_model
from torch import Tensor

from stages.core.state.weights import Weights
from stages.tracking.sam2_layouts import EXPECTED_DIFFERENCES, in_package_layout, likely_config, package_name
from stages.tracking.sam2_model import build_sam2, load_sam2, read_checkpoint

TINY = [config for config in CONFIGS if config.endswith("_t.yaml")]
SIDE = 128


def load(file: Path, config: str, kind: type[Any] = SAM2Base) -> Any:
    return load_sam2(Weights(file, "x", sam2_model(config)), "cpu", kind)


# ------------------------------------------------------------- the package's own files


@pytest.mark.parametrize("config", CONFIGS, ids=lambda c: Path(c).stem)
def test_every_architecture_loads_from_its_pt(config: str, tmp_path: Path) -> None:
    state = cheap_values(config)
    torch.save({"model": state}, tmp_path / "sam2.pt")
    loaded = load(tmp_path / "sam2.pt", config).state_dict()
    assert loaded.keys() == state.keys()
    assert all(torch.equal(loaded[name], state[name]) for name in state)
    assert likely_config(state) == config


def test_a_model_of_the_package_computes_the_same_after_saving_and_loading(tmp_path: Path) -> None:
    config = at_side(TINY[1], SIDE, tmp_path)
    torch.manual_seed(0)
    model = build_sam2(config, SAM2Base).eval()
    torch.save({"model": model.state_dict()}, tmp_path / "sam2.pt")
    for found, expected in zip(
        package_outputs(load(tmp_path / "sam2.pt", config)), package_outputs(model), strict=True
    ):
        assert torch.equal(found, expected)


def test_the_error_names_the_config_that_fits(tmp_path: Path) -> None:
    file = tmp_path / "sam2.pt"
    torch.save({"model": cheap_values("configs/sam2.1/sam2.1_hiera_s.yaml")}, file)
    with pytest.raises(ValueError, match=r"models\.sam2\.config to configs/sam2\.1/sam2\.1_hiera_s\.yaml"):
        load(file, "configs/sam2.1/sam2.1_hiera_t.yaml")


# ------------------------------------------------------------- transformers' files


@pytest.mark.parametrize("config", CONFIGS, ids=lambda c: Path(c).stem)
def test_names_and_shapes_map_one_to_one(config: str) -> None:
    from transformers import Sam2VideoModel

    with torch.device("meta"):
        theirs = Sam2VideoModel(transformers_config(config)).state_dict()
    assert EXPECTED_DIFFERENCES.keys() <= theirs.keys()
    shared = theirs.pop("shared_image_embedding.positional_embedding")
    ours = {name: tensor.shape for name, tensor in shapes_only(config).state_dict().items()}
    found = in_package_layout(theirs, "here")
    assert {name: tensor.shape for name, tensor in found.items()} == ours
    # the copy alone would do as well
    assert ours[package_name("shared_image_embedding.positional_embedding")] == shared.shape
    assert likely_config(found) == config


@dataclass(frozen=True)
class Saved:
    """A transformers model with random values, the folder it was saved to, and the package's config for it."""

    model: Any
    folder: Path
    config: str


@pytest.fixture(scope="module", params=TINY, ids=lambda c: Path(c).stem)
def saved(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Saved:
    folder = tmp_path_factory.mktemp("transformers")
    model = transformers_model(request.param, SIDE, seed=1)
    model.save_pretrained(folder)
    return Saved(model, folder, at_side(request.param, SIDE, folder))


def pixels() -> Tensor:
    return torch.randn(1, 3, SIDE, SIDE, generator=torch.Generator().manual_seed(2))


POINT = torch.tensor([[[40.0, 60.0]]]), torch.tensor([[1]], dtype=torch.int32)


@torch.no_grad()
def package_outputs(model: SAM2Base) -> list[Tensor]:
    """Image features of three levels, low-resolution mask, predicted IoUs, object score, obj_ptr."""
    features = model.forward_image(pixels())["backbone_fpn"]
    features[-1] = features[-1] + model.no_mem_embed.view(1, -1, 1, 1)
    _, _, ious, low_res, _, obj_ptr, score = model._forward_sam_heads(
        features[-1],
        point_inputs={"point_coords": POINT[0], "point_labels": POINT[1]},
        high_res_features=features[:2],
        multimask_output=True,
    )
    return [*features, low_res, ious, score, obj_ptr]


@torch.no_grad()
def transformers_outputs(model: Any) -> list[Tensor]:
    out = model._single_frame_forward(
        pixel_values=pixels(), input_points=POINT[0][None], input_labels=POINT[1][None], multimask_output=True
    )
    masks, ious, score, pointer = out.pred_masks, out.iou_scores[0], out.object_score_logits[0], out.object_pointer[0]
    return [*out.image_embeddings, masks, ious, score, pointer]


def test_features_masks_and_pointers_are_those_of_transformers(saved: Saved) -> None:
    model = load(saved.folder, saved.config)
    assert (package_outputs(model)[-2] > 0).all()  # present: masks and pointer are the decoder's, not constants
    for found, expected in zip(package_outputs(model), transformers_outputs(saved.model), strict=True):
        scale = expected.abs().max().clamp(min=1)
        torch.testing.assert_close(found / scale, expected.reshape(found.shape) / scale, atol=2e-5, rtol=0)


@torch.no_grad()
def test_the_memory_is_that_of_transformers(saved: Saved) -> None:
    model = load(saved.folder, saved.config, SAM2VideoPredictor)
    generator = torch.Generator().manual_seed(3)
    side = SIDE // 16
    image, mask = (torch.randn(shape, generator=generator) for shape in ((1, 256, side, side), (1, 1, SIDE, SIDE)))
    ours = model.memory_encoder(image, mask, skip_mask_sigmoid=True)["vision_features"]
    theirs = saved.model.memory_encoder(image, mask)[0]
    torch.testing.assert_close(ours, theirs, atol=1e-4, rtol=1e-4)
    now, memory = (torch.randn(side * side, 1, width, generator=generator) for width in (256, 64))
    place, memory_place = torch.randn(now.shape, generator=generator), torch.randn(memory.shape, generator=generator)
    attended = model.memory_attention(now, memory, place, memory_place, num_obj_ptr_tokens=0)
    expected = saved.model.memory_attention(now, memory, place, memory_place, num_object_pointer_tokens=0)
    torch.testing.assert_close(attended, expected.reshape(attended.shape), atol=1e-4, rtol=1e-4)
    for name in ("maskmem_tpos_enc", "no_mem_embed", "no_mem_pos_enc", "no_obj_ptr"):
        theirs_by_name = dict(saved.model.named_parameters())
        (twin,) = (value for key, value in theirs_by_name.items() if package_name(key) == name)
        assert torch.equal(getattr(model, name), twin)


def test_the_image_half_alone_is_refused(saved: Saved, tmp_path: Path) -> None:
    from safetensors.torch import load_file, save_file
    from transformers import Sam2Model

    keep = set(Sam2Model(saved_image_config(saved)).state_dict())
    state = {n: t for n, t in load_file(saved.folder / "model.safetensors").items() if n in keep}
    save_file(state, tmp_path / "model.safetensors")
    with pytest.raises(ValueError, match="image half alone"):
        load(tmp_path / "model.safetensors", saved.config)


def saved_image_config(saved: Saved) -> Any:
    from transformers import Sam2Config

    config = saved.model.config
    return Sam2Config(vision_config=config.vision_config, prompt_encoder_config={"image_size": SIDE})


def test_two_position_matrices_are_refused(saved: Saved) -> None:
    state = read_checkpoint(saved.folder / "model.safetensors")
    state["shared_image_embedding.positional_embedding"] = state["shared_image_embedding.positional_embedding"] + 1
    with pytest.raises(ValueError, match="differs from its copy"):
        in_package_layout(state, "here")


def test_a_tensor_that_transformers_lacks_is_named(saved: Saved, tmp_path: Path) -> None:
    from safetensors.torch import load_file, save_file

    state = load_file(saved.folder / "model.safetensors")
    del state["no_object_pointer"]
    save_file(state, tmp_path / "model.safetensors")
    with pytest.raises(ValueError, match="missing: no_obj_ptr"):
        load(tmp_path / "model.safetensors", saved.config)
