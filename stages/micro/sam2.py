"""A tiny SAM2 with seeded random weights, in the file format of a published checkpoint."""

from pathlib import Path

import torch
from safetensors.torch import save_file
from sam2.modeling.sam2_base import SAM2Base

from stages.core.state.cache import atomic_path
from stages.tracking.sam2_model import build_sam2

# A new score head says "absent" or "present" for all frames alike, depending on the seed. This bias
# pushes it to "present", so that untrained tracks have masks.
OBJECT_SCORE_BIAS = 1.0
# Untrained mask logits are within ±0.5, trained ones within about ±20: stability, the overlap of masks cut at +1
# and at −1, would be 0 for every mask.
MASK_LOGIT_GAIN = 20.0


def build_random_sam2(folder: Path, config: str, seed: int) -> Path:
    """Writes <folder>/model.safetensors: the model of `config` as initialised from `seed`.

    Equal arguments give equal bytes; torch's global generator is left as it was.
    """
    state = torch.get_rng_state()
    try:
        torch.default_generator.manual_seed(seed)  # the CPU's alone: torch.manual_seed would reach the GPUs too
        model = build_sam2(config, SAM2Base)
    finally:
        torch.set_rng_state(state)
    _make_usable(model)
    path = folder / "model.safetensors"
    with atomic_path(path) as temporary:
        save_file({name: tensor.contiguous() for name, tensor in model.state_dict().items()}, temporary)
    return path


@torch.no_grad()
def _make_usable(model: SAM2Base) -> None:
    decoder = model.sam_mask_decoder
    decoder.pred_obj_score_head.layers[-1].bias.fill_(OBJECT_SCORE_BIAS)
    for network in decoder.output_hypernetworks_mlps:
        for parameter in network.layers[-1].parameters():
            parameter.mul_(MASK_LOGIT_GAIN)
