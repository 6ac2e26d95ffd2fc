"""A context that several questions share is encoded once, and each question's answer is that of a pass of its own."""

import logging
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from support.tiny_models import MLLMS

from stages.core.run.batches import Batches
from stages.evidence.backends.prefix import Joined, PrefixPasses
from stages.evidence.backends.transformers import FEWEST_OF_LEAD, LocalJudge, Sharing, cut, load_judge
from stages.evidence.questions import Parts, Picture, Question, Reply
from stages.micro.mllm import build_random_mllm


def picture(seed: int, size: tuple[int, int] = (60, 80)) -> Picture:
    return Picture(np.random.default_rng(seed).integers(0, 256, (*size, 3), np.uint8))


NOTHING, CONTEXT, LEAD = Sharing
CONTEXTS: dict[str, Parts] = {
    "pictures and words": ("Frames: ", picture(0), picture(1, (90, 50)), "Object 1: moves left. Object 2:"),
    "a picture": (picture(2),),
    "words": ("Object 1 moves left. Object 2 stays still.",),
}
TAILS: dict[str, list[Parts]] = {
    "words": [("is it red?",), (" is it the one that moves left and turns?",), ("1?",)],
    "pictures": [(picture(3), "is it?"), ("\nno picture",), ("x", picture(4, (50, 120)), picture(5), "which one?")],
}


def load(folder: Path, per_pass: int = 8) -> LocalJudge:
    return load_judge(folder, "cpu", "float32", Batches(per_pass, "questions"))


