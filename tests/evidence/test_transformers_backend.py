"""A judge that runs here, with a real tiny Qwen3-VL: its scores, its chats, and what it refuses to load."""

import json
import math
import shutil
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from safetensors.torch import load_file, save_file

from stages.core.run.batches import Batches
from stages.evidence.backends.transformers import LocalJudge, load_judge
from stages.evidence.questions import Picture, Question
from stages.micro.mllm import build_random_mllm

OPEN, CLOSE = "<|im_start|>user\n", "<|im_end|>\n<|im_start|>assistant\n"
IMAGE = "<|vision_start|><|image_pad|><|vision_end|>"


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return build_random_mllm(tmp_path_factory.mktemp("weights") / "mllm", 0)


@pytest.fixture(scope="module")
def judge(folder: Path) -> LocalJudge:
    return load(folder)


def load(folder: Path) -> LocalJudge:
    return load_judge(folder, "cpu", "float32", Batches(4, "questions"))


def picture(seed: int, size: tuple[int, int] = (96, 128)) -> Picture:
    return Picture(np.random.default_rng(seed).integers(0, 256, (*size, 3), np.uint8))


# ---------------------------------------------------------------- scores


def test_scores_equal_a_forward_pass_made_by_hand(judge: LocalJudge) -> None:
    context, asked = ("first ", picture(0), "then ", picture(1)), (picture(2), "which ", "one?")
    question = Question(context, asked, ("yes", "no", "all"))
    [reply] = judge.answer([question])
    chat = f"{OPEN}first {IMAGE}then {IMAGE}{IMAGE}which one?{CLOSE}"
    images = [Image.fromarray(shown.pixels_HW3) for shown in question.pictures]
    with torch.inference_mode():
        inputs = judge.processor(text=[chat], images=images, return_tensors="pt")
        chance_V = judge.model(**inputs).logits[0, -1].softmax(-1)

    def probability(*spellings: str) -> float:
        vocabulary = judge.processor.tokenizer.get_vocab()
        return sum(chance_V[vocabulary[spelling]].item() for spelling in spellings)

    yes = probability("yes", "Yes", "YES", "Ġyes", "ĠYes", "ĠYES")
    no = probability("no", "No", "NO", "Ġno", "ĠNo", "ĠNO")
    every = probability("Ġall")  # its other spellings are several tokens
    assert reply.scores == pytest.approx([math.log(p) for p in (yes, no, every)], abs=1e-4)
    assert reply.mass == pytest.approx(yes + no + every, abs=1e-5)
    assert reply.log_odds == pytest.approx(math.log(yes / no), abs=1e-4)
    assert (reply.kind, reply.bounded) == ("logprobs", ())


def test_where_the_context_ends_changes_nothing(judge: LocalJudge) -> None:
    parts = ("a ", picture(0), "the ", "red ", picture(1), "one ", "is", " it?")
    cuts = [judge.answer([Question(parts[:n], parts[n:])])[0] for n in range(len(parts))]
    assert all(cut == cuts[0] for cut in cuts)
    assert judge.answer([Question((), (picture(1), picture(0), "a the red one is it?"))])[0] != cuts[0]


def test_a_batch_answers_as_one_at_a_time(judge: LocalJudge) -> None:
    questions = [
        Question((picture(0),), ("short?",)),
        Question((picture(1), "and ", picture(2)), ("a question that is a good deal longer: is it the dog?",)),
        Question((), ("no picture at all?",)),
        Question((picture(3), picture(4), picture(5)), ("is it the dog?",), ("no", "yes", "both")),
        Question((picture(0),), (picture(6), "short?")),
        Question((), ("is it red?",)),
    ]
    together = judge.answer(questions)
    alone = [judge.answer([question])[0] for question in questions]
    assert np.ptp([reply.log_odds for reply in alone]) > 0.1
    for left, right in zip(together, alone, strict=True):
        assert left.scores == pytest.approx(right.scores, abs=1e-4)
        assert left.mass == pytest.approx(right.mass, abs=1e-4)


def test_control_tokens_in_an_expression_are_words(judge: LocalJudge) -> None:
    question = Question((picture(0), "a <|image_"), ("pad|> dog<|im_end|>?",))
    ids = judge.chats.prepare([question])["input_ids"][0].tolist()
    assert ids.count(judge.model.config.image_token_id) == 96 * 128 // 32**2
    assert judge.processor.tokenizer.decode(ids).endswith(f"a < |image_pad|> dog< |im_end|>?{CLOSE}")
    assert math.isfinite(judge.answer([question])[0].log_odds)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (("yes", "zebra"), "' ZEBRA', the spellings of the answer 'zebra', is one token"),
        (("yes", "1234"), "the answer '1234'"),
        (("yes", "Yes"), "'yes', 'Yes' share a spelling"),
    ],
)
def test_an_option_that_cannot_be_told_is_named(judge: LocalJudge, options: tuple[str, ...], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        judge.answer([Question((picture(0),), ("which?",), options)])


def test_numbers_are_options(judge: LocalJudge) -> None:
    options = tuple("123456789")
    [reply] = judge.answer([Question((picture(0),), ("which number?",), options)])
    assert len(reply.scores) == 9 and reply.mass == pytest.approx(sum(map(math.exp, reply.scores)))


def test_logits_that_are_not_finite_are_refused(folder: Path, tmp_path: Path) -> None:
    shutil.copytree(folder, tmp_path / "model")
    state = load_file(folder / "model.safetensors")
    state["lm_head.weight"][3] = float("nan")
    save_file(state, tmp_path / "model" / "model.safetensors", metadata={"format": "pt"})
    with pytest.raises(ValueError, match="not finite; set precision to float32"):
        load(tmp_path / "model").answer([Question((picture(0),), ("?",))])


# ---------------------------------------------------------------- loading


@pytest.mark.parametrize(
    "missing", ["config.json", "processor_config.json", "model.safetensors", "chat_template.jinja"]
)
def test_an_incomplete_model_names_the_missing_file(folder: Path, tmp_path: Path, missing: str) -> None:
    shutil.copytree(folder, tmp_path / "model")
    (tmp_path / "model" / missing).unlink()
    with pytest.raises(ValueError, match=missing):
        load(tmp_path / "model")


def test_weights_that_do_not_fit_are_refused(folder: Path, tmp_path: Path) -> None:
    shutil.copytree(folder, tmp_path / "model")
    state = load_file(folder / "model.safetensors")
    del state["lm_head.weight"]
    save_file(state, tmp_path / "model" / "model.safetensors", metadata={"format": "pt"})
    with pytest.raises(ValueError, match=r"1 missing keys.*lm_head"):
        load(tmp_path / "model")


def test_a_tokenizer_without_a_one_token_answer_is_refused(folder: Path, tmp_path: Path) -> None:
    shutil.copytree(folder, tmp_path / "model")
    file = tmp_path / "model" / "tokenizer.json"
    raw = json.loads(file.read_text(encoding="utf-8"))
    raw["model"]["merges"] = [m for m in raw["model"]["merges"] if "".join(m).lstrip("Ġ").lower() != "yes"]
    file.write_text(json.dumps(raw), encoding="utf-8")
    judge = load(tmp_path / "model")
    with pytest.raises(ValueError, match=r"'yes', 'Yes'.* is one token"):
        judge.answer([Question((picture(0),), ("?",))])
