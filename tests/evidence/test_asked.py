"""Replies are kept by everything that they depend on, and nothing is asked twice; with a real tiny VLM."""

import json
from collections.abc import Sequence

import numpy as np
import pytest
from support.evidence import words_of

from stages.core.records import TrackId
from stages.core.run.batches import Batches
from stages.core.state.cache import Stamp, write_json
from stages.core.state.evidence_file import ExpressionEvidence, TrackEvidence, write_evidence
from stages.core.state.graph import GATHER_EVIDENCE
from stages.evidence.asked import Answer, Asked, key_of, replies_in
from stages.evidence.backends.transformers import load_judge
from stages.evidence.questions import Judge, PartlyAnswered, Picture, Question, Reply
from stages.micro.mllm import build_random_mllm

STAMP = Stamp(GATHER_EVIDENCE.name, GATHER_EVIDENCE.version, {"a": 1})


@pytest.fixture(scope="module")
def judge(tmp_path_factory) -> Judge:
    folder = build_random_mllm(tmp_path_factory.mktemp("weights") / "mllm", 0)
    return load_judge(folder, "cpu", "float32", Batches(8, "questions"))


def picture(seed: int, size: tuple[int, int] = (96, 128)) -> Picture:
    return Picture(np.random.default_rng(seed).integers(0, 256, (*size, 3), np.uint8))


def ask(seed: int, words: str) -> Question:
    return Question((picture(seed),), (words,))


class Counting:
    """A real judge that keeps what it is asked."""

    def __init__(self, judge: Judge) -> None:
        self.judge = judge
        self.asked: list[str] = []

    def answer(self, questions: Sequence[Question]) -> list[Reply]:
        self.asked += map(words_of, questions)
        return self.judge.answer(questions)


def test_replies_are_kept_by_everything_they_depend_on(judge, tmp_path):
    path, shown = tmp_path / "a" / "v.json", picture(0)
    questions = [Question((shown,), (f"is it {number}?",)) for number in range(3)]

    def asked(identity, questions) -> list[str]:
        counting = Counting(judge)
        Asked(path, STAMP, identity, 2, {}).ask(counting, questions)
        return counting.asked

    first = Asked(path, STAMP, {"weights": "a"}, 2, {}).ask(judge, questions)
    assert asked({"weights": "a"}, questions) == []
    assert Asked(path, STAMP, {"weights": "a"}, 2, {}).ask(judge, questions) == first
    assert len(asked({"weights": "b"}, questions)) == 3
    assert len(asked({"weights": "a"}, [ask(1, "is it 0?")])) == 1
    assert len(asked({"weights": "a"}, [Question((shown, shown), ("is it 0?",))])) == 1
    assert asked({"weights": "a"}, questions) == []


def test_equal_questions_are_asked_once_and_all_are_answered(judge, tmp_path):
    counting = Counting(judge)
    questions = [ask(0, "is it?"), ask(0, "is it not?"), ask(0, "is it?"), ask(1, "is it?")]
    answers = Asked(tmp_path / "v.json", STAMP, {}, 8, {}).ask(counting, questions)
    assert sorted(counting.asked) == ["is it not?", "is it?", "is it?"]
    assert answers[0] == answers[2] and len({answer.key for answer in answers}) == 3


def test_the_file_of_replies_is_hidden_stamped_and_no_videos(judge, tmp_path):
    asked = Asked(tmp_path / "v.json", STAMP, {}, 4, {})
    asked.ask(judge, [ask(0, "?")])
    assert [path.name for path in tmp_path.iterdir()] == [".v.asked.json"]
    assert json.loads(asked.path.read_text(encoding="utf-8"))["stamp"]["ingredients"] == {"a": 1}


