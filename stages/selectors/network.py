"""What every architecture implements: a network over a padded batch, and the losses that train it.

Legend: B samples, N tracks, T frames, D channels of the architecture.
"""

from abc import abstractmethod
from collections.abc import Mapping
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from stages.core.config.selector_sections import Selector
from stages.selectors.batch import Batch


@dataclass(frozen=True)
class Output:
    """What a forward pass gives, in float32.

    Attributes:
        logits_BN: one per track, 0 for padded tracks.
        pooled_BND: one vector per track.
        expression_BD: the expression in the same space, where the architecture has one.
        gate_BNT: logits that a track covers the referred object in a frame, where the architecture has a gate.
    """

    logits_BN: Tensor
    pooled_BND: Tensor
    expression_BD: Tensor | None = None
    gate_BNT: Tensor | None = None


@dataclass(frozen=True)
class Losses:
    """By name: one value per sample, (B,), and the weight of each in the total."""

    parts: Mapping[str, Tensor]
    weights: Mapping[str, float]

    @property
    def total_B(self) -> Tensor:
        terms = [self.weights[name] * part_B for name, part_B in self.parts.items()]
        return torch.stack(terms).sum(0)


class Network(nn.Module):
    """A selector's network: scores do not depend on padding, nor on the order of tracks.

    Attributes:
        needs_seen: whether its losses need the frames in which a track covers the referred object.
        needs_detections: whether it reads `Batch.detections_BN2`; its `SelectorKind` says so.
    """

    needs_seen: bool = False
    needs_detections: bool = False

    @abstractmethod
    def forward(self, batch: Batch) -> Output: ...

    @abstractmethod
    def loss_weights(self, config: Selector) -> Mapping[str, float]:
        """The parts of its loss, and the weight of each in the total."""

    @abstractmethod
    def losses(self, output: Output, batch: Batch, config: Selector) -> Losses: ...
