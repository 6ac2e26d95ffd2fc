"""The loss of `course` over all tracks of a sentence at once, "none of them" among the choices. B samples, N tracks."""

import torch
from torch import Tensor

from stages.selectors.batch import Batch


def listwise(logits_BN: Tensor, batch: Batch) -> Tensor:
    """(B,) −log of the probability that a softmax over the tracks and "none" (logit 0) puts on the right choices.

    Right are all tracks of what is referred to, near-duplicates among them; "none" where there is no such track.
    """
    lowest = torch.finfo(logits_BN.dtype).min
    logits_BN = logits_BN.masked_fill(~batch.track_mask_BN, lowest)
    right_BN = (batch.labels_BN > 0) & batch.track_mask_BN
    none_B1 = logits_BN.new_zeros(len(logits_BN), 1)
    choices_BK = torch.cat([logits_BN, none_B1], 1)
    right_BK = torch.cat([right_BN, ~right_BN.any(1, keepdim=True)], 1)
    return choices_BK.logsumexp(1) - choices_BK.masked_fill(~right_BK, lowest).logsumexp(1)
