"""SAM2 (arXiv 2408.00714) from local files: build by config name, load strictly, never ask the network.

The only place that builds models of the sam2 package. A config is a name inside that package
(configs/sam2/sam2_hiera_l.yaml) or a YAML file of this repository (stages/micro/sam2_micro.yaml).
"""

import logging
import warnings
from collections.abc import Mapping
from contextlib import AbstractContextManager
from pathlib import Path
from typing import Any, TypeVar

import sam2
import torch
from hydra.utils import instantiate
from omegaconf import DictConfig, OmegaConf
from sam2.modeling.sam2_base import SAM2Base
from sam2.sam2_image_predictor import SAM2ImagePredictor
from sam2.sam2_video_predictor import SAM2VideoPredictor
from torch import nn

import stages
from stages.core.config.file import Sam2Model
from stages.core.config.loading import nearest
from stages.core.config.section import Precision
from stages.core.state.state_dict import differences, read_model
from stages.core.state.weights import Weights
from stages.tracking.sam2_layouts import MARKS, in_package_layout, likely_config

M = TypeVar("M", bound=SAM2Base)
PACKAGE = Path(sam2.__file__).parent
REPOSITORY = Path(stages.__file__).parent.parent
CAST = (nn.Linear, nn.Conv2d, nn.ConvTranspose2d)  # what SAM2 has of autocast's lower-precision layers
SUFFIXES = (".pt", ".pth", ".ckpt", ".safetensors")

# What sam2.build_sam adds to a config ("apply_postprocessing"), with hole filling pinned off: it needs a
# CUDA extension and without one silently does nothing, so that two machines would give different tracks.
DECODER_ARGUMENTS = {
    "dynamic_multimask_via_stability": True,
    "dynamic_multimask_stability_delta": 0.05,
    "dynamic_multimask_stability_thresh": 0.98,
}
VIDEO_ARGUMENTS = {"binarize_mask_from_pts_for_mem_enc": True, "fill_hole_area": 0}


def load_sam2(weights: Weights, device: str, kind: type[M]) -> M:
    """A SAM2 model with its weights, in evaluation mode on `device`.

    Args:
        weights: a .safetensors file or one of torch.save (.pt, .pth, .ckpt), or a folder that holds exactly one.
        kind: SAM2Base for image prompts, or a video predictor class.

    Raises:
        ValueError: no such config, no readable checkpoint, or one of another architecture.
    """
    assert isinstance(weights.model, Sam2Model)
    model = build_sam2(weights.model.config, kind)
    file = checkpoint_file(weights.path)
    _load_strictly(model, in_package_layout(read_checkpoint(file), str(file)), file, weights.model.config)
    return model.eval().requires_grad_(False).to(device)


def load_image_model(weights: Weights, device: str) -> SAM2Base:
    """The model for image prompts; see `load_sam2`."""
    return load_sam2(weights, device, SAM2Base)


def build_sam2(config: str, kind: type[M]) -> M:
    """The model of a config with its initial random weights, on the CPU."""
    return instantiate(model_config(config, kind), _recursive_=True)


def model_config(config: str, kind: type[SAM2Base]) -> DictConfig:
    """What sam2.build_sam would compose from `config`, but without hydra's global state."""
    raw = OmegaConf.load(config_file(config))
    if "model" not in raw:
        raise ValueError(f"{config}: not a SAM2 config; it has no section 'model'")
    raw.model._target_ = f"{kind.__module__}.{kind.__qualname__}"
    raw.model.sam_mask_decoder_extra_args = DECODER_ARGUMENTS
    if issubclass(kind, SAM2VideoPredictor):
        raw.model.update(VIDEO_ARGUMENTS)
    OmegaConf.resolve(raw)
    return raw.model


def config_file(config: str) -> Path:
    """Looks a config up in the sam2 package, then from the current folder, then in this repository."""
    for file in (PACKAGE / config, Path(config), REPOSITORY / config):
        if file.is_file():
            return file
    known = [str(file.relative_to(PACKAGE)) for file in sorted(PACKAGE.glob("configs/sam2*/sam2*hiera_?*.yaml"))]
    raise ValueError(f"models.sam2.config: no SAM2 config {config!r}{nearest(config, known)}")


