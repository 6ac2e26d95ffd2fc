"""A tiny random GroundingDINO: GroundingDinoForObjectDetection and its processor, with a WordPiece tokenizer.

The vocabulary has the published one's (bert-base-uncased) ids for special tokens and ASCII: the model's
code knows [CLS], [SEP], "." and "?" by number.
"""

import string
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from transformers import BertTokenizer, GroundingDinoConfig, GroundingDinoProcessor

WIDTH, HEADS, FEED_FORWARD, LAYERS, QUERIES = 32, 4, 64, 2, 30  # the width is a multiple of the 32 norm groups
IMAGE_SIDES = {"shortest_edge": 128, "longest_edge": 213}  # 800 and 1333 in the published model
MAX_TOKENS = 256
SPREAD = 0.1  # noise on every parameter: heads that start at zero would hide that they were not loaded

SPECIAL_IDS = {"[PAD]": 0, "[UNK]": 100, "[CLS]": 101, "[SEP]": 102, "[MASK]": 103}
FIRST_CHARACTER = 999  # "!"; then ASCII in order without capitals: "." is 1012, "?" is 1029
CHARACTERS = [chr(code) for code in range(ord("!"), ord("~") + 1) if chr(code) not in string.ascii_uppercase]
WORDS = """
a an the and or of to in on at by with from into over under behind between near next left right front back middle up
down top bottom that which who this these those its their his her is are was be being not no then while after before
one two three four five six all both other another first last only same
red green blue yellow orange purple white black gray grey brown pink dark light bright small big large tiny tall long
person people man woman boy girl child baby player rider dog cat horse cow sheep bird fish elephant giraffe zebra bear
panda monkey tiger lion rabbit mouse turtle lizard car truck bus train plane boat bike bicycle motorcycle ball cup box
circle square triangle rectangle shape object thing animal vehicle
move moves moving moved walk walks walking run runs running jump jumps jumping turn turns turning stand stands standing
sit sits sitting stay stays still stop stops fly flies flying swim swims swimming eat eats eating play plays playing
push pushes pull pulls chase chases follow follows cross crosses pass passes grow grows growing shrink shrinks fast
slowly quickly around across toward towards away forward backward upward downward leftward rightward
above again ahead air along apart approach bar bars beginning below bent bigger border bounce bounces bouncing checked
chequered circles circular come comes coming covering curve cyan diamond diamonds disappear disappears do does dotted
downwards each edge end enter entering enters farthest fastest followed following for getting go goes going good halt
hide hides highest it late later leave leaves leftmost little lower lowest mid moment nearest objects off out outside
overtake overtaken overtakes part path pausing picture plain rightmost rotate rotates round set sets sight slowest
smaller spin spinning spins spotted squares star stars start starting striped there they things topmost touching
triangles upper upwards vanishing wall way without
"""
SUFFIXES = ["##s", "##es", "##ed", "##er", "##ing", "##ly"]


def build_random_grounding_dino(folder: Path, seed: int) -> Path:
    """Saves model and processor in transformers layout (safetensors); equal seeds give equal bytes.

    Args:
        folder: made if missing; files of the same names are replaced.
        seed: of the weights. The process's own random state is left as it was.

    Returns:
        `folder`, which loads with GroundingDinoForObjectDetection and AutoProcessor without a network.
    """
    import torch
    from transformers import GroundingDinoForObjectDetection

    processor = _processor()
    with torch.random.fork_rng(devices=[]), torch.no_grad():
        torch.default_generator.manual_seed(seed)
        model = GroundingDinoForObjectDetection(_config(len(processor.tokenizer)))
        for parameter in model.parameters():
            parameter.add_(torch.randn_like(parameter), alpha=SPREAD)
    model.eval().save_pretrained(folder)
    processor.save_pretrained(folder)
    return folder


