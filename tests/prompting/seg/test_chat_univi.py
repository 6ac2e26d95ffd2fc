"""VRS-HQ over Chat-UniVi: CLIP, token clustering and Llama, from torch shards in Vicuna's names."""

import re
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from support.seg_chat_univi import CLIP, CLUSTERS, TOKENS, write_chat_univi
from support.seg_checkpoints import Written, entry

from stages.prompting.seg.checkpoint.clustering import NEIGHBOURS, merged
from stages.prompting.seg.checkpoint.loading import load_seg_model

ANSWER = "Sure, the segmentation result of each frame is (0) [SEG], (1) [SEG], while for the entire video it is [TAK]."
REQUEST = "Reference Video: <image> \nWhat is the dog in the Reference Video?"


@pytest.fixture(scope="module")
def written(tmp_path_factory: pytest.TempPathFactory) -> Written:
    return write_chat_univi(tmp_path_factory.mktemp("vrs_hq"))


@pytest.fixture(scope="module")
def model(written: Written) -> Any:
    return load_seg_model(
        written.folder, entry("chat_univi", template="vicuna_v1", object_score="predicted"), "cpu", "float32"
    )


def frames(count: int) -> list[Any]:
    rng = np.random.default_rng(count)
    return [rng.integers(0, 256, (90, 160, 3), dtype=np.uint8) for _ in range(count)]


def test_every_tensor_arrives(written: Written, model: Any) -> None:
    theirs = written.native.state_dict()
    for name, tensor in model.mllm.state_dict().items():
        assert torch.equal(tensor, theirs[name])
    for name, tensor in model.sam2.state_dict().items():
        assert torch.equal(tensor, written.sam2.state_dict()[name])
    assert (model.seg_id, model.tak_id) == tuple(written.tokenizer.convert_tokens_to_ids(["[SEG]", "[TAK]"]))


def test_states_are_those_before_the_tokens(written: Written, model: Any) -> None:
    """Of every [SEG] and of [TAK], by the native classes alone, with features in place of the images."""
    with torch.inference_mode():
        seen = model.encode(frames(2))
        [states] = model.states(seen, [REQUEST], [ANSWER])
        embedded, places = _published_inputs(written, seen, model)
        hidden = written.native["language"](inputs_embeds=embedded[None], output_hidden_states=True).hidden_states[-1][
            0
        ]
    assert seen.counts == (TOKENS, TOKENS)
    assert states.shape == (3, 64)
    assert (states - hidden[[place - 1 for place in places]]).abs().max() <= 1e-6
    assert model.project(states).shape == (3, 256)


def _published_inputs(written: Written, seen: Any, model: Any) -> tuple[torch.Tensor, list[int]]:
    """Embeddings of a conversation as the published code puts them together, and where [SEG] and [TAK] are."""
    system = (
        "A chat between a curious human and an artificial intelligence assistant. The assistant gives helpful, detailed, and "
        "polite answers to the human's questions."
    )
    question = REQUEST.replace("<image>", "(0)<image>, (1)<image>")
    chunks = f"{system} USER: {question} ASSISTANT: {ANSWER}".split("<image>")
    embed = written.native["language"].get_input_embeddings()
    rows, places = [], []
    for i, chunk in enumerate(chunks):
        ids = [1] if i == 0 else []
        for part in re.split(r"\s*(\[SEG\]|\[TAK\])\s*", chunk):  # transformers 4.31 strips what is around added tokens
            ids += written.tokenizer(part).input_ids[1:] if part else []
        places += [sum(map(len, rows)) + j for j, token in enumerate(ids) if token in (model.seg_id, model.tak_id)]
        rows.append(embed(torch.tensor(ids)))
        if i < len(seen.counts):
            rows.append(seen.features_ND[i * TOKENS : (i + 1) * TOKENS])
    return torch.cat(rows), places


def test_features_are_those_of_clip_clustered(written: Written, model: Any) -> None:
    from PIL import Image
    from transformers import CLIPImageProcessor

    [frame] = frames(1)
    side = CLIP["image_size"]
    processor = CLIPImageProcessor(size={"shortest_edge": side}, crop_size={"height": side, "width": side})
    pixels = processor(images=Image.fromarray(frame), return_tensors="pt")["pixel_values"]
    with torch.inference_mode():
        hidden = written.native["vision_tower"](pixels, output_hidden_states=True).hidden_states[-2][:, 1:]
        expected = written.native["mm_projector"](torch.cat(_plain_clusters(hidden[0]))[None])[0]
        assert (model.encode([frame]).features_ND - expected).abs().max() <= 1e-5


def _plain_clusters(tokens_NC: torch.Tensor) -> list[torch.Tensor]:
    """Density-peak clustering step by step, token by token."""
    steps = []
    for count, neighbours in zip(CLUSTERS, NEIGHBOURS, strict=True):
        neighbours = neighbours if neighbours <= count else min(3, max(count // 2, 1))
        n = len(tokens_NC)
        apart = [[(a - b).norm().item() / tokens_NC.shape[1] ** 0.5 for b in tokens_NC] for a in tokens_NC]
        density = [np.exp(-np.mean(np.square(sorted(row)[:neighbours]))) for row in apart]
        farthest = max(map(max, apart))
        peak = [min([apart[i][j] for j in range(n) if density[j] > density[i]], default=farthest) for i in range(n)]
        centres = sorted(range(n), key=lambda i: -peak[i] * density[i])[:count]
        cluster = [
            centres.index(i) if i in centres else int(np.argmin([apart[i][c] for c in centres])) for i in range(n)
        ]
        tokens_NC = torch.stack([tokens_NC[[i for i in range(n) if cluster[i] == k]].mean(0) for k in range(count)])
        steps.append(tokens_NC)
    return steps


def test_clusters_are_the_same_alone_and_together() -> None:
    """Of equal tokens too, where the published code would draw at random."""
    generator = torch.Generator().manual_seed(0)
    tokens = torch.randn(3, 40, 16, generator=generator)
    tokens[1] = tokens[1, :1]
    together = merged(tokens, CLUSTERS)
    assert together.shape == (3, TOKENS, 16)
    for image in range(3):
        assert (merged(tokens[image : image + 1], CLUSTERS)[0] - together[image]).abs().max() <= 1e-6


def test_refusals(tmp_path: Path) -> None:
    write_chat_univi(tmp_path)
    config = tmp_path / "config.json"
    kept = config.read_text()
    for old, new, message in (
        ('"use_cluster": true', '"use_cluster": false', r"config: use_cluster is False, must be True"),
        ('"mm_hidden_size": 128, ', "", r"config\.json: lacks mm_hidden_size"),
        ("VrshqForCausalLM", "LlavaForCausalLM", r"architectures says LlavaForCausalLM; family chat_univi reads Vrshq"),
    ):
        assert old in kept
        config.write_text(kept.replace(old, new))
        with pytest.raises(ValueError, match=message):
            load_seg_model(tmp_path, entry("chat_univi", template="vicuna_v1"), "cpu", "float32")
