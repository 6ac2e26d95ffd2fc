"""Random models of the real classes with the vocabularies of the published ones load and answer, whatever is shown."""

import json
import math
from pathlib import Path

import pytest
from support.scenes import eight_squares
from support.tiny_models import FULL_VOCABULARY, MLLMS, widen

from stages.core.run.batches import Batches
from stages.evidence.backends.transformers import LocalJudge, load_judge
from stages.evidence.prompts import ask_of_block
from stages.evidence.questions import Question
from stages.evidence.views.compose import compose
from stages.evidence.views.table import VIEWS

SIDE, CARD, FRAMES = 96, 56, (0, 3, 5)


@pytest.fixture(scope="module", params=FULL_VOCABULARY)
def judge(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> LocalJudge:
    size = FULL_VOCABULARY[request.param]
    folder: Path = widen(MLLMS[request.param](tmp_path_factory.mktemp("mllm") / request.param), size)
    assert json.loads((folder / "config.json").read_text())["text_config"]["vocab_size"] == size
    return load_judge(folder, "cpu", "float32", Batches(4, "questions"))


@pytest.mark.parametrize("names", [*((name,) for name in VIEWS), tuple(VIEWS)], ids="+".join)
def test_every_view_is_answered(judge: LocalJudge, names: tuple[str, ...]) -> None:
    scene = eight_squares((48, 64), 6).only([0, 5])
    shown = compose([VIEWS[name](SIDE, CARD) for name in names], scene, FRAMES)
    words = [ask_of_block("the red square that moves left", n + 1) for n in range(2)]
    options = (("yes", "no"), ("1", "2", "all"))
    questions = [
        Question(shown.context, (*shown.about(n), way), options[n]) for n, pair in enumerate(words) for way in pair
    ]
    replies = judge.answer(questions)
    assert judge.sharing
    for question, reply in zip(questions, replies, strict=True):
        assert len(reply.scores) == len(question.options) and reply.is_finite and reply.kind == "logprobs"
        assert 0 < reply.mass < 0.5, "most of a random model's mass is on other words"
        assert reply.mass == pytest.approx(sum(map(math.exp, reply.scores)), rel=1e-4)