def checkpoint_file(path: Path) -> Path:
    """`path` itself, or the one checkpoint in the folder `path`."""
    if path.is_file():
        return path
    files = [file for file in sorted(path.glob("*")) if file.suffix in SUFFIXES]
    if len(files) != 1:
        names = ", ".join(file.name for file in files) or "none"
        raise ValueError(f"{path}: needs exactly one SAM2 checkpoint ({' or '.join(SUFFIXES)}); found {names}")
    return files[0]


def read_checkpoint(file: Path) -> dict[str, torch.Tensor]:
    """Tensors under the names of their layout, on the CPU; see `read_model`."""
    return read_model(file, MARKS)


def image_predictor(model: SAM2Base) -> SAM2ImagePredictor:
    """sam2's image predictor, for any image size, and silent."""
    with warnings.catch_warnings():  # torch warns some thirty times about how the package is written
        warnings.filterwarnings("ignore", message=r".*torch\.jit\.script.*", category=FutureWarning)
        return with_feature_sizes(SilentImagePredictor(model))


class SilentImagePredictor(SAM2ImagePredictor):
    """The package's predictor without its log lines: it writes three per image straight to the root logger."""

    def set_image(self, image: Any) -> None:
        root = logging.getLogger()
        root.addFilter(_not_from_sam2)
        try:
            super().set_image(image)
        finally:
            root.removeFilter(_not_from_sam2)


def _not_from_sam2(record: logging.LogRecord) -> bool:
    return not Path(record.pathname).is_relative_to(PACKAGE)


def with_feature_sizes(predictor: SAM2ImagePredictor) -> SAM2ImagePredictor:
    """Sets the feature map sizes, which the package fixes at those for 1024 px, to the model's own."""
    side = predictor.model.image_size
    predictor._bb_feat_sizes = [(side // stride, side // stride) for stride in (4, 8, 16)]
    return predictor


def autocast(device: str, precision: Precision) -> AbstractContextManager[Any]:
    """The arithmetic SAM2 runs in: float32, or bfloat16 where torch's autocast allows it."""
    return torch.autocast(device, dtype=torch.bfloat16, enabled=precision == "bfloat16")


def cast_weights(model: nn.Module, precision: Precision) -> None:
    """Casts once what autocast would cast at every call: weights and biases of linear layers and convolutions.

    Autocast keeps casts of weights only where these have gradients. Norms, embeddings and all other parameters stay
    float32, as autocast reads them, so that under `autocast` no bit of a result changes; without it the model no longer
    runs. With float32 nothing happens. See `exact_bias`.
    """
    if precision == "float32":
        return
    for module in model.modules():
        if isinstance(module, CAST) and module.weight.dtype == torch.float32:
            module.float32_bias = module.bias  # type: ignore[assignment]
            for name, parameter in list(module.named_parameters(recurse=False)):
                setattr(module, name, nn.Parameter(parameter.detach().to(torch.bfloat16), requires_grad=False))


def exact_bias(layer: nn.Linear) -> torch.Tensor:
    """The bias of a layer before `cast_weights`, where code adds it on its own: autocast leaves sums in float32."""
    return getattr(layer, "float32_bias", layer.bias)


def _load_strictly(model: SAM2Base, state: Mapping[str, torch.Tensor], file: Path, config: str) -> None:
    expected = model.state_dict()
    if found := differences(state, expected):
        raise ValueError(f"{file}: is not a checkpoint of {config} ({found}): {_advice(state, expected)}")
    model.load_state_dict(state)


def _advice(state: Mapping[str, torch.Tensor], expected: Mapping[str, torch.Tensor]) -> str:
    common = [name for name in state if name in expected]
    if not common:
        return "none of its tensors is SAM2's: give the checkpoint of a SAM2"
    if len(common) == len(state) and all(state[name].shape == expected[name].shape for name in common):
        return "it is a part of the model: save the whole, or merge it into the checkpoint that it was trained from"
    likely = likely_config(state)
    other_config = f"{likely}, which it looks made for" if likely else "the config that it was published with"
    return f"set models.sam2.config to {other_config}, or fetch the checkpoint of the config that is set"