def make_grounding_dino(seed: int) -> tuple[Any, "GroundingDinoProcessor"]:
    """The model to be trained, with transformers' own initial weights, and its processor.

    Two feature levels, strides 8 and 16: objects in the data set are 15 to 35 pixels wide.
    """
    import torch
    from transformers import GroundingDinoConfig, GroundingDinoForObjectDetection

    processor = _processor()
    sizes = {"d_model": 128, "encoder_ffn_dim": 256, "decoder_ffn_dim": 256, "num_queries": 30}
    sizes |= {"encoder_layers": 1, "decoder_layers": 2, "encoder_attention_heads": 4, "decoder_attention_heads": 4}
    swin = {"model_type": "swin", "image_size": IMAGE_SIDES["shortest_edge"], "embed_dim": 32, "depths": [2, 2, 2]}
    swin |= {"num_heads": [4, 8, 8], "window_size": 4, "out_indices": [2, 3], "drop_path_rate": 0.0}
    bert = {"model_type": "bert", "vocab_size": len(processor.tokenizer), "hidden_size": 64, "num_hidden_layers": 2}
    bert |= {"num_attention_heads": 4, "intermediate_size": 128, "max_position_embeddings": MAX_TOKENS}
    bert |= {"initializer_range": 0.1, "hidden_dropout_prob": 0.0, "attention_probs_dropout_prob": 0.0}
    config = GroundingDinoConfig(
        backbone_config=swin,
        text_config=bert,
        num_feature_levels=2,
        encoder_n_points=2,  # per head and level; this part takes most of the time
        max_text_len=MAX_TOKENS,
        dropout=0.0,
        text_enhancer_dropout=0.0,
        fusion_droppath=0.0,
        disable_custom_kernels=True,
        **sizes,
    )
    with torch.random.fork_rng(devices=[]):
        torch.default_generator.manual_seed(seed)
        return GroundingDinoForObjectDetection(config), processor


def vocabulary() -> dict[str, int]:
    """Token → id, without gaps."""
    ids = dict(SPECIAL_IDS)
    ids |= {character: FIRST_CHARACTER + i for i, character in enumerate(CHARACTERS)}
    pieces = [f"##{character}" for character in string.ascii_lowercase + string.digits] + SUFFIXES
    words = [word for word in dict.fromkeys(WORDS.split()) if word not in ids]
    ids |= {token: FIRST_CHARACTER + len(CHARACTERS) + i for i, token in enumerate(pieces + words)}
    gaps = sorted(set(range(max(ids.values()))) - set(ids.values()))
    ids |= {f"[unused{i}]": gap for i, gap in enumerate(gaps)}
    return dict(sorted(ids.items(), key=lambda item: item[1]))


def _tokenizer() -> "BertTokenizer":
    from transformers import BertTokenizer

    return BertTokenizer(vocab=vocabulary(), do_lower_case=True, model_max_length=MAX_TOKENS)


def _processor() -> "GroundingDinoProcessor":
    from transformers import GroundingDinoImageProcessor, GroundingDinoProcessor

    return GroundingDinoProcessor(GroundingDinoImageProcessor(size=dict(IMAGE_SIDES)), _tokenizer())


def _config(vocab_size: int) -> "GroundingDinoConfig":
    from transformers import GroundingDinoConfig

    return GroundingDinoConfig(
        backbone_config=_backbone(),
        text_config=_text(vocab_size),
        d_model=WIDTH,
        num_queries=QUERIES,
        encoder_layers=LAYERS,
        encoder_attention_heads=HEADS,
        encoder_ffn_dim=FEED_FORWARD,
        decoder_layers=LAYERS,
        decoder_attention_heads=HEADS,
        decoder_ffn_dim=FEED_FORWARD,
        max_text_len=MAX_TOKENS,
        disable_custom_kernels=True,
    )


def _backbone() -> dict[str, object]:
    return {
        "model_type": "swin",
        "image_size": IMAGE_SIDES["shortest_edge"],
        "embed_dim": WIDTH // 2,
        "depths": [1, 1, 2, 1],
        "num_heads": [1, 2, 4, 4],
        "window_size": 4,
        "out_indices": [2, 3, 4],  # strides 8, 16 and 32, as in Swin-T OGC
    }


def _text(vocab_size: int) -> dict[str, object]:
    return {
        "model_type": "bert",
        "vocab_size": vocab_size,
        "hidden_size": WIDTH,
        "num_hidden_layers": LAYERS,
        "num_attention_heads": HEADS,
        "intermediate_size": FEED_FORWARD,
        "max_position_embeddings": MAX_TOKENS,
    }
