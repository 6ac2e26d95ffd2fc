"""Which weights of a [SEG] model are trained, and LoRA's adapters beside the others (arXiv 2106.09685, by `peft`)."""

from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor, nn

from stages.core.config.seg_training_section import Lora, SegTraining
from stages.prompting.seg.checkpoint.model import SegModel

ADAPTER = "default"


class TrainedWeights:
    """The weights of a [SEG] model that change.

    Args:
        model: is prepared in place: adapters go into its language model; what is trained becomes float32 and gets gradients.
    """

    def __init__(self, model: SegModel, settings: SegTraining) -> None:
        self.model, self.settings = model, settings
        model.eval().requires_grad_(False)
        self._adapters = _with_adapters(model, settings) if settings.trained.language == "lora" else None
        for module in trained_modules(model, settings):
            module.requires_grad_(True)
        for parameter in model.parameters():
            if parameter.requires_grad:
                parameter.data = parameter.data.float()
        if settings.gradient_checkpointing:
            model.mllm.gradient_checkpointing_enable({"use_reentrant": False})

    @property
    def named(self) -> dict[str, nn.Parameter]:
        """Their parameters by name."""
        return {name: parameter for name, parameter in self.model.named_parameters() if parameter.requires_grad}

    def train(self) -> None:
        """Dropout in what is trained, and nowhere else."""
        self.model.eval()
        if self.settings.trained.language != "none":
            self.model.side.decoder.train()
        for module in trained_modules(self.model, self.settings):
            module.train()
        if self.settings.gradient_checkpointing:
            self.model.mllm.train()  # layers are computed twice in training alone

    def merge(self) -> None:
        """Adds the adapters to the weights beside them, for good."""
        if self._adapters is not None:
            self._adapters.merge_and_unload(safe_merge=True)
            self._adapters = None

    def state_dict(self) -> dict[str, Tensor]:
        return {name: parameter.detach() for name, parameter in self.named.items()}

    def load_state_dict(self, state: Mapping[str, Tensor], /) -> None:
        named = self.named
        if named.keys() != state.keys():
            raise ValueError(f"other weights were trained: {sorted(named.keys() ^ state.keys())[:3]}")
        with torch.no_grad():
            for name, parameter in named.items():
                parameter.copy_(state[name])


def trained_modules(model: SegModel, settings: SegTraining) -> list[nn.Module]:
    """Those that are trained as a whole."""
    chosen, side = settings.trained, model.side
    modules: list[nn.Module] = [side.decoder, side.head] if chosen.language == "all" else []
    modules += [side.embeddings, side.head] if chosen.embeddings else []
    modules += seeing(model) if chosen.vision else []
    modules += [model.text_hidden_fcs] if chosen.projection else []
    modules += [model.sam2.sam_mask_decoder] if chosen.decoder else []
    modules += [model.sam2.image_encoder] if chosen.image_encoder else []
    return modules


def seeing(model: SegModel) -> list[nn.Module]:
    """What of the MLLM is not its language model: vision tower and projector."""
    side = model.side
    language = (side.decoder, side.head)

    def outside(module: nn.Module) -> list[nn.Module]:
        if any(module is part for part in language):
            return []
        if not any(part is inner for inner in module.modules() for part in language):
            return [module]
        return [found for child in module.children() for found in outside(child)]

    return outside(model.mllm)


def _with_adapters(model: SegModel, settings: SegTraining) -> Any:
    """Raises ValueError where no layer has one of the names."""
    from peft import LoraConfig
    from peft.tuners.lora import LoraModel

    with torch.random.fork_rng(devices=[]):
        torch.default_generator.manual_seed(settings.seed)
        try:
            return LoraModel(model.side.decoder, _lora_config(LoraConfig, settings.lora), ADAPTER)
        except ValueError as error:
            raise ValueError(f"seg_training.lora.targets: {settings.lora.targets}: {error}") from error


def _lora_config(kind: Any, lora: Lora) -> Any:
    targets = "all-linear" if lora.targets == ["all-linear"] else list(lora.targets)
    return kind(r=lora.rank, lora_alpha=lora.alpha, lora_dropout=lora.dropout, target_modules=targets, bias="none")
