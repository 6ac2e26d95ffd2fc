"""Sa2VA over Qwen2.5-VL and Qwen3-VL: published names, strictly, into the native classes."""

import json
import shutil
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from safetensors.torch import save_file
from support.seg_checkpoints import SAM2, entry, random_sam2, write
from support.seg_qwen import CLASSES, write_qwen

from stages.core.config.file import Sam2Model
from stages.core.state.weights import Weights
from stages.prompting.seg.checkpoint.loading import load_seg_model
from stages.prompting.seg.checkpoint.passes import read
from stages.prompting.seg.checkpoint.qwen_side import SIZES, in_multiples

ANSWER = "It is [SEG]."
REQUEST = "<image>\nPlease segment the red circle."
FRAME = np.random.default_rng(3).integers(0, 256, (120, 200, 3), dtype=np.uint8)


def load(written: Any, base: str, **changes: Any) -> Any:
    return load_seg_model(written.folder, entry(f"sa2va_{base}", template="published", **changes), "cpu", "float32")


@pytest.mark.parametrize("base", CLASSES)
def test_states_before_and_after_the_norm(tmp_path: Path, base: str) -> None:
    """Both are those of the native class, which calls its norm last, and they differ: a wrong choice would be silent."""
    written = write_qwen(tmp_path, base)
    model = load(written, base)
    theirs = written.native.state_dict()
    assert all(torch.equal(tensor, theirs[name]) for name, tensor in model.mllm.state_dict().items())
    seen = model.encode([FRAME])
    before, after = _native_states(written, model, seen)
    with torch.inference_mode():
        [state] = model.states(seen, [REQUEST], [ANSWER])
        model.reading = replace(model.reading, state="before_norm")
        [raw] = model.states(seen, [REQUEST], [ANSWER])
    assert (state[0] - after).abs().max() <= 1e-6
    assert (raw[0] - before).abs().max() <= 1e-6
    assert torch.cosine_similarity(before, after, dim=0) < 0.999


def _native_states(written: Any, model: Any, seen: Any) -> tuple[Any, Any]:
    """The state at [SEG] before and after the norm, by the processor and the native class alone."""
    from PIL import Image
    from transformers import Qwen3VLProcessor, Qwen3VLVideoProcessor

    chat = [{"role": "user", "content": [{"type": "image"}, {"type": "text", "text": REQUEST.replace("<image>", "")}]}]
    template = (written.folder / "chat_template.jinja").read_text()
    processor = Qwen3VLProcessor(model.side.image_processor, written.tokenizer, Qwen3VLVideoProcessor(), template)
    text = processor.apply_chat_template(chat, tokenize=False, add_generation_prompt=True) + ANSWER
    picture = in_multiples(Image.fromarray(FRAME))
    inputs = processor(
        text=[text], images=[picture], return_tensors="pt", size={"shortest_edge": SIZES[0], "longest_edge": SIZES[1]}
    )
    assert inputs["input_ids"][0].tolist() == model.side.ids(seen, REQUEST, ANSWER)
    place = inputs["input_ids"][0].tolist().index(model.seg_id)
    kept: list[Any] = []
    norm = written.native.model.language_model.norm
    hook = norm.register_forward_hook(lambda module, arguments, output: kept.extend((arguments[0], output)))
    with torch.inference_mode():
        written.native(**inputs)
    hook.remove()
    return kept[0][0, place], kept[1][0, place]


def test_sentences_together_and_generated(tmp_path: Path) -> None:
    """Two frames and sentences of different length: together as alone; what is generated, forced, gives the same states."""
    model = load(write_qwen(tmp_path, "qwen3_vl"), "qwen3_vl", state="before_norm")
    with torch.inference_mode():
        seen = model.encode([FRAME, FRAME[:, ::-1].copy()])
        texts = [REQUEST, "<image>\nPlease segment the blue square that moves to the left behind the tree."]
        together = model.states(seen, texts, [ANSWER] * 2)
        for text, state in zip(texts, together, strict=True):
            [alone] = model.states(seen, [text], [ANSWER])
            assert (state - alone).abs().max() <= 5e-6
        for text, answer in zip(texts, _generated(model, seen, texts), strict=True):
            ids = [*model.prompt(seen, text), *answer.ids]
            places = [place for place, token in enumerate(ids) if token == model.seg_id]
            forced = model.state_of(read(model.side, seen, [ids], 0).output)[0, places]
            assert len(answer.states_nD) == len(places) > 0
            assert (answer.states_nD - forced).abs().max() <= 5e-6


