"""A tiny text encoder: RobertaModel, the class of all-roberta-large-v1. Untrained; see stages.micro.training.text."""

from pathlib import Path
from typing import TYPE_CHECKING, Any

from stages.micro.tokenizer import roberta_tokenizer

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase

HIDDEN, LAYERS, HEADS = 64, 2, 4
MAX_TOKENS = 512


def build_random_text(folder: Path, seed: int) -> Path:
    """Saves model and tokenizer in transformers layout (safetensors); equal seeds give equal bytes.

    Args:
        folder: made if missing; files of the same names are replaced.
        seed: of the weights. The process's own random state is left as it was.

    Returns:
        `folder`, which loads with AutoModel and AutoTokenizer without a network.
    """
    model, tokenizer = make_text(seed)
    model.eval().save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    return folder


def make_text(seed: int) -> tuple[Any, "PreTrainedTokenizerBase"]:
    """The untrained model and its tokenizer."""
    import torch
    from transformers import RobertaConfig, RobertaModel

    tokenizer = roberta_tokenizer(MAX_TOKENS)
    config = RobertaConfig(
        vocab_size=len(tokenizer),
        hidden_size=HIDDEN,
        num_hidden_layers=LAYERS,
        num_attention_heads=HEADS,
        intermediate_size=2 * HIDDEN,
        max_position_embeddings=MAX_TOKENS + 2,  # positions start at padding_idx + 1
        type_vocab_size=1,
        initializer_range=0.1,  # at the usual 0.02 attention is flat and captions look alike
        hidden_dropout_prob=0.0,  # no sentence is seen twice: there is nothing to overfit to
        attention_probs_dropout_prob=0.0,
        bos_token_id=tokenizer.bos_token_id,
        pad_token_id=tokenizer.pad_token_id,
        eos_token_id=tokenizer.eos_token_id,
    )
    with torch.random.fork_rng(devices=[]):
        torch.default_generator.manual_seed(seed)
        return RobertaModel(config), tokenizer