@pytest.fixture(scope="module", params=MLLMS)
def family(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> LocalJudge:
    return load(MLLMS[request.param](tmp_path_factory.mktemp("mllm") / request.param))


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return build_random_mllm(tmp_path_factory.mktemp("weights") / "mllm", 0)


class Passes:
    """Shapes of the tokens of every forward pass of a judge's model."""

    def __init__(self, judge: LocalJudge) -> None:
        self.shapes: list[tuple[int, int]] = []
        self.images = 0
        judge.model.register_forward_pre_hook(self._note, with_kwargs=True)

    def _note(self, module: Any, args: Any, kwargs: dict[str, Any]) -> None:
        self.shapes.append(tuple(kwargs["input_ids"].shape))
        self.images += len(kwargs.get("image_grid_thw", ()))


def logits_alone(judge: LocalJudge, question: Question) -> torch.Tensor:
    inputs = judge.chats.prepare([question])
    return judge.model(**inputs, use_cache=False).logits[0, -1]


# ---------------------------------------------------------------- the same answers


@pytest.mark.parametrize("tails", TAILS)
@pytest.mark.parametrize("context", CONTEXTS)
def test_logits_are_those_of_separate_passes(family: LocalJudge, context: str, tails: str) -> None:
    questions = [Question(CONTEXTS[context], asked) for asked in TAILS[tails]]
    with torch.inference_mode():
        shared_BV = family.prefixes.logits(questions)
        alone_BV = torch.stack([logits_alone(family, question) for question in questions])
        one_BV = family.prefixes.logits(questions[1:2])
    torch.testing.assert_close(shared_BV, alone_BV, atol=1e-4, rtol=0)
    torch.testing.assert_close(one_BV, alone_BV[1:2], atol=1e-4, rtol=0)
    assert (alone_BV[0] - alone_BV[1]).abs().max() > 0.1


LEADS: dict[str, Parts] = {
    "a picture": (" object 2:", picture(6), " is 2. Where is it?"),
    "words": (" object 2: moves left. It is 2.",),
}


@pytest.mark.parametrize("lead", LEADS)
@pytest.mark.parametrize("context", [*CONTEXTS, ""])
def test_a_lead_that_questions_share_changes_no_logits(family: LocalJudge, context: str, lead: str) -> None:
    words = [
        " does it fit: the red one?",
        "\nyes or no",
        " 2 or 3? it moves left and then right, or is it the other one",
    ]
    questions = [Question(CONTEXTS.get(context, ()), (*LEADS[lead], text)) for text in words]
    with torch.inference_mode():
        shared_BV = family.prefixes.logits(questions, with_lead=True)
        alone_BV = torch.stack([logits_alone(family, question) for question in questions])
    torch.testing.assert_close(shared_BV, alone_BV, atol=1e-4, rtol=0)
    assert (alone_BV[0] - alone_BV[1]).abs().max() > 0.1


def test_answers_do_not_depend_on_neighbours(family: LocalJudge) -> None:
    questions = [Question(c, a) for c in CONTEXTS.values() for tails in TAILS.values() for a in tails]
    together = family.answer(questions)
    assert family.sharing
    for question, reply in zip(questions, together, strict=True):
        same(reply, family.answer([question])[0])
        same(reply, family.answer([questions[0], question, question])[1])


def same(left: Reply, right: Reply) -> None:
    assert left.scores == pytest.approx(right.scores, abs=1e-4) and left.mass == pytest.approx(right.mass, abs=1e-4)


# ---------------------------------------------------------------- once, and in passes that are cut alike


def test_a_context_is_encoded_once_for_all_passes(folder: Path) -> None:
    judge = load(folder, per_pass=3)
    context = CONTEXTS["pictures and words"]
    judge.answer(
        [Question(CONTEXTS["a picture"], (f"is it number {n}?",)) for n in range(2)]
    )  # checked by a whole pass
    passes = Passes(judge)
    first = [Question(context, (f"is it number {n}?",)) for n in range(4)]
    equal = tuple(Picture(part.pixels_HW3.copy()) if isinstance(part, Picture) else part for part in context)
    judge.answer(first)
    judge.answer([Question(equal, (f"is it number {n}?",)) for n in range(4, 8)])
    batches = [batch for batch, _ in passes.shapes]
    assert batches == [1, 3, 1, 3, 1], "the context, and its questions three at a time"
    assert passes.images == 2
    lengths = [length for _, length in passes.shapes]
    assert max(lengths[1:]) < lengths[0] / 2, "what comes after the context is short"


def test_a_lead_is_encoded_once_behind_its_context(folder: Path) -> None:
    judge = load(folder, per_pass=4)
    questions = [
        Question(CONTEXTS["pictures and words"], (*lead, f" is it number {n}?"))
        for lead in LEADS.values()
        for n in range(8)
    ]
    judge.answer(questions)  # some are checked by whole passes
    passes = Passes(judge)
    first = judge.answer(questions[:8])
    second = judge.answer(questions[8:])
    lengths = [length for _, length in passes.shapes]
    assert [batch for batch, _ in passes.shapes] == [1, 4, 4, 1, 4, 4], (
        "the context was kept; each lead, and its questions"
    )
    assert max(lengths[1:3]) < lengths[0] and passes.images == 1
    for question, reply in zip(questions, [*first, *second], strict=True):
        same(reply, judge.whole_pass([question])[0])


def test_a_resumed_run_gives_the_same_bytes(folder: Path) -> None:
    questions = [Question(c, (f"is it number {n}?",)) for c in CONTEXTS.values() for n in range(5)]
    judge = load(folder, per_pass=4)
    passes = [questions[start : start + 4] for start in range(0, len(questions), 4)]
    whole = [judge.answer(part) for part in passes]
    resumed = load(folder, per_pass=4)
    assert [resumed.answer(part) for part in passes[2:]] == whole[2:]


def test_neighbours_with_a_context_are_cut_together() -> None:
    a, b = CONTEXTS["a picture"], CONTEXTS["words"]
    texts = [(a, "1"), (a, "2"), (b, "3"), ((), "4"), ((), "5"), (a, "6"), (b, "7"), (b, "8"), (a, "9")]
    questions = [Question(context, (text,)) for context, text in texts]
    assert cuts(questions) == [(CONTEXT, "12"), (NOTHING, "3456"), (CONTEXT, "78"), (NOTHING, "9")]
    assert cuts([]) == []


def test_neighbours_with_a_lead_are_cut_together_where_they_are_many() -> None:
    a, n = CONTEXTS["a picture"], FEWEST_OF_LEAD
    many = [Question(a, ("object 1", "k")) for _ in range(n)]
    few = [Question(a, ("object 2", "l")) for _ in range(n - 1)]
    assert cuts([*many, *few]) == [(LEAD, "k" * n), (CONTEXT, "l" * (n - 1))]
    assert cuts([*few, *many, *few]) == [(CONTEXT, "l" * (n - 1)), (LEAD, "k" * n), (CONTEXT, "l" * (n - 1))]
    bare = [Question((), question.asked) for question in (*many, *few)]
    assert cuts(bare) == [(LEAD, "k" * n), (NOTHING, "l" * (n - 1))]


def cuts(questions: Sequence[Question]) -> list[tuple[Sharing, str]]:
    return [(sharing, "".join(str(q.asked[-1]) for q in part)) for sharing, part in cut(questions)]


# ---------------------------------------------------------------- models and questions that cannot share


def whole_answers(folder: Path, questions: Sequence[Question]) -> list[Reply]:
    judge = load(folder)
    return [judge.whole_pass([question])[0] for question in questions]


@pytest.mark.parametrize("fault", ["positions", "cache", "template"])
def test_a_model_that_cannot_share_gets_whole_passes_and_says_so_once(
    folder: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture, fault: str
) -> None:
    judge = load(folder)
    if fault == "positions":  # text positions where M-RoPE's belong
        monkeypatch.setattr(
            PrefixPasses,
            "_positions",
            lambda self, whole, offset: {"position_ids": (whole["attention_mask"].cumsum(-1) - 1)[:, offset:]},
        )
    elif fault == "cache":

        def no_cache(module: Any, args: Any, output: Any) -> Any:
            output.past_key_values = None
            return output

        judge.model.register_forward_hook(no_cache)
    else:
        judge.processor.chat_template = "{{ messages[0].content | length }}" + judge.processor.chat_template
    questions = [Question(CONTEXTS["pictures and words"], asked) for asked in TAILS["pictures"]]
    with caplog.at_level(logging.WARNING):
        replies = [judge.answer(questions), judge.answer(questions)]
    assert not judge.sharing and caplog.text.count("every question is encoded from its beginning") == 1
    for question, left, right in zip(questions, *replies, strict=True):
        assert left == right
        same(left, judge.whole_pass([question])[0])


def test_words_that_go_over_the_end_of_a_context_are_read_as_a_whole(folder: Path, caplog: Any) -> None:
    judge = load(folder)
    context = (picture(0), "the dog is mov")
    questions = [Question(context, ("ing left?",)), Question(context, ("es right?",))]
    with pytest.raises(Joined):
        judge.prefixes.logits(questions)
    replies = judge.answer(questions)
    assert judge.sharing and not caplog.records
    for reply, expected in zip(replies, whole_answers(folder, questions), strict=True):
        same(reply, expected)
    sharing = [Question(context, ("x left?",)), Question(context, ("x right?",))]
    for reply, expected in zip(judge.answer(sharing), whole_answers(folder, sharing), strict=True):
        same(reply, expected)
