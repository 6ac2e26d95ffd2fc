"""Auxiliary heads: they train the image features to show what is where, and are discarded.

Legend: B images, h × w cells of stride 8, y × x quarters of them, C and D channels.
"""

import torch
from torch import nn
from torch.nn import functional

from stages.micro.training.sentences import ASPECT_WORDS
from stages.worlds.shapes.meaning import ASPECTS

WEIGHTS = {"size": 0.3, "colour": 0.5, "texture": 0.3, "shape": 1.0}  # shapes are the hardest to learn


class DenseHead(nn.Module):
    """What every quarter of a cell of stride 8 shows: an object or none, and its looks."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.widths = [1, *(len(ASPECT_WORDS[aspect]) for aspect in ASPECTS)]
        self.read = nn.Sequential(nn.Conv2d(channels, 4 * sum(self.widths), 1), nn.PixelShuffle(2))

    def loss(self, features_BChw: torch.Tensor, classes_B4yx: torch.Tensor) -> torch.Tensor:
        """Mean over quarters of the presence loss, plus mean over covered ones of the losses of looks."""
        there_B1yx, *looks = self.read(features_BChw.float()).split(self.widths, 1)
        covered_Byx = classes_B4yx[:, 0] >= 0
        loss = functional.binary_cross_entropy_with_logits(there_B1yx[:, 0], covered_Byx.float())
        for aspect, logits_BKyx, label_Byx in zip(ASPECTS, looks, classes_B4yx.unbind(1)):
            entropy = functional.cross_entropy(logits_BKyx, label_Byx, ignore_index=-1, reduction="sum")
            loss = loss + WEIGHTS[aspect] * entropy / covered_Byx.sum().clamp(min=1)
        return loss


class Heads(nn.Module):
    """On the features of stride 8, before the encoder and after it."""

    def __init__(self, image_channels: int, memory_channels: int) -> None:
        super().__init__()
        self.image, self.memory = DenseHead(image_channels), DenseHead(memory_channels)

    def losses(
        self, image_BChw: torch.Tensor, memory_BDhw: torch.Tensor, classes_B4yx: torch.Tensor
    ) -> dict[str, torch.Tensor]:
        return {
            "dense_image": self.image.loss(image_BChw, classes_B4yx),
            "dense_memory": self.memory.loss(memory_BDhw, classes_B4yx),
        }
