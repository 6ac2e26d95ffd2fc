"""The frozen text encoder: captions to word features (a transformers model, RoBERTa in the published setup)."""

import logging
from pathlib import Path
from typing import Any, Protocol

import numpy as np
import torch
from transformers import AutoModel, AutoTokenizer

from stages.core.text_file import TextFeatures

log = logging.getLogger(__name__)


class TextEncoder(Protocol):
    """What encode_text needs of a model."""

    def encode(self, text: str, where: str) -> TextFeatures:
        """Features of one caption; `where` names it in warnings."""
        ...


class TransformersTextEncoder:
    """A transformers encoder read from a local folder, in float32.

    Captions are encoded one at a time, on every device: matrix products of a padded or merely larger
    batch round otherwise in the last bits, so that a caption's features would depend on what it is
    batched with. Alone, equal captions give equal bytes.
    """

    def __init__(self, folder: Path, max_tokens: int, device: str) -> None:
        """
        Raises:
            ValueError: the folder holds no tokenizer or no model.safetensors of a known class.
        """
        try:
            self.tokenizer: Any = AutoTokenizer.from_pretrained(folder, local_files_only=True)
            model = AutoModel.from_pretrained(folder, local_files_only=True, use_safetensors=True, dtype=torch.float32)
        except (OSError, ValueError, KeyError) as error:
            raise ValueError(f"{folder}: not a text encoder of transformers ({error}); fetch it again") from error
        self.model = model.eval().requires_grad_(False).to(device)
        self.device = device
        self.max_tokens = min(max_tokens, self.tokenizer.model_max_length, _positions(model.config))

    @torch.inference_mode()
    def encode(self, text: str, where: str) -> TextFeatures:
        """Last hidden state with the special tokens (W, D), and its mean (D); too long captions are cut."""
        ids = self.tokenizer(text)["input_ids"]
        if len(ids) > self.max_tokens:
            log.warning("%s: caption of %d tokens is cut to %d (text.max_tokens)", where, len(ids), self.max_tokens)
            ids = self.tokenizer(text, truncation=True, max_length=self.max_tokens)["input_ids"]
        ids_1W = torch.tensor([ids], device=self.device)
        hidden_1WD = self.model(input_ids=ids_1W, attention_mask=torch.ones_like(ids_1W)).last_hidden_state
        words_WD = hidden_1WD[0].float().cpu().numpy()
        return TextFeatures(words_WD, words_WD.mean(axis=0, dtype=np.float32))


def _positions(config: Any) -> int:
    """How many tokens the model has positions for: RoBERTa counts them from its padding index + 1."""
    offset = config.pad_token_id + 1 if "roberta" in config.model_type else 0
    return int(config.max_position_embeddings) - offset
