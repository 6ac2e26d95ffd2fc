"""The GroundingDINO backend, held against transformers' own processor and model, on tiny random weights."""

import hashlib
import json
import logging
import random
import string
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays
from support.detectors import matched

from stages.core.config.file import Model
from stages.core.state.weights import Weights
from stages.micro.grounding_dino import build_random_grounding_dino, vocabulary
from stages.micro.text import build_random_text
from stages.prompting.frame_choice import FrameChoice
from stages.prompting.grounding_dino.detector import GroundingDino, load_detector, normalise, to_pixels
from stages.prompting.grounding_dino.settings import GroundingDinoPrompts
from stages.prompting.grounding_dino.transformers_backend import published_positions

CAPTIONS = ["The red circle moving left", "two dogs, run away. a zebra? yes", "zzyzx"]


def prompts(**over: Any) -> GroundingDinoPrompts:
    base = {"box_threshold": 0.0, "text_threshold": 0.0, "max_boxes": 100, "stability_min": 0.0}
    base |= {"precision": "float32"}
    base |= {"backend": "transformers"}
    return GroundingDinoPrompts(frames=FrameChoice(step=4, count=None), **{**base, **over})


def weights(folder: Path) -> Weights:
    return Weights(folder, "id", Model(hub=None, revision=None, files=[], seed=0, path=None, license=None))


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return build_random_grounding_dino(tmp_path_factory.mktemp("dino"), 0)


@pytest.fixture(scope="module")
def detector(folder: Path) -> GroundingDino:
    loaded = load_detector(weights(folder), prompts(), "cpu", 8)
    assert isinstance(loaded, GroundingDino)
    return loaded


@pytest.fixture(scope="module")
def frames() -> list[np.ndarray]:
    generator = np.random.default_rng(0)
    return [generator.integers(0, 256, shape, np.uint8) for shape in ((96, 128, 3), (130, 70, 3))]


@pytest.fixture(scope="module")
def reference(folder: Path) -> Any:
    """transformers' own way from image and text to boxes."""
    from transformers import AutoProcessor, GroundingDinoForObjectDetection, GroundingDinoImageProcessorPil

    processor = AutoProcessor.from_pretrained(folder, local_files_only=True)
    processor.image_processor = GroundingDinoImageProcessorPil.from_pretrained(folder, local_files_only=True)
    model = GroundingDinoForObjectDetection.from_pretrained(folder, local_files_only=True).eval()

    def run(frame: np.ndarray, caption: str) -> tuple[Any, Any, list[str]]:
        inputs = processor(images=frame, text=caption, return_tensors="pt")
        with torch.inference_mode(), published_positions():
            outputs = model(**inputs)
        result = processor.post_process_grounded_object_detection(
            outputs, threshold=0.0, text_threshold=0.0, target_sizes=[frame.shape[:2]]
        )[0]
        return result, outputs.logits[0].sigmoid(), processor.tokenizer.convert_ids_to_tokens(inputs["input_ids"][0])

    return run


@pytest.mark.parametrize("which", [0, 1])
@pytest.mark.parametrize("caption", CAPTIONS)
def test_boxes_and_scores_are_those_of_transformers(
    detector: GroundingDino, reference: Any, frames: list[np.ndarray], which: int, caption: str
) -> None:
    frame = frames[which]
    found = detector.detect([frame], [caption])[0][0]
    result, scores_QT, tokens = reference(frame, normalise(caption))
    words = [i for i, token in enumerate(tokens) if token not in ("[CLS]", "[SEP]", ".", "?")]
    height, width = frame.shape[:2]
    boxes_Q4 = result["boxes"].numpy().clip(0, [width, height, width, height])
    scores = np.array(found.token_scores, np.float32)
    order = matched(np.hstack([found.boxes_N4, scores]), np.hstack([boxes_Q4, scores_QT[:, words].numpy()]))
    np.testing.assert_allclose(found.boxes_N4, boxes_Q4[order], atol=1e-3)
    np.testing.assert_allclose(scores, scores_QT[order][:, words].numpy(), rtol=0, atol=1e-5)
    np.testing.assert_array_equal(found.scores_N, scores.max(1))


def test_detections_have_the_promised_form(detector: GroundingDino, frames: list[np.ndarray]) -> None:
    rows = detector.detect(frames, CAPTIONS)
    assert [len(row) for row in rows] == [len(CAPTIONS)] * len(frames)
    for frame, row in zip(frames, rows):
        for found in row:
            assert found.boxes_N4.dtype == found.scores_N.dtype == np.float32
            assert len(found.boxes_N4) == len(found.scores_N) == len(found.token_scores) == len(found.phrases) > 0
            assert (np.diff(found.scores_N) <= 0).all()
            height, width = frame.shape[:2]
            assert (found.boxes_N4 >= 0).all() and (found.boxes_N4 <= [width, height, width, height]).all()
            assert (found.boxes_N4[:, :2] <= found.boxes_N4[:, 2:]).all()


