"""What benchmarks/prompts.py runs on: a frame, and models of the published shapes with random weights."""

import json
from pathlib import Path

import numpy as np
import torch
from hydra.utils import instantiate
from numpy.typing import NDArray
from omegaconf import OmegaConf
from sam2.modeling.sam2_base import SAM2Base

from stages.micro.grounding_dino import build_random_grounding_dino
from stages.tracking.sam2_model import model_config


def first_frame(clip: Path | None) -> NDArray[np.uint8]:
    """The first frame of a clip, or 480 × 854 with three shapes on noise."""
    if clip is not None:
        import av

        with av.open(str(clip)) as container:
            return np.ascontiguousarray(next(container.decode(video=0)).to_ndarray(format="rgb24"))
    image = np.random.default_rng(0).integers(0, 90, (480, 854, 3), dtype=np.uint8)
    image[60:260, 100:300] = (220, 40, 40)
    image[250:420, 500:720] = (40, 40, 220)
    image[100:200, 600:800] = (40, 200, 40)
    return image


def random_sam2(config: str, side: int) -> SAM2Base:
    """SAM2 of a config for inputs of `side` pixels; its mask logits are scaled to the range of trained ones."""
    raw = model_config(config, SAM2Base)
    OmegaConf.update(raw, "image_size", side)
    torch.manual_seed(0)
    model = instantiate(raw, _recursive_=True).eval().requires_grad_(False)
    for network in model.sam_mask_decoder.output_hypernetworks_mlps:
        for parameter in network.layers[-1].parameters():
            parameter.mul_(40.0)
    return model


def swin_t(folder: Path, shortest: int, text_layers: int) -> Path:
    """GroundingDINO Swin-T OGC with random weights that spread boxes and scores, and the micro preset's tokenizer."""
    from transformers import AutoConfig, GroundingDinoConfig, GroundingDinoForObjectDetection

    build_random_grounding_dino(folder, 0)
    for file in ("processor_config.json", "preprocessor_config.json"):
        if (folder / file).is_file():
            document = json.loads((folder / file).read_text())
            target = document.get("image_processor", document)
            target["size"] = {"shortest_edge": shortest, "longest_edge": round(shortest * 1333 / 800)}
            (folder / file).write_text(json.dumps(document))
    words = AutoConfig.from_pretrained(folder, local_files_only=True).text_config.vocab_size
    backbone = {"model_type": "swin", "window_size": 7, "image_size": 224, "embed_dim": 96, "depths": [2, 2, 6, 2]}
    backbone |= {"num_heads": [3, 6, 12, 24], "out_indices": [2, 3, 4]}
    text = {"model_type": "bert", "vocab_size": words, "num_hidden_layers": text_layers}
    config = GroundingDinoConfig(backbone_config=backbone, text_config=text)
    config.disable_custom_kernels = True
    torch.manual_seed(0)
    with torch.no_grad():
        model = GroundingDinoForObjectDetection(config)
        for parameter in model.parameters():
            parameter.add_(torch.randn_like(parameter), alpha=0.01)
    model.save_pretrained(folder)
    return folder
