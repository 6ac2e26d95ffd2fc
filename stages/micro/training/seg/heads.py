"""What is learnt beside masks, and discarded: what each image token shows, which of them a [SEG] means, and where that is.

Legend: V videos, K image tokens of each, O objects, A aspects of looks, D the MLLM's width, M decoded masks.
"""

import torch
from torch import Tensor, nn
from torch.nn import functional

from stages.micro.training.sentences import ASPECT_WORDS


class CellHeads(nn.Module):
    """Reads from an image token whether it shows an object, the words for its looks, and a prompt that means it to SAM2.

    Each aspect has a projection of its own, compared with the vectors of the words for it: so image tokens come to hold what
    words mean before a sentence is read.
    """

    def __init__(self, hidden: int, prompt: int) -> None:
        super().__init__()
        self.aspects = nn.ModuleList(nn.Linear(hidden, hidden, bias=False) for _ in ASPECT_WORDS)
        self.object = nn.Linear(hidden, 1)
        self.click = nn.Linear(hidden, prompt)
        self.scale = nn.Parameter(torch.tensor(10.0))

    def losses(
        self, token_VKD: Tensor, shown_VK: Tensor, looks_VO4: Tensor, words: list[Tensor]
    ) -> tuple[Tensor, dict[str, Tensor]]:
        """Mean cross-entropy, and accuracies by aspect.

        Args:
            words: of each aspect the vectors of its words (C, D).
        """
        clear_VK = shown_VK >= 0
        is_object = self.object(token_VKD)[..., 0][clear_VK]
        losses = [functional.binary_cross_entropy_with_logits(is_object, (shown_VK > 0)[clear_VK].float())]
        right: dict[str, Tensor] = {}
        filled_VK = shown_VK > 0
        token_BD = token_VKD[filled_VK]
        rows_B = filled_VK.nonzero()[:, 0]
        looks_B4 = looks_VO4[rows_B, shown_VK[filled_VK] - 1]
        for a, (name, head) in enumerate(zip(ASPECT_WORDS, self.aspects, strict=True)):
            vectors_CD = functional.normalize(words[a], dim=-1)
            logits_BC = self.scale * functional.normalize(head(token_BD), dim=-1) @ vectors_CD.T
            known_B = looks_B4[:, a] >= 0
            target_B = looks_B4[:, a].clamp(min=0)
            loss_B = functional.cross_entropy(logits_BC, target_B, reduction="none") * known_B
            losses.append(loss_B.sum() / known_B.sum().clamp(min=1))
            hit_B = (logits_BC.argmax(1) == target_B) & known_B
            right[name] = hit_B.sum() / known_B.sum().clamp(min=1)
        return torch.stack(losses).mean(), right


class TargetHeads(nn.Module):
    """Reads from an image token whether it shows what is asked for, and from a [SEG] which of them do and where that is."""

    def __init__(self, hidden: int) -> None:
        super().__init__()
        self.query, self.key = nn.Linear(hidden, hidden), nn.Linear(hidden, hidden)
        self.shows = nn.Linear(hidden, 1)
        self.place = nn.Sequential(nn.Linear(hidden, hidden), nn.ReLU(), nn.Linear(hidden, 3))

    def showing(self, state_RKD: Tensor, shows_RK: Tensor, weight: float) -> tuple[Tensor, Tensor]:
        """Cross-entropy of what each image token shows, and the F1 score of what is found.

        Args:
            shows_RK: 1, 0; −1 does not count.
            weight: of those that do show it: they are few.
        """
        known_RK, shows_K = shows_RK >= 0, shows_RK[shows_RK >= 0] > 0
        logits_K = self.shows(state_RKD)[..., 0][known_RK]
        loss = functional.binary_cross_entropy_with_logits(
            logits_K, shows_K.float(), pos_weight=torch.tensor(weight, device=logits_K.device)
        )
        hit = ((logits_K > 0) & shows_K).sum()
        return loss, 2 * hit / ((logits_K > 0).sum() + shows_K.sum()).clamp(min=1)

    def pointing(self, state_MD: Tensor, image_MKD: Tensor, pointed_MK: Tensor) -> tuple[Tensor, Tensor]:
        """Cross-entropy over image tokens, and how often the best of them shows the target; of those that show it at all."""
        scores_MK = torch.einsum("md,mkd->mk", self.query(state_MD), self.key(image_MKD)) * state_MD.shape[1] ** -0.5
        there_M = (pointed_MK.sum(1) > 0).float()
        loss_M = -(pointed_MK * scores_MK.log_softmax(1)).sum(1)
        best_M = pointed_MK.gather(1, scores_MK.argmax(1, keepdim=True))[:, 0] > 0
        n = there_M.sum().clamp(min=1)
        return (loss_M * there_M).sum() / n, (best_M * there_M).sum() / n

    def places(self, state_MD: Tensor, places_M3: Tensor) -> Tensor:
        """Mean absolute error of centre and size, of frames where there is one."""
        known_M3 = ~places_M3.isnan()
        error_M3 = (self.place(state_MD) - places_M3.nan_to_num()).abs() * known_M3
        return error_M3.sum() / known_M3.sum().clamp(min=1)
