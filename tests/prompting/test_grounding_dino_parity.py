"""The two GroundingDINO backends give the same detections from the same weights, preprocessing and captions included."""

import logging
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from safetensors.torch import load_file
from support.detectors import build_wide, describe, matched, package_state, prompts, weights

from stages.prompting.grounding_dino.detector import GroundingDino, load_detector
from stages.prompting.grounding_dino.image import published_size
from stages.prompting.grounding_dino.transformers_backend import _close_phrases, published_positions
from stages.tools.convert_grounding_dino import main as convert_command

BACKENDS = ("transformers", "groundingdino")
CAPTIONS = {
    "plain": "The red circle moving left",
    "dots": "two dogs, run away. a zebra? yes",
    "pieces": "zzyzx",
    "dots at the end": "a dog...",
    "long": " ".join(["dog"] * 300),
}
SIZES = [(96, 128), (130, 70), (128, 128), (60, 107), (37, 300)]


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return build_wide(tmp_path_factory.mktemp("dino"))


def load(folder: Path, backend: str, **over: Any) -> GroundingDino:
    detector = load_detector(weights(folder), prompts(backend, **over), "cpu", 8)
    assert isinstance(detector, GroundingDino)
    return detector


@pytest.fixture(scope="module")
def pair(folder: Path) -> list[GroundingDino]:
    return [load(folder, backend) for backend in BACKENDS]


def frame(size: tuple[int, int]) -> np.ndarray:
    return np.random.default_rng(sum(size)).integers(0, 256, (*size, 3), np.uint8)


def raw(detector: GroundingDino, image: np.ndarray, caption: str) -> tuple[np.ndarray, np.ndarray]:
    """Token scores and boxes of every query."""
    with torch.inference_mode():
        [(scores_QT, boxes_Q4)] = detector._scored([detector.network.prepare(image)], [detector.encode(caption)])
    return scores_QT.numpy(), boxes_Q4.numpy()


@pytest.mark.parametrize("caption", CAPTIONS.values(), ids=CAPTIONS)
@pytest.mark.parametrize("size", SIZES[:2], ids=str)
def test_same_weights_give_the_same_boxes_and_token_scores(
    pair: list[GroundingDino], size: tuple[int, int], caption: str
) -> None:
    (scores, boxes), (scores_too, boxes_too) = (raw(detector, frame(size), caption) for detector in pair)
    order = matched(np.hstack([boxes, scores]), np.hstack([boxes_too, scores_too]))
    np.testing.assert_allclose(scores_too[order], scores, rtol=0, atol=1e-4)
    np.testing.assert_allclose(boxes_too[order], boxes, rtol=0, atol=1e-4)
    assert scores.std() > 0.05 and boxes.std(0).min() > 1e-3  # or equality would say nothing


def test_detections_are_the_same(pair: list[GroundingDino]) -> None:
    frames, captions = [frame(size) for size in SIZES[:2]], list(CAPTIONS.values())[:3]
    ours, theirs = (detector.detect(frames, captions) for detector in pair)
    for row, other_row in zip(ours, theirs, strict=True):
        for found, other in zip(row, other_row, strict=True):
            order = matched(found.boxes_N4, other.boxes_N4)
            np.testing.assert_allclose(other.boxes_N4[order], found.boxes_N4, rtol=0, atol=0.02)  # pixels
            np.testing.assert_allclose(other.scores_N, found.scores_N, rtol=0, atol=1e-4)
            assert sorted(other.phrases) == sorted(found.phrases) and "" not in found.phrases


def test_heads_of_their_own_for_each_decoder_layer(tmp_path: Path) -> None:
    built = build_wide(tmp_path, decoder_bbox_embed_share=False)
    (scores, boxes), (scores_too, boxes_too) = (
        raw(load(built, backend), frame(SIZES[0]), "a dog") for backend in BACKENDS
    )
    order = matched(boxes, boxes_too)
    np.testing.assert_allclose(scores_too[order], scores, rtol=0, atol=1e-4)
    np.testing.assert_allclose(boxes_too[order], boxes, rtol=0, atol=1e-4)


# ---------------------------------------------------------------- images


@pytest.mark.parametrize("size", SIZES, ids=str)
def test_pixels_are_the_same_to_the_bit(pair: list[GroundingDino], size: tuple[int, int]) -> None:
    ours, theirs = (detector.network.prepare(frame(size)) for detector in pair)
    assert torch.equal(ours.pixel_values, theirs.tensors)
    assert torch.equal(ours.pixel_mask.bool(), ~theirs.mask)


