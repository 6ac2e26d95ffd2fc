"""Small SAM2 models on which a wrong engine shows, and the comparison of two engines' tracks."""

import copy
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from omegaconf import OmegaConf
from support.sam2 import MICRO_CONFIG, box_mask

from stages.core.media import masks
from stages.core.records import Rle
from stages.tracking.lockstep import LockstepTracker
from stages.tracking.sam2_model import build_sam2, config_file
from stages.tracking.stock import IouKeepingPredictor
from stages.tracking.tracker import Masklet, PromptBatch

# What SAM 2.0's published configs have otherwise than 2.1's, written over the micro config.
SAM20 = {
    "no_obj_embed_spatial": False,
    "add_tpos_enc_to_obj_ptrs": False,
    "proj_tpos_enc_in_obj_ptrs": False,
    "use_signed_tpos_enc_to_obj_ptrs": False,
}
MICRO = {"2.0 micro": (MICRO_CONFIG, SAM20), "2.1 micro": (MICRO_CONFIG, {})}
TINY = {"2.0 tiny": ("configs/sam2/sam2_hiera_t.yaml", {}), "2.1 tiny": ("configs/sam2.1/sam2.1_hiera_t.yaml", {})}
MODELS: dict[str, tuple[str, dict[str, Any]]] = MICRO | TINY
# Where object scores cross 0 from frame to frame.
SCORE_BIAS = {"2.0 micro": -2.95, "2.1 micro": 1.78, "2.0 tiny": -4.0, "2.1 tiny": -4.0}
SIDE, SIZE = 64, (48, 64)
BOXES = ((8, 5, 28, 25), (35, 28, 53, 44), (0, 20, 64, 30))
RLES = [masks.encode(box_mask(SIZE, *box)) for box in BOXES]


def sensitive_model(name: str, folder: Path, side: int = SIDE) -> IouKeepingPredictor:
    """A config with random weights, in which what a wrong engine gets wrong is strong."""
    config, over = MODELS[name]
    raw = OmegaConf.load(config_file(config))
    raw.model.update({"image_size": side, **over})
    OmegaConf.save(raw, folder / "sam2.yaml")
    state = torch.get_rng_state()
    torch.default_generator.manual_seed(0)
    model = build_sam2(str(folder / "sam2.yaml"), IouKeepingPredictor).eval().requires_grad_(False)
    strengthen(model, SCORE_BIAS[name])
    torch.set_rng_state(state)
    return model


def strengthen(model: IouKeepingPredictor, score_bias: float) -> None:
    """With initial weights a wrong age changes pointers by 4e-6, and no object is ever absent."""
    decoder = model.sam_mask_decoder
    for network in decoder.output_hypernetworks_mlps:
        for parameter in network.layers[-1].parameters():
            parameter.mul_(20)
    model.maskmem_tpos_enc.mul_(20)
    for name, gain in (("obj_ptr_tpos_proj.weight", 10), ("no_obj_ptr", 20), ("no_obj_embed_spatial", 20)):
        if name in model.state_dict():
            model.state_dict()[name].mul_(gain)
    head = decoder.pred_obj_score_head.layers[-1]
    head.weight.mul_(20)
    head.bias.fill_(score_bias)


def mixed_prompts(n_frames: int) -> list[PromptBatch]:
    """On the first, the last and two middle frames, in no order."""
    starts = dict.fromkeys((n_frames * 2 // 5, 0, n_frames - 1, n_frames // 3))
    return [PromptBatch(frame, RLES[i % 3 : i % 3 + 1]) for i, frame in enumerate(starts)]


def lockstep(model: Any, **options: Any) -> LockstepTracker:
    """The engine on a copy of `model`: it takes its model over."""
    defaults = {"precision": "float32", "batch": 8, "budget": (0, 10**9)}
    return LockstepTracker(copy.deepcopy(model), **{**defaults, **options})


def assert_parity(
    expected: Sequence[Sequence[Masklet]],
    found: Sequence[Sequence[Masklet]],
    pointer: float = 1e-6,
    iou: float = 0.9999,
) -> None:
    """Pointers and mask IoU within tolerance in every frame; scores and IoUs close."""
    assert [len(masklets) for masklets in expected] == [len(masklets) for masklets in found]
    for ours, stock in zip((m for ms in found for m in ms), (m for ms in expected for m in ms)):
        difference = np.abs(ours.tokens_TC - stock.tokens_TC).max()
        assert difference <= pointer, f"pointers differ by {difference:.1e}"
        overlaps = [mask_iou(a, b) for a, b in zip(ours.rles_T, stock.rles_T, strict=True)]
        assert min(overlaps) >= iou, f"masks differ: IoU {min(overlaps):.5f}"
        difference = np.abs(ours.score_T - stock.score_T).max()
        assert difference <= 50 * pointer, f"scores differ by {difference:.1e}"
        difference = np.abs(ours.iou_T - stock.iou_T).max()
        assert difference <= 50 * pointer, f"predicted IoUs differ by {difference:.1e}"


def mask_iou(a: Rle, b: Rle) -> float:
    """1 where both are empty."""
    return float(masks.iou_matrix([a], [b])[0, 0]) if masks.area([a, b]).any() else 1.0
