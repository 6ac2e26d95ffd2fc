"""A small data set and a tiny random [SEG] checkpoint to train on it, on disk and in the config."""

from pathlib import Path
from typing import Any

from support.jobs import make_job
from support.project import make_config
from support.seg_checkpoints import SAM2, write_internvl
from support.tiny_mevis import write_tree

from stages import extract_frames
from stages.core.config.file import Config
from stages.core.config.loading import merge
from stages.core.run.cli import Job
from stages.weights.fetch import fetch_preset

SEG = {
    "hub": None,
    "revision": None,
    "files": ["*.json", "*.safetensors"],
    "seed": None,
    "license": None,
    "family": "sa2va_internvl",
    "template": "phi3_chat",
    "sam2": SAM2,
    "decoder": "sam_mask_decoder",
    "state": "after_norm",
    "object_score": "forced",
    "size_gb": None,
}
TRAINING = {
    "epochs": 2,
    "batch_size": 4,
    "expressions_per_video": 3,
    "frames": 2,
    "learning_rate": 1e-3,
    "warm_up": 0.1,
    "points": {"count": 64},
    "gradient_checkpointing": False,
    "precision": "float32",
    "trained": {"language": "lora", "vision": False, "projection": True, "decoder": True, "image_encoder": False},
    "lora": {"rank": 2, "alpha": 4, "dropout": 0.1, "targets": ["q_proj", "v_proj"]},
}


def seg_config(folder: Path, **training: Any) -> Config:
    """The config of data set `tiny` in `folder`, with `training` over TRAINING."""
    tiny = {
        "format": "mevis",
        "root": str(folder / "data" / "tiny"),
        "generate": False,
        "models": "micro",
        "selector": {"weights": None, "train": "tiny/train", "validate_on": "tiny/valid_u"},
        "splits": {name: {"role": "train", "limit": None} for name in ("train", "valid_u", "valid")},
        "settings": {
            "run": {"device": "cpu", "threads": 1},
            "prompts": {"seg": {"variant": "sa2va_i", "sa2va_i": {"frames": 3}}},
            "seg_training": merge(TRAINING, training),
        },
    }
    models = {"seg": {**SEG, "path": str(folder / "seg")}}
    return make_config(folder, {"datasets": {"tiny": tiny}, "presets": {"micro": {"models": models}}})


def make_inputs(folder: Path, config: Config) -> None:
    """Data, frames, and the models with their records."""
    write_internvl(folder / "seg")
    write_tree(folder / "data" / "tiny")
    for split in ("train", "valid_u"):
        extract_frames.run(seg_job(config, split))
    for role in ("sam2", "seg"):
        fetch_preset(config, "micro", role, overwrite=False, source=None)


def seg_job(config: Config, split: str = "train", **change: Any) -> Job:
    return make_job(config, "tiny", split, **change)