@settings(max_examples=100, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(st.integers(40, 2500), st.integers(40, 2500))
def test_the_size_is_the_packages(height: int, width: int) -> None:
    from groundingdino.datasets.transforms import RandomResize
    from PIL import Image

    resized, _ = RandomResize([200], max_size=333)(Image.new("L", (width, height)), None)
    assert published_size(height, width, 200, 333) == resized.size[::-1]


@pytest.mark.parametrize(
    ("size", "resized"), [((480, 854), (749, 1332)), ((720, 1280), (750, 1333)), ((375, 500), (800, 1066))]
)
def test_published_sizes(size: tuple[int, int], resized: tuple[int, int]) -> None:
    assert published_size(*size, 800, 1333) == resized


# ---------------------------------------------------------------- captions


@pytest.mark.parametrize("caption", ["", "  ", ".", "?.", "..."])
def test_caption_without_a_word_is_the_same_error(pair: list[GroundingDino], caption: str) -> None:
    said = []
    for detector in pair:
        with pytest.raises(ValueError, match="has no word") as caught:
            detector.detect([frame(SIZES[0])], [caption])
        said.append(str(caught.value))
    assert said[0] == said[1]


def test_long_caption_is_cut_alike(pair: list[GroundingDino], caplog: pytest.LogCaptureFixture) -> None:
    for detector in pair:
        caplog.clear()
        with caplog.at_level(logging.WARNING):
            (found,) = detector.detect([frame(SIZES[0])], [CAPTIONS["long"]])[0]
        assert "reads 256" in caplog.text
        assert len(found.token_scores[0]) == 256 - 3  # [CLS], the closing "." and [SEP]


def test_closing_separators_get_the_next_position() -> None:
    #                    [CLS] a   b  .  .  c  ?  d  .  [SEP]
    ids = torch.tensor([[101, 5000, 6000, 1012, 1012, 7000, 1029, 8000, 1012, 102]])
    as_published = torch.tensor([[0, 0, 1, 2, 0, 0, 1, 0, 1, 0]])
    old = torch.tensor([[0, 0, 1, 0, 0, 0, 0, 0, 0, 0]])  # transformers up to 5.22
    separators = [101, 102, 1012, 1029]
    assert torch.equal(_close_phrases(old, ids, separators), as_published)
    assert torch.equal(_close_phrases(as_published, ids, separators), as_published)


def test_transformers_is_left_as_it_was() -> None:
    from transformers.models.grounding_dino import modeling_grounding_dino as module

    before = dict(vars(module))
    with pytest.raises(KeyError), published_positions():
        assert vars(module) != before
        raise KeyError
    assert vars(module) == before


# ---------------------------------------------------------------- checkpoints


def test_a_published_pth_loads_in_both(folder: Path, pair: list[GroundingDino], tmp_path: Path) -> None:
    place = describe(folder, tmp_path / "pth")
    state = {f"module.{name}": tensor for name, tensor in package_state(folder).items()}
    state["module.label_enc.weight"] = torch.zeros(3, 256)  # what the published files hold besides
    state["module.bert.embeddings.position_ids"] = torch.arange(256)[None]
    state["module.bert.pooler.dense.weight"] = torch.zeros(32, 32)
    state["module.backbone.0.layers.0.blocks.0.attn.relative_position_index"] = torch.zeros(16, 16, dtype=torch.int64)
    torch.save({"model": state}, place / "groundingdino_swint_ogc.pth")
    for backend, detector in zip(BACKENDS, pair):
        loaded = load(place, backend)
        for found, expected in zip(raw(loaded, frame(SIZES[0]), "a dog"), raw(detector, frame(SIZES[0]), "a dog")):
            assert np.array_equal(found, expected)
        alone = load(place / "groundingdino_swint_ogc.pth", backend)  # by its own name
        assert np.array_equal(raw(alone, frame(SIZES[0]), "a dog")[1], raw(detector, frame(SIZES[0]), "a dog")[1])


def test_converted_there_and_back_every_tensor_is_the_same(folder: Path, tmp_path: Path) -> None:
    there, back = tmp_path / "there.pth", tmp_path / "back"
    assert convert_command([str(folder), str(there)]) == 0
    assert convert_command([str(there), str(back), "--like", str(folder)]) == 0
    before, after = load_file(folder / "model.safetensors"), load_file(back / "model.safetensors")
    unused = {f"model.backbone.conv_encoder.model.swin.layernorm.{kind}" for kind in ("weight", "bias")}
    assert before.keys() - unused == after.keys()
    assert all(torch.equal(before[name], after[name]) for name in after)
    described = {path.name for path in folder.glob("*.json")}
    assert {path.name for path in back.iterdir()} == described | {"model.safetensors"}
    assert load_detector(weights(back), prompts("groundingdino"), "cpu", 8)
    assert not list(tmp_path.glob(".*")), "temporary files are gone"


def test_the_packages_file_loads_strictly_in_its_model(folder: Path, pair: list[GroundingDino]) -> None:
    from stages.prompting.grounding_dino.checkpoint import read_config
    from stages.prompting.grounding_dino.package_backend import build_model

    model = build_model(read_config(folder), pair[1].tokenizer, folder)
    loading = model.load_state_dict(package_state(folder), strict=False)
    assert not loading.unexpected_keys
    assert all(name.endswith("relative_position_index") for name in loading.missing_keys)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["{folder}", "{folder}"], "exists already"),
        (["{tmp}/nowhere", "{tmp}/out"], "does not exist"),
        (["{folder}/model.safetensors", "{tmp}/out", "--like", "{tmp}"], "has no config.json"),
    ],
)
def test_the_command_says_what_is_wrong(
    folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], arguments: list[str], message: str
) -> None:
    assert convert_command([text.format(folder=folder, tmp=tmp_path) for text in arguments]) == 2
    assert message in capsys.readouterr().err
    assert not list(tmp_path.iterdir())
