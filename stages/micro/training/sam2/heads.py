"""Auxiliary heads: they are used in training and discarded at its end.

The linear head on object pointers makes position, size, looks and motion readable from a single token; the
dense heads give the image encoder a gradient from every object of a frame, prompted or not.

Legend: O objects, B images, C = 256 channels, s = 32.
"""

from dataclasses import dataclass

import torch
from torch import nn

from stages.micro.training.sam2.clips import COLOUR_NAMES, SHAPE_NAMES

CHANNELS = 256
FINE_CHANNELS = 32  # of the features at stride 4, after the decoder's conv_s0
SUBCELLS = 4  # cells of stride 4 along a side of a token of stride 16


@dataclass(frozen=True)
class PointerReading:
    """centre_O2 in −1 … 1, log_area_O1, step_O2 (from the frame before, in units of 8 px), class logits."""

    centre_O2: torch.Tensor
    log_area_O1: torch.Tensor
    step_O2: torch.Tensor
    colour_OK: torch.Tensor
    shape_OK: torch.Tensor


@dataclass(frozen=True)
class DenseReading:
    """map_B3ss: a logit for "an object is here", and (x, y) to its centre; class logits of colour and shape."""

    map_B3ss: torch.Tensor
    colour_BKss: torch.Tensor
    shape_BKss: torch.Tensor


class AuxiliaryHeads(nn.Module):
    """One linear layer on pointers, one 1 × 1 convolution on each of two feature maps."""

    def __init__(self) -> None:
        super().__init__()
        self.widths = [2, 1, 2, len(COLOUR_NAMES), len(SHAPE_NAMES)]
        self.pointer = nn.Linear(CHANNELS, sum(self.widths))
        self.dense_widths = [3, len(COLOUR_NAMES), len(SHAPE_NAMES)]
        self.fine = nn.Conv2d(FINE_CHANNELS, sum(self.dense_widths), 1)
        self.coarse = nn.Conv2d(CHANNELS, sum(self.dense_widths) * SUBCELLS**2, 1)
        self.unfold = nn.PixelShuffle(SUBCELLS)

    def read(self, pointer_OC: torch.Tensor) -> PointerReading:
        return PointerReading(*self.pointer(pointer_OC).float().split(self.widths, 1))

    def dense(self, fine_BCss: torch.Tensor, coarse_BChw: torch.Tensor) -> list[DenseReading]:
        """From fine and from coarse features."""
        maps = [self.fine(fine_BCss).float(), self.unfold(self.coarse(coarse_BChw)).float()]
        return [DenseReading(*map_BKss.split(self.dense_widths, 1)) for map_BKss in maps]
