"""Input "detector": what a detector said about a track and the sentence, added to the track's logit.

Legend: B samples, N tracks.
"""

import torch
from torch import Tensor, nn

from stages.selectors.batch import Batch
from stages.selectors.course_input import zero_linear

DETECTOR = "detector"  # its name in selector.inputs
HIDDEN = 16


class DetectorInput(nn.Module):
    """A small network over best score, mean score, and whether there is one; its last layer starts at zero."""

    def __init__(self) -> None:
        super().__init__()
        self.project = nn.Sequential(nn.Linear(3, HIDDEN), nn.ReLU(), zero_linear(HIDDEN, 1))

    def forward(self, batch: Batch) -> Tensor:
        """(B, N) what is added to the logits; 0 at padding."""
        added_BN: Tensor = self.project(detector_features(batch))[..., 0] * batch.track_mask_BN
        return added_BN


def detector_features(batch: Batch) -> Tensor:
    """(B, N, 3): best and mean score, and 1; zeros where the detector said nothing."""
    known_BN1 = ~batch.detections_BN2[..., :1].isnan()
    return torch.cat([batch.detections_BN2.nan_to_num(0.0), known_BN1.to(batch.detections_BN2.dtype)], -1)