def test_a_result_hardly_depends_on_what_else_is_asked(detector: GroundingDino, frames: list[np.ndarray]) -> None:
    together = detector.detect(frames, CAPTIONS)
    for i, frame in reversed(list(enumerate(frames))):
        for j, caption in reversed(list(enumerate(CAPTIONS))):
            (alone,) = detector.detect([frame], [caption])[0]
            order = matched(alone.boxes_N4, together[i][j].boxes_N4)
            np.testing.assert_allclose(alone.boxes_N4, together[i][j].boxes_N4[order], atol=1e-3)
            scores = np.array(together[i][j].token_scores)[order]
            np.testing.assert_allclose(np.array(alone.token_scores), scores, rtol=0, atol=1e-5)
    assert not np.array_equal(together[0][0].scores_N, together[1][0].scores_N)


def test_equal_calls_give_equal_bytes(detector: GroundingDino, frames: list[np.ndarray]) -> None:
    once, again = (detector.detect(frames, CAPTIONS) for _ in range(2))
    for row, other_row in zip(once, again, strict=True):
        for found, other in zip(row, other_row, strict=True):
            assert found.boxes_N4.tobytes() == other.boxes_N4.tobytes() and found.token_scores == other.token_scores


def test_the_image_backbone_runs_once_a_frame(detector: GroundingDino, frames: list[np.ndarray]) -> None:
    calls = []
    inner = detector.network.model.model.backbone.backbone
    handle = inner.register_forward_hook(lambda *_: calls.append(1))
    try:
        detector.detect(frames, CAPTIONS)
    finally:
        handle.remove()
    assert len(calls) == len(frames)


