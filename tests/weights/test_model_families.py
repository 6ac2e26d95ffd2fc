"""Text encoders and MLLMs of the families that users bring: written to disk, loaded offline, asked once."""

import json
import shutil
from pathlib import Path

import numpy as np
import pytest
import torch
from support.tiny_models import HIDDEN, MLLMS, POSITIONS, TEXT, as_old_sentence_transformers, as_sentence_transformers

from stages.core.run.batches import Batches
from stages.evidence.backends.transformers import LocalJudge, load_judge
from stages.evidence.questions import Picture, Question
from stages.selectors.text_encoder import TransformersTextEncoder

CAPTION = "the red circle moving left"


@pytest.fixture(scope="module", params=TEXT)
def text(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return TEXT[request.param](tmp_path_factory.mktemp("text") / request.param)


def test_word_features_are_the_transformers_last_hidden_state(text: Path) -> None:
    from transformers import AutoModel, AutoTokenizer

    with torch.no_grad():
        ids = AutoTokenizer.from_pretrained(text)(CAPTION, return_tensors="pt")
        expected_WD = AutoModel.from_pretrained(text).eval()(**ids).last_hidden_state[0].numpy()
    found = TransformersTextEncoder(text, 128, "cpu").encode(CAPTION, "here")
    assert len(expected_WD) >= len(CAPTION.split()) + 2  # with the two special tokens
    np.testing.assert_allclose(found.words_WD, expected_WD, atol=1e-6)
    np.testing.assert_allclose(found.mean_D, expected_WD.mean(0), atol=1e-6)
    assert np.ptp(found.words_WD, axis=0).max() > 0.1  # words differ


@pytest.mark.parametrize("layout", [as_sentence_transformers, as_old_sentence_transformers])
def test_folders_of_sentence_transformers_give_the_same_words(text: Path, tmp_path: Path, layout) -> None:
    folder = layout(Path(shutil.copytree(text, tmp_path / "sentence")))
    found = TransformersTextEncoder(folder, 128, "cpu").encode(CAPTION, "here")
    expected = TransformersTextEncoder(text, 128, "cpu").encode(CAPTION, "here")
    assert found.words_WD.tobytes() == expected.words_WD.tobytes()


@pytest.mark.parametrize("family", ["mpnet", "minilm"])
def test_captions_are_cut_at_the_models_own_positions(family: str, tmp_path: Path) -> None:
    found = TransformersTextEncoder(TEXT[family](tmp_path), 10_000, "cpu").encode("red " * 300, "here")
    assert found.words_WD.shape == (POSITIONS, HIDDEN)


def test_a_model_without_a_table_of_positions_is_refused(tmp_path: Path) -> None:
    from transformers import T5Config, T5Model

    folder = TEXT["minilm"](tmp_path)
    config = T5Config(vocab_size=99, d_model=16, d_kv=8, d_ff=16, num_layers=1, num_heads=2)
    T5Model(config).save_pretrained(folder)
    with pytest.raises(ValueError, match="has no table of positions"):
        TransformersTextEncoder(folder, 16, "cpu")


@pytest.mark.parametrize("change", ["missing", "unexpected", "mismatched"])
def test_weights_of_another_model_are_refused(change: str, tmp_path: Path) -> None:
    from safetensors.torch import load_file, save_file

    folder = TEXT["minilm"](tmp_path)
    file = folder / "model.safetensors"
    state = load_file(file)
    name = "encoder.layer.1.output.dense.weight"
    tensor = state.pop(name)
    state |= {"missing": {}, "unexpected": {name: tensor, "conv.weight": tensor + 0}, "mismatched": {name: tensor[:3]}}[
        change
    ]
    save_file(state, file, metadata={"format": "pt"})
    with pytest.raises(ValueError, match=f"1 {change} keys, first {'conv' if change == 'unexpected' else name}"):
        TransformersTextEncoder(folder, 16, "cpu")


def test_a_pooler_is_not_needed(tmp_path: Path) -> None:
    from safetensors.torch import load_file, save_file

    folder = TEXT["minilm"](tmp_path)
    expected = TransformersTextEncoder(folder, 16, "cpu").encode(CAPTION, "here").words_WD
    state = {n: t for n, t in load_file(folder / "model.safetensors").items() if not n.startswith("pooler.")}
    state["cls.predictions.bias"] = torch.zeros(9)
    save_file(state, folder / "model.safetensors", metadata={"format": "pt"})
    np.testing.assert_array_equal(TransformersTextEncoder(folder, 16, "cpu").encode(CAPTION, "here").words_WD, expected)


# ------------------------------------------------------------- MLLMs


@pytest.fixture(scope="module", params=MLLMS)
def judge(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> LocalJudge:
    folder = MLLMS[request.param](tmp_path_factory.mktemp("mllm") / request.param)
    loaded = load_judge(folder, "cpu", "float32", Batches(8, "questions"))
    assert json.loads((folder / "config.json").read_text())["model_type"] == request.param
    assert loaded.model.config.model_type == request.param
    return loaded


def picture(seed: int) -> Picture:
    return Picture(np.random.default_rng(seed).integers(0, 256, (60, 80, 3), np.uint8))


def test_an_mllm_of_every_family_answers_and_sees_the_image(judge: LocalJudge) -> None:
    ask = "is it a dog? answer with yes or no only."
    questions = [
        Question((picture(0),), (ask,)),
        Question((picture(1),), (ask,)),
        Question((picture(2), picture(3)), (f"These images are frames of one video. {ask}",)),
    ]
    together = judge.answer(questions)
    alone = [judge.answer([question])[0] for question in questions]
    assert all(np.isfinite(reply.log_odds) and 0 < reply.mass <= 1 for reply in together)
    assert abs(alone[0].log_odds - alone[1].log_odds) > 1e-3  # same words, another image
    for left, right in zip(together, alone, strict=True):
        assert left.log_odds == pytest.approx(right.log_odds, abs=1e-3)