def _generated(model: Any, seen: Any, texts: list[str]) -> Any:
    """Answers of a random model whose head prefers [SEG] now and then."""
    head = model.mllm.lm_head.weight
    with torch.no_grad():
        head[model.seg_id] = (
            head.mean(0) + 3 * torch.randn(head.shape[1], generator=torch.Generator().manual_seed(0)) * 0.1
        )
    return model.generate(seen, texts, 12)


def test_head_that_is_the_embeddings(tmp_path: Path) -> None:
    written = write_qwen(tmp_path, "qwen3_vl", tied=True)
    model = load(written, "qwen3_vl")
    assert model.mllm.lm_head.weight is model.side.embeddings.weight
    assert torch.equal(model.mllm.lm_head.weight, written.native.lm_head.weight)


def test_template_of_an_older_file(tmp_path: Path) -> None:
    model = load(write_qwen(tmp_path, "qwen3_vl", "chat_template.json"), "qwen3_vl")
    assert model.tokenizer.decode(model.prompt(model.encode([FRAME]), REQUEST)).startswith(
        "<|im_start|>user\n<|vision_start|>"
    )


def test_other_base_is_refused(tmp_path: Path) -> None:
    written = write_qwen(tmp_path, "qwen3_vl")
    with pytest.raises(ValueError, match=r"vision_config.model_type is qwen3_vl, must begin with qwen2_5_vl"):
        load(written, "qwen2_5_vl")
    (tmp_path / "chat_template.jinja").unlink()
    with pytest.raises(ValueError, match=r"has no chat template in chat_template.jinja"):
        load(written, "qwen3_vl")


def test_a_model_beside_its_sam2(tmp_path: Path) -> None:
    """Family qwen3_vl: transformers' own names, text_hidden_fcs among them, and the preset's SAM2, whose decoder may be tuned."""
    written = write_qwen(tmp_path, "qwen3_vl")
    own = tmp_path / "own"
    state = dict(written.native.state_dict()) | {
        f"text_hidden_fcs.{n}": t for n, t in written.heads.state_dict().items()
    }
    tuned = random_sam2(1).sam_mask_decoder.state_dict()
    config = json.loads((tmp_path / "config.json").read_text()) | {"architectures": ["Qwen3VLForConditionalGeneration"]}
    for decoder, tensors in ((None, {}), ("sam_mask_decoder", {f"sam_mask_decoder.{n}": t for n, t in tuned.items()})):
        write(own, state | tensors, config, written.tokenizer, 1)
        for name in ("preprocessor_config.json", "chat_template.jinja"):
            shutil.copy(tmp_path / name, own / name)
        beside = load_seg_model(
            own, entry("qwen3_vl", template="published", decoder=decoder), "cpu", "float32", micro_sam2(tmp_path)
        )
        assert torch.equal(beside.mllm.lm_head.weight, written.native.lm_head.weight)
        assert torch.equal(beside.sam2.no_mem_embed, random_sam2(2).no_mem_embed)
        kept = (beside.untouched_decoder or beside.sam2.sam_mask_decoder).state_dict()
        assert all(
            torch.equal(tensor, kept[name]) for name, tensor in random_sam2(2).sam_mask_decoder.state_dict().items()
        )
        if decoder:
            assert all(torch.equal(t, beside.sam2.sam_mask_decoder.state_dict()[n]) for n, t in tuned.items())
    with pytest.raises(ValueError, match="family qwen3_vl holds no SAM2: the preset needs a model of role sam2"):
        load_seg_model(own, entry("qwen3_vl", template="published"), "cpu", "float32")


def micro_sam2(folder: Path) -> Weights:
    file = folder / "sam2.safetensors"
    save_file({name: tensor.contiguous() for name, tensor in random_sam2(2).state_dict().items()}, file)
    nothing = {"hub": None, "revision": None, "files": [], "seed": None, "license": None}
    return Weights(file, "id", Sam2Model.model_validate({**nothing, "path": str(file), "config": SAM2}))
