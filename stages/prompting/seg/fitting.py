"""How well each frame of a video fits a sentence, by CLIP (Radford et al., arXiv 2103.00020).

VRS-HQ starts from the frame that fits best; a mode that shows chosen frames can take those that fit best.

Legend: T frames, E sentences, D width of the joint space.
"""

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from stages.core.run import progress
from stages.core.state.frames import FrameFolder

if TYPE_CHECKING:
    import torch

FRAMES_PER_PASS = 16


class FrameFitter:
    """A CLIP of transformers' layout."""

    def __init__(self, model: Any, processor: Any) -> None:
        self.model, self.processor = model, processor

    @classmethod
    def load(cls, folder: Path, device: str) -> "FrameFitter":
        """Raises ValueError where the folder holds no CLIP; nothing is downloaded and no code of it is run."""
        from safetensors import SafetensorError
        from transformers import CLIPModel, CLIPProcessor

        here = {"local_files_only": True}
        try:
            model, report = CLIPModel.from_pretrained(folder, output_loading_info=True, **here)
            processor = CLIPProcessor.from_pretrained(folder, **here)
        except (OSError, ValueError, KeyError, TypeError, RuntimeError, SafetensorError) as error:
            raise ValueError(f"{folder}: does not load as a CLIP ({error}); give the folder of one") from error
        if missing := sorted(report["missing_keys"]):
            raise ValueError(f"{folder}: lacks {len(missing)} weights of a CLIP, first {missing[0]}")
        return cls(model.to(device).eval(), processor)

    def fit(self, frames: FrameFolder, texts: Sequence[str]) -> NDArray[np.float32]:
        """(E, T) cosines; within a sentence, in the order of CLIP's logits per image."""
        import torch

        if not texts:
            return np.zeros((0, len(frames)), np.float32)
        with torch.inference_mode():
            tokens = self.processor(text=list(texts), padding=True, truncation=True, return_tensors="pt")
            text_ED = _unit(_pooled(self.model.get_text_features(**tokens.to(self.model.device))))
            parts = []
            for start in progress.steps(range(0, len(frames), FRAMES_PER_PASS)):
                images = frames.load_all(range(start, min(start + FRAMES_PER_PASS, len(frames))))
                pixels = self.processor(images=images, return_tensors="pt").to(self.model.device)
                parts.append(text_ED @ _unit(_pooled(self.model.get_image_features(**pixels))).T)
            return torch.cat(parts, 1).float().cpu().numpy()


def best_frames(fit_T: NDArray[np.float32], count: int) -> list[int]:
    """The `count` frames that fit best, in order of time; all of a shorter video, and the best of it again. Ties go to
    the first."""
    order = np.argsort(-fit_T, kind="stable").tolist()
    return sorted(order[i % len(order)] for i in range(count))


def _pooled(features: Any) -> "torch.Tensor":
    """transformers 5 gives an output with the features in it, older versions the features."""
    pooled: torch.Tensor = getattr(features, "pooler_output", features)
    return pooled


def _unit(features_ND: "torch.Tensor") -> "torch.Tensor":
    return features_ND / features_ND.norm(dim=-1, keepdim=True)
