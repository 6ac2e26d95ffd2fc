"""A tiny random CLIP, as the hub has it."""

from pathlib import Path

from support.tiny_models import HIDDEN, seeded

from stages.micro.tokenizer import numbered


def build_clip(folder: Path) -> Path:
    """CLIPModel with CLIPProcessor."""
    from transformers import CLIPConfig, CLIPImageProcessor, CLIPModel, CLIPProcessor, CLIPTokenizer

    letters = "abcdefghijklmnopqrstuvwxyz?."
    vocabulary = numbered([*letters, *(f"{letter}</w>" for letter in letters), "<|startoftext|>", "<|endoftext|>"])
    tokenizer = CLIPTokenizer(vocab=vocabulary, merges=[], model_max_length=16)
    sizes = {"hidden_size": HIDDEN, "intermediate_size": 64, "num_hidden_layers": 2, "num_attention_heads": 2}
    text = {"vocab_size": len(vocabulary), "max_position_embeddings": 16, "eos_token_id": len(vocabulary) - 1, **sizes}
    config = CLIPConfig(text_config=text, vision_config={"image_size": 32, "patch_size": 8, **sizes}, projection_dim=16)
    seeded(lambda: CLIPModel(config)).save_pretrained(folder)
    side = {"height": 32, "width": 32}
    CLIPProcessor(CLIPImageProcessor(size={"shortest_edge": 32}, crop_size=side), tokenizer).save_pretrained(folder)
    return folder