def test_thresholds_and_the_cap(folder: Path, detector: GroundingDino, frames: list[np.ndarray]) -> None:
    (everything,) = detector.detect(frames[:1], CAPTIONS[:1])[0]
    middle = float(everything.scores_N[len(everything.scores_N) // 2])
    strict = load_detector(weights(folder), prompts(box_threshold=middle, text_threshold=middle), "cpu", 8)
    (found,) = strict.detect(frames[:1], CAPTIONS[:1])[0]
    above = int((everything.scores_N > middle).sum())
    assert 0 < above < len(everything.scores_N)
    assert np.array_equal(found.boxes_N4, everything.boxes_N4[:above])
    words = ["the", "red", "circle", "moving", "left"]
    for phrase, scores in zip(found.phrases, found.token_scores):
        assert phrase == " ".join(word for word, score in zip(words, scores) if score > middle)

    capped = load_detector(weights(folder), prompts(max_boxes=3), "cpu", 8)
    assert np.array_equal(capped.detect(frames[:1], CAPTIONS[:1])[0][0].boxes_N4, everything.boxes_N4[:3])

    none = load_detector(weights(folder), prompts(box_threshold=1.0), "cpu", 8).detect(frames[:1], CAPTIONS[:1])[0][0]
    assert none.boxes_N4.shape == (0, 4) and none.scores_N.shape == (0,) and none.phrases == none.token_scores == []


def test_phrases_leave_separators_out_and_join_word_pieces(detector: GroundingDino, frames: list[np.ndarray]) -> None:
    dotted, pieces = (detector.detect(frames[:1], [caption])[0][0] for caption in CAPTIONS[1:])
    assert dotted.phrases[0] == "two dogs, run away a zebra yes"
    assert pieces.phrases[0] == "zzyzx" and len(pieces.token_scores[0]) == 5  # one a letter


def test_sentences_between_dots_do_not_see_each_other(detector: GroundingDino) -> None:
    # The detector reads a caption with dots as a list; the text backbone gives "a dog" one encoding in all.
    def features(caption: str) -> torch.Tensor:
        seen: list[torch.Tensor] = []
        handle = detector.network.model.model.text_backbone.register_forward_hook(
            lambda _module, _inputs, output: seen.append(output.last_hidden_state)
        )
        try:
            detector.detect([np.zeros((64, 64, 3), np.uint8)], [caption])
        finally:
            handle.remove()
        return seen[0][0, 1:3]

    torch.testing.assert_close(features("a dog. runs"), features("a dog. stays away"), rtol=0, atol=1e-6)
    assert not torch.allclose(features("a dog runs"), features("a dog stays away"), atol=1e-3)


def test_normalise_is_the_published_one() -> None:
    assert normalise("  The Dog ") == "the dog."
    assert normalise("the dog.") == "the dog."


@pytest.mark.parametrize("caption", ["", "   ", ".", "?.", "..."])
def test_caption_without_a_word_is_an_error(detector: GroundingDino, frames: list[np.ndarray], caption: str) -> None:
    with pytest.raises(ValueError, match="has no word"):
        detector.detect(frames[:1], [caption])


def test_long_caption_is_cut_with_a_warning(
    detector: GroundingDino, frames: list[np.ndarray], caplog: pytest.LogCaptureFixture
) -> None:
    long = " ".join(["dog"] * 300)
    with caplog.at_level(logging.WARNING):
        (found,) = detector.detect(frames[:1], [long])[0]
    assert long in caplog.text and "reads 256" in caplog.text
    assert len(found.token_scores[0]) == 256 - 3  # [CLS], the closing "." and [SEP]
    (same,) = detector.detect(frames[:1], [" ".join(["dog"] * 253)])[0]
    assert same.token_scores == found.token_scores


@pytest.mark.parametrize(
    "frame", [np.zeros((8, 8), np.uint8), np.zeros((8, 8, 4), np.uint8), np.zeros((8, 8, 3), np.float32)]
)
def test_frame_that_is_no_image_is_an_error(detector: GroundingDino, frame: np.ndarray) -> None:
    with pytest.raises(ValueError, match="uint8, height × width × 3"):
        detector.detect([frame], ["dog"])


def test_bfloat16_is_for_cuda_alone(folder: Path, detector: GroundingDino, frames: list[np.ndarray]) -> None:
    half = load_detector(weights(folder), prompts(precision="bfloat16"), "cpu", 8)
    assert (
        half.detect(frames[:1], CAPTIONS)[0][0].token_scores == detector.detect(frames[:1], CAPTIONS)[0][0].token_scores
    )


@settings(deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(arrays.arrays(np.float32, (5, 4), elements=st.floats(0, 1, width=32)))
def test_boxes_in_pixels_lie_in_the_image(boxes_N4: np.ndarray) -> None:
    found_N4 = to_pixels(boxes_N4, (30, 40))
    assert found_N4.dtype == np.float32
    assert (found_N4 >= 0).all() and (found_N4 <= [40, 30, 40, 30]).all()
    assert (found_N4[:, :2] <= found_N4[:, 2:]).all()


def test_box_in_pixels_by_hand() -> None:
    boxes_N4 = np.array([[0.5, 0.5, 0.5, 0.2], [0.0, 1.0, 0.5, 0.5]], np.float32)
    np.testing.assert_allclose(to_pixels(boxes_N4, (30, 40)), [[10, 12, 30, 18], [0, 22.5, 10, 30]], atol=1e-5)


# ---------------------------------------------------------------- loading


def test_another_kind_of_model_is_refused(tmp_path: Path) -> None:
    build_random_text(tmp_path, 0)
    with pytest.raises(ValueError, match="model_type 'roberta', not 'grounding-dino'"):
        load_detector(weights(tmp_path), prompts(), "cpu", 8)


def test_missing_weights_are_refused(tmp_path: Path) -> None:
    from safetensors.torch import load_file, save_file

    build_random_grounding_dino(tmp_path, 0)
    state = load_file(tmp_path / "model.safetensors")
    del state["model.text_projection.weight"]
    save_file(state, tmp_path / "model.safetensors", {"format": "pt"})
    with pytest.raises(ValueError, match=r"it lacks model.text_projection.weight"):
        load_detector(weights(tmp_path), prompts(), "cpu", 8)


def test_tokenizer_with_other_ids_is_refused(tmp_path: Path) -> None:
    build_random_grounding_dino(tmp_path, 0)
    document = json.loads((tmp_path / "tokenizer.json").read_text())
    vocab = document["model"]["vocab"]
    vocab["."], vocab["?"] = vocab["?"], vocab["."]
    (tmp_path / "tokenizer.json").write_text(json.dumps(document))
    with pytest.raises(ValueError, match="tokenizer has the ids"):
        load_detector(weights(tmp_path), prompts(), "cpu", 8)


# ---------------------------------------------------------------- the tiny random model


def digests(folder: Path) -> dict[str, str]:
    return {path.name: hashlib.sha256(path.read_bytes()).hexdigest() for path in folder.iterdir()}


def test_equal_seeds_give_equal_bytes_and_leave_the_generators_alone(folder: Path, tmp_path: Path) -> None:
    torch.manual_seed(7)
    before = torch.get_rng_state(), random.getstate(), np.random.get_state()[1].tolist()
    again = build_random_grounding_dino(tmp_path / "again", 0)
    assert torch.equal(before[0], torch.get_rng_state())
    assert before[1] == random.getstate() and before[2] == np.random.get_state()[1].tolist()
    assert digests(again) == digests(folder)
    other = digests(build_random_grounding_dino(tmp_path / "other", 1))
    assert other["model.safetensors"] != digests(folder)["model.safetensors"]


def test_vocabulary_has_the_published_ids() -> None:
    ids = vocabulary()  # of bert-base-uncased
    published = {"[PAD]": 0, "[UNK]": 100, "[CLS]": 101, "[SEP]": 102, ".": 1012, "0": 1014, "?": 1029, "a": 1037}
    assert {token: ids[token] for token in published} == published
    assert sorted(ids.values()) == list(range(len(ids)))


@settings(max_examples=30, deadline=None)
@given(st.text(string.ascii_letters + string.digits + string.punctuation + " ", max_size=60))
def test_every_english_sentence_encodes_without_unknown_tokens(detector: GroundingDino, text: str) -> None:
    assert detector.tokenizer.unk_token_id not in detector.tokenizer(text)["input_ids"]
