"""Family chat_univi: VRS-HQ over Chat-UniVi-7B (Vicuna, CLIP ViT-L/14, token clustering)."""

from collections.abc import Mapping
from typing import Any

from stages.prompting.seg.checkpoint.config import lacking, need, vocabulary_rows
from stages.prompting.seg.checkpoint.families import Family, Native, Opened
from stages.prompting.seg.checkpoint.languages import LANGUAGES, native_config
from stages.prompting.seg.checkpoint.origins import Origin, renamed, renaming
from stages.prompting.seg.checkpoint.templates import TEMPLATES

TOWER = "model.vision_tower.vision_tower.vision_model."
HEAD_WIDTH = 64  # of CLIP's attention, in every published size
NAMES = renaming(
    (r"^language\.", ""),
    (r"^mm_projector\.", "model.mm_projector."),
    (r"^vision_tower\.(vision_model\.)?", TOWER),
)
CLUSTERS = ("spatial_cluster_rate0", "spatial_cluster_rate1", "spatial_cluster_rate2")
LANGUAGE = LANGUAGES["LlamaForCausalLM"]


def build(opened: Opened, template: str) -> Native:
    """Raises ValueError where config.json asks for what is not computed here."""
    from torch import nn
    from transformers import CLIPVisionModel, LlamaConfig, LlamaForCausalLM

    from stages.prompting.seg.checkpoint.chat_univi_side import ChatUniVi, ChatUniViModel
    from stages.prompting.seg.checkpoint.filling import parameters_on_meta

    raw, file = opened.raw, opened.folder / "config.json"
    lacking(raw, ("config", "hidden_size", "mm_hidden_size", "mm_vision_select_layer"), str(file))
    lacking(raw["config"], ("use_cluster", *CLUSTERS), f"{file}: config")
    need(raw["config"], {"use_cluster": True}, f"{file}: config")
    if template not in TEMPLATES:
        raise ValueError(f"models.seg of {opened.folder}: no template {template!r}; known: {', '.join(TEMPLATES)}")
    text = native_config(LANGUAGE, raw)
    text["vocab_size"] = vocabulary_rows(opened, LANGUAGE.embeddings, text.get("vocab_size"))
    with parameters_on_meta():
        tower = CLIPVisionModel(clip_config(opened))
        projector = nn.Linear(raw["mm_hidden_size"], raw["hidden_size"])
        language = LlamaForCausalLM(LlamaConfig(**text, tie_word_embeddings=False))
    clusters = [int(raw["config"][key]) for key in CLUSTERS]
    mllm = ChatUniViModel(tower, projector, language)
    side = ChatUniVi(mllm, opened.tokenizer, TEMPLATES[template], clusters, raw["mm_vision_select_layer"])
    return Native(side, lambda name: Origin(renamed(NAMES, name)))


def clip_config(opened: Opened) -> Any:
    """CLIPVisionConfig of the tower, which config.json only names: read from the shapes of its tensors."""
    from transformers import CLIPVisionConfig

    def shape(name: str) -> tuple[int, ...]:
        if TOWER + name not in opened.shapes:
            raise ValueError(f"{opened.folder}: lacks {TOWER}{name}: its vision tower must be inside; fetch it again")
        return opened.shapes[TOWER + name]

    width, _, patch, _ = shape("embeddings.patch_embedding.weight")
    positions = shape("embeddings.position_embedding.weight")[0]
    return CLIPVisionConfig(
        hidden_size=width,
        intermediate_size=shape("encoder.layers.0.mlp.fc1.weight")[0],
        num_hidden_layers=_layers(opened.shapes),
        num_attention_heads=max(1, width // HEAD_WIDTH),
        patch_size=patch,
        image_size=patch * round((positions - 1) ** 0.5),
    )


def _layers(shapes: Mapping[str, Any]) -> int:
    start = f"{TOWER}encoder.layers."
    return len({name.removeprefix(start).split(".")[0] for name in shapes if name.startswith(start)})


FAMILY = Family(
    name="chat_univi",
    kinds=("VrshqForCausalLM", "VISAForCausalLM"),
    heads="model.text_hidden_fcs.0.",
    sam2="model.visual_model.",
    gamma="gamma",
    shift=-1,
    build=build,
    ignored=(r"model\.layers\.\d+\.self_attn\.rotary_emb\.inv_freq", r"model\.vision_tower\..*\.position_ids"),
)
