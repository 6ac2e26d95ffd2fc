"""A tiny random GroundingDINO of the width that groundingdino-py can build, in the layout of the hub, and its .pth."""

from pathlib import Path
from typing import Any

import numpy as np
import torch
from support.project import ROOT

from stages.core.config.loading import load_config
from stages.core.state.weights import Weights
from stages.micro.grounding_dino import build_random_grounding_dino
from stages.prompting.frame_choice import FrameChoice
from stages.prompting.grounding_dino.checkpoint import convert, find_checkpoint, read_config, read_state
from stages.prompting.grounding_dino.settings import GroundingDinoPrompts

NOISE = 0.03  # on every parameter: those that start as zero would hide a tensor that is not converted


def build_wide(folder: Path, **over: Any) -> Path:
    """The micro preset's detector with d_model 256 and whatever else differs."""
    from transformers import AutoConfig, GroundingDinoForObjectDetection

    build_random_grounding_dino(folder, 0)
    config = AutoConfig.from_pretrained(folder, local_files_only=True)
    for name, value in {"d_model": 256, **over}.items():
        setattr(config, name, value)
    with torch.random.fork_rng(devices=[]), torch.no_grad():
        torch.default_generator.manual_seed(0)
        model = GroundingDinoForObjectDetection(config)
        for parameter in model.parameters():
            parameter.add_(torch.randn_like(parameter), alpha=NOISE)
    model.save_pretrained(folder)
    return folder


def package_state(folder: Path) -> dict[str, torch.Tensor]:
    """The weights of a folder by the package's names."""
    file = find_checkpoint(folder)
    state, layout = read_state(file)
    return convert(state, layout, "package", read_config(folder), file)


def describe(source: Path, target: Path) -> Path:
    """A folder with all that `source` has beside its weights."""
    target.mkdir()
    for file in source.glob("*.json"):
        (target / file.name).write_bytes(file.read_bytes())
    return target


def weights(folder: Path) -> Weights:
    return Weights(folder, "id", load_config(ROOT / "config.yaml").presets["micro"].models["grounding_dino"])


def prompts(backend: str, **over: Any) -> GroundingDinoPrompts:
    base = {"box_threshold": 0.0, "text_threshold": 0.0, "max_boxes": 100, "stability_min": 0.0}
    base |= {"precision": "float32"}
    return GroundingDinoPrompts(backend=backend, frames=FrameChoice(step=4, count=None), **{**base, **over})


def matched(a: np.ndarray, b: np.ndarray) -> np.ndarray:
    """For each row of a the row of b that is its partner in the cheapest matching."""
    from scipy.optimize import linear_sum_assignment

    return linear_sum_assignment(np.abs(a[:, None] - b[None]).sum(-1))[1]
