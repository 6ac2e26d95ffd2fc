"""Role → the function that builds its random weights: the table for presets with a `seed`."""

from collections.abc import Callable, Mapping
from pathlib import Path

from stages.core.config.file import Model, Sam2Model

# (an empty folder, the role's entry in the config, seed) → the model's file or folder in it. Its package is imported late.
Builder = Callable[[Path, Model, int], Path]


def _sam2(folder: Path, model: Model, seed: int) -> Path:
    from stages.micro.sam2 import build_random_sam2

    assert isinstance(model, Sam2Model)
    return build_random_sam2(folder, model.config, seed)


def _grounding_dino(folder: Path, model: Model, seed: int) -> Path:
    from stages.micro.grounding_dino import build_random_grounding_dino

    return build_random_grounding_dino(folder, seed)


def _text(folder: Path, model: Model, seed: int) -> Path:
    from stages.micro.text import build_random_text

    return build_random_text(folder, seed)


def _mllm(folder: Path, model: Model, seed: int) -> Path:
    from stages.micro.mllm import build_random_mllm

    return build_random_mllm(folder, seed)


BUILDERS: Mapping[str, Builder] = {
    "sam2": _sam2,
    "grounding_dino": _grounding_dino,
    "text": _text,
    "mllm": _mllm,
}
