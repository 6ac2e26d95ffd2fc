"""The frozen text encoder: captions to word features (a transformers model, RoBERTa in the published setup).

Any encoder that AutoModel reads can be used: RoBERTa, MPNet, BERT and MiniLM, and the folders of
sentence-transformers. Of those only the transformer is used: pooling and normalisation, which modules.json
lists, would leave no words.
"""

import logging
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Protocol

import numpy as np
import torch
from safetensors import SafetensorError
from transformers import AutoModel, AutoTokenizer

from stages.core.state.text_file import TextFeatures
from stages.core.state.weights import transformer_folder

log = logging.getLogger(__name__)

# What an encoder's file may lack or hold besides the encoder: the pooler is not used here, a head is left from
# pretraining, and position_ids is a row of counts that older transformers saved.
EXPECTED_DIFFERENCES = ("pooler.", "lm_head.", "cls.", "embeddings.position_ids")


class TextEncoder(Protocol):
    """What encode_text needs of a model."""

    def encode(self, text: str, where: str) -> TextFeatures:
        """Features of one caption; `where` names it in warnings."""
        ...


class TransformersTextEncoder:
    """A transformers encoder read from a local folder, in float32.

    Captions are encoded one at a time, on every device: matrix products of a padded or merely larger
    batch round differently in the last bits, so a caption's features would depend on what it is
    batched with. Alone, equal captions give equal bytes.
    """

    def __init__(self, folder: Path, max_tokens: int, device: str) -> None:
        """
        Raises:
            ValueError: the folder holds no tokenizer or no model.safetensors of a known class, or tensors
                that are not those of its config.json.
        """
        folder = transformer_folder(folder)
        # no code of the folder is run, and without safetensors nothing is read: a .bin file may be a program
        here = {"local_files_only": True, "trust_remote_code": False}
        mismatches = {"ignore_mismatched_sizes": True, "output_loading_info": True}  # refused by name below
        try:
            self.tokenizer: Any = AutoTokenizer.from_pretrained(folder, **here)
            model, report = AutoModel.from_pretrained(
                folder, use_safetensors=True, dtype=torch.float32, **mismatches, **here
            )
        except (OSError, ValueError, KeyError, TypeError, RuntimeError, SafetensorError) as error:
            raise ValueError(f"{folder}: not a text encoder of transformers ({error}); fetch it again") from error
        _check_report(report, folder)
        self.model = model.eval().requires_grad_(False).to(device)
        self.device = device
        self.max_tokens = min(max_tokens, self.tokenizer.model_max_length, _positions(self.model, folder))

    @torch.inference_mode()
    def encode(self, text: str, where: str) -> TextFeatures:
        """Last hidden state with the special tokens (W, D), and its mean (D); captions that are too long are cut."""
        ids = self.tokenizer(text)["input_ids"]
        if len(ids) > self.max_tokens:
            log.warning("%s: caption of %d tokens is cut to %d (text.max_tokens)", where, len(ids), self.max_tokens)
            ids = self.tokenizer(text, truncation=True, max_length=self.max_tokens)["input_ids"]
        ids_1W = torch.tensor([ids], device=self.device)
        hidden_1WD = self.model(input_ids=ids_1W, attention_mask=torch.ones_like(ids_1W)).last_hidden_state
        words_WD = hidden_1WD[0].float().cpu().numpy()
        return TextFeatures(words_WD, words_WD.mean(axis=0, dtype=np.float32))


def _check_report(report: Mapping[str, Any], folder: Path) -> None:
    """Raises ValueError where tensors are missing, left over or of another shape: the model would be partly random."""
    for kind in ("missing_keys", "unexpected_keys", "mismatched_keys"):
        names = sorted(name if isinstance(name, str) else str(name[0]) for name in report.get(kind, ()))
        if wrong := [name for name in names if not name.startswith(EXPECTED_DIFFERENCES)]:
            raise ValueError(
                f"{folder}: its weights are not those of its config.json: {len(wrong)} {kind.replace('_', ' ')}, "
                f"first {wrong[0]}; fetch it again"
            )


def _positions(model: Any, folder: Path) -> int:
    """How many tokens the model has positions for.

    RoBERTa and MPNet count them from their padding index + 1, which the table records; BERT counts from 0.
    """
    table = getattr(getattr(model, "embeddings", None), "position_embeddings", None)
    if not isinstance(table, torch.nn.Embedding):
        raise ValueError(f"{folder}: {type(model).__name__} has no table of positions: take RoBERTa, MPNet or BERT")
    return table.num_embeddings - (0 if table.padding_idx is None else table.padding_idx + 1)