def test_a_key_changes_with_every_ingredient_and_with_nothing_else():
    who = {"weights": {"mllm": "a"}, "backend": "transformers", "precision": "float32", "prompt_version": 1}
    question = Question((picture(0), " words "), (picture(1), " asked"), ("yes", "no"))
    key = key_of(question, who)
    assert key == key_of(Question((picture(0), " words "), (picture(1), " asked")), dict(reversed(who.items())))
    turned = Picture(picture(0).pixels_HW3.reshape(128, 96, 3))  # the same bytes, another shape
    others = [
        Question((turned, " words "), question.asked),
        Question((picture(2), " words "), question.asked),
        Question((" words ", picture(0)), question.asked),
        Question((picture(0), " word "), question.asked),
        Question((picture(0),), question.asked),
        Question(question.context, (picture(0), " asked")),
        Question(question.context, (picture(1), " asked?")),
        Question(question.context, (" asked",)),
        Question(question.context, (picture(1), " asked"), ("no", "yes")),
        Question(question.context, (picture(1), " asked"), ("1", "2", "none")),
        Question((), question.asked),
    ]
    keys = [key_of(other, who) for other in others]
    for name in who:
        keys.append(key_of(question, {**who, name: "another"}))
        keys.append(key_of(question, {n: value for n, value in who.items() if n != name}))
    assert len({key, *keys}) == 1 + len(keys)
    picture_or_words = [Question((picture(0),), (" ?",)), Question((picture(0).digest,), (" ?",))]
    assert len({key_of(each, who) for each in picture_or_words}) == 2  # a picture is not the name of one


@pytest.mark.parametrize(
    "text",
    ["", "{", "[]", '{"replies": []}', None],
    ids=["empty", "cut", "no object", "no stamp", "not finite"],
)
def test_a_damaged_file_of_replies_is_begun_anew(judge, tmp_path, caplog, text):
    questions = [ask(0, "?")]
    asked = Asked(tmp_path / "v.json", STAMP, {}, 4, {})
    expected = asked.ask(judge, questions)
    whole = asked.path.read_bytes()
    nan = {"replies": [{**expected[0].to_json(), "scores": ["nan", 0.0]}]}
    if text is None:
        write_json(asked.path, nan, STAMP)
    else:
        asked.path.write_text(text, encoding="utf-8")
    counting = Counting(judge)
    assert Asked(tmp_path / "v.json", STAMP, {}, 4, {}).ask(counting, questions) == expected
    assert counting.asked == ["?"] and asked.path.read_bytes() == whole
    assert f"{asked.path}: " in caplog.text and "asked again" in caplog.text


def test_a_judge_that_gives_nan_fails_the_video(tmp_path):
    class Broken:
        def answer(self, questions: Sequence[Question]) -> list[Reply]:
            return [Reply((float("nan"), 0.0), 0.5) for _ in questions]

    asked = Asked(tmp_path / "v.json", STAMP, {}, 4, {})
    with pytest.raises(ValueError, match="not kept"):
        asked.ask(Broken(), [ask(0, "?")])
    assert not asked.path.exists()


def test_what_was_answered_before_a_failure_is_kept(judge, tmp_path):
    class Failing(Counting):
        def answer(self, questions: Sequence[Question]) -> list[Reply]:
            replies = super().answer(questions[:2])
            raise PartlyAnswered("the server is gone", dict(enumerate(replies)))

    questions = [ask(0, f"is it {number}?") for number in range(3)]
    with pytest.raises(PartlyAnswered):
        Asked(tmp_path / "v.json", STAMP, {}, 8, {}).ask(Failing(judge), questions)
    counting = Counting(judge)
    Asked(tmp_path / "v.json", STAMP, {}, 8, {}).ask(counting, questions)
    assert counting.asked == ["is it 2?"]


def test_a_finished_file_gives_its_replies_wherever_they_stand(tmp_path):
    replies = {f"k{n}": Reply((-0.5, -1.0 - n), 0.9, "parsed" if n else "logprobs", (1,)) for n in range(4)}
    said = {key: Answer(key, reply).to_json() for key, reply in replies.items()}
    tracks = (TrackEvidence(TrackId("grid", 0), 0.5, {"judged": [{"for": said["k0"], "against": said["k1"]}]}),)
    known = ExpressionEvidence(tracks, None, {"choices": [{"choice": said["k2"]}], "deep": {"er": said["k3"]}})
    write_evidence(tmp_path / "v.json", STAMP, {"0": known}, {})
    assert replies_in(tmp_path / "v.json") == replies
    assert replies_in(tmp_path / "none.json") == {}
    damaged = ExpressionEvidence((), None, {"x": {**said["k0"], "scores": [1.0]}})
    write_evidence(tmp_path / "w.json", STAMP, {"0": damaged}, {})
    assert replies_in(tmp_path / "w.json") == {}
