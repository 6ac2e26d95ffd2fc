"""A tiny random VRS-HQ checkpoint as it is published: torch shards, Vicuna's names, CLIP and SAM2 inside."""

import json
from pathlib import Path
from typing import Any

import torch
from support.seg_checkpoints import WIDTH, Written, head, random_sam2, randomly, seeded
from support.tiny_models import text_sizes

CLIP = {"hidden_size": 128, "intermediate_size": 64, "num_hidden_layers": 2, "num_attention_heads": 2}
CLIP |= {"patch_size": 14, "image_size": 112}  # 8 × 8 patches
CLUSTERS = (16, 8, 6)
TOKENS = sum(CLUSTERS)
TOWER = "model.vision_tower.vision_tower.vision_model."


def llama_tokenizer() -> Any:
    """Llama's class over bytes alone, with the two tokens of VRS-HQ."""
    from transformers import LlamaTokenizer

    plain = ["<unk>", "<s>", "</s>", *(f"<0x{byte:02X}>" for byte in range(256)), "▁"]
    tokenizer = LlamaTokenizer(vocab={token: i for i, token in enumerate(plain)}, merges=[], add_bos_token=True)
    tokenizer.pad_token = "<unk>"
    tokenizer.add_tokens(["[SEG]", "[TAK]"], special_tokens=True)
    return tokenizer


def write_chat_univi(folder: Path) -> Written:
    from transformers import CLIPVisionConfig, CLIPVisionModel, LlamaConfig, LlamaForCausalLM

    tokenizer = llama_tokenizer()
    sizes = {key: value for key, value in text_sizes(len(tokenizer)).items() if key != "initializer_range"}
    language = randomly(seeded(lambda: LlamaForCausalLM(LlamaConfig(**sizes, tie_word_embeddings=False))))
    tower = randomly(seeded(lambda: CLIPVisionModel(CLIPVisionConfig(**CLIP))))
    projector = randomly(torch.nn.Linear(CLIP["hidden_size"], WIDTH))
    heads, sam2 = head(), random_sam2()
    state = {name: tensor.clone() for name, tensor in language.state_dict().items()}
    state |= {f"model.mm_projector.{name}": tensor.clone() for name, tensor in projector.state_dict().items()}
    state |= {TOWER + name.removeprefix("vision_model."): tensor.clone() for name, tensor in tower.state_dict().items()}
    state |= {f"model.text_hidden_fcs.0.{name}": tensor.clone() for name, tensor in heads.state_dict().items()}
    state |= {f"model.visual_model.{name}": tensor.clone() for name, tensor in sam2.state_dict().items()}
    state[f"{TOWER}embeddings.position_ids"] = torch.arange(65)[None]  # as older versions of transformers stored them
    state["model.layers.0.self_attn.rotary_emb.inv_freq"] = torch.ones(8)
    folder.mkdir(parents=True, exist_ok=True)
    tokenizer.save_pretrained(folder)
    names = sorted(state)
    homes = {name: f"pytorch_model-{i * 3 // len(names) + 1:05}-of-00003.bin" for i, name in enumerate(names)}
    for home in sorted(set(homes.values())):
        torch.save({name: state[name] for name in names if homes[name] == home}, folder / home)
    (folder / "pytorch_model.bin.index.json").write_text(json.dumps({"metadata": {}, "weight_map": homes}))
    clusters = {f"spatial_cluster_rate{i}": count for i, count in enumerate(CLUSTERS)}
    config = {
        "architectures": ["VrshqForCausalLM"],
        "model_type": "ChatUniVi",
        "mm_hidden_size": CLIP["hidden_size"],
        "mm_vision_select_layer": -2,
        "mm_vision_tower": "openai/clip-vit-large-patch14",
        "out_dim": 256,
        "config": {"use_cluster": True, "temporal_cluster_rate": 0.0625, **clusters},
        **sizes,
    }
    (folder / "config.json").write_text(json.dumps(config))
    native = torch.nn.ModuleDict({"language": language, "vision_tower": tower, "mm_projector": projector})
    return Written(folder, native, heads, sam2, tokenizer)
