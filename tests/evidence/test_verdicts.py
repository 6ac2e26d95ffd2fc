"""Verdicts in a written answer, and how probable they were."""

import math

import numpy as np
import pytest
from support.project import ROOT

from stages.core.run.batches import Batches
from stages.evidence.agent.verdicts import Opinion, of_likelihood, read_verdicts
from stages.evidence.backends.completion import TopToken
from stages.evidence.backends.marks import choices_in
from stages.evidence.backends.transformers import load_judge
from stages.evidence.prompts import ask_of_block
from stages.evidence.questions import Choice, Picture, Question, Reply, Written

OPTIONS = ("accept", "reject", "uncertain")


def text_of(*verdicts: str) -> str:
    entries = [f'{{"object": {n + 1}, "verdict": "{verdict}"}}' for n, verdict in enumerate(verdicts)]
    return f'{{"verdicts": [{", ".join(entries)}]}}'


def test_a_verdict_per_object_is_read_whatever_stands_around_it() -> None:
    text = f"Sure! ```json\n{text_of('Accept', ' reject ', 'UNCERTAIN')}\n``` Anything else?"
    opinions = read_verdicts(Written(text), 3, 2.5)
    assert opinions == {0: Opinion("accept", 2.5), 1: Opinion("reject", -2.5), 2: Opinion("uncertain", 0.0)}


def test_probabilities_are_those_at_the_verdict_and_not_at_the_same_word_elsewhere() -> None:
    text = (
        '{"verdicts": [{"object": 2, "reason": "reject it?", "verdict": "accept"}, {"object": 1, "verdict": "reject"}]}'
    )
    replies = [
        Reply((math.log(a), math.log(r), math.log(u)), 1.0)
        for a, r, u in ((0.1, 0.8, 0.1), (0.6, 0.2, 0.2), (0.1, 0.7, 0.2))
    ]
    places = [text.index("reject"), text.index("accept"), text.rindex("reject")]
    choices = tuple(Choice(place, reply) for place, reply in zip(places, replies, strict=True))
    opinions = read_verdicts(Written(text, choices), 2, 9.0)
    assert opinions[1] == Opinion("accept", pytest.approx(math.log(3)), "reject it?")
    assert opinions[0].log_odds == pytest.approx(-math.log(7))


@pytest.mark.parametrize(
    ("text", "fault"),
    [
        ("", "no JSON object"),
        ("accept", "no JSON object"),
        ('} {"verdicts": [', "does not end"),
        ('{"verdicts": [{"object": 1, }]}', "Invalid JSON"),
        ('{"verdict": "accept"}', "verdicts: Field required"),
        ('{"verdicts": [{"object": 1}, {"object": 2, "verdict": "no"}]}', r"verdicts.0.verdict: Field required; verdicts.1.verdict: Input should be"),
        (text_of("accept"), "object 2 has no verdict"),
        (text_of("accept", "reject", "reject"), "there is no object 3"),
        (text_of("accept", "reject").replace('"object": 2', '"object": 1'), "object 1 has more than one"),
        ('{"verdicts": [{"object": NaN, "verdict": "accept"}]}', "verdicts.0.object"),
        ('{"a":' * 300 + "1" + "}" * 300, "."),
    ],
)  # fmt: skip
def test_what_cannot_be_used_is_named(text: str, fault: str) -> None:
    with pytest.raises(ValueError, match=fault):
        read_verdicts(Written(text), 2, 1.0)


@pytest.mark.parametrize(
    ("log_odds", "margin", "verdict"),
    [(2.0, 1.0, "accept"), (-2.0, 1.0, "reject"), (0.5, 1.0, "uncertain"), (-1.0, 1.0, "reject"), (0.0, 0.0, "uncertain")],
)  # fmt: skip
def test_likelihoods_beyond_the_margin_are_verdicts(log_odds: float, margin: float, verdict: str) -> None:
    assert of_likelihood(log_odds, margin) == Opinion(verdict, log_odds)  # type: ignore[arg-type]


# ---------------------------------------------------------------- places of options


def top(**chances: float) -> list[TopToken]:
    return [TopToken(token=token, logprob=math.log(chance)) for token, chance in chances.items()]


def chances_of(choice: Choice) -> list[float]:
    return [math.exp(score) for score in choice.reply.scores]


def test_an_option_may_begin_inside_a_token_and_be_several() -> None:
    tokens = ['{"verdict":', ' "', "un", "certain", '"', ', "accept"', "}"]
    tops = {
        2: [*top(un=0.5, rej=0.25, accept=0.125), *top(x=0.125)],
        5: [TopToken(token=', "reject', logprob=math.log(0.4)), TopToken(token=', "accept"', logprob=math.log(0.6))],
    }
    choices = choices_in("".join(tokens), tokens, lambda index: tops[index], OPTIONS)
    assert [choice.position for choice in choices] == [13, 26]
    assert chances_of(choices[0]) == pytest.approx([0.125, 0.25, 0.5]) and choices[0].reply.mass == pytest.approx(0.875)
    assert chances_of(choices[1])[:2] == pytest.approx([0.6, 0.4]) and choices[1].reply.bounded == (2,)


def test_words_that_only_hold_an_option_are_none_of_them() -> None:
    tokens = ["accepted", " un", "acceptable"]
    assert choices_in("".join(tokens), tokens, lambda index: top(accept=0.9), OPTIONS) == ()


def test_tokens_that_are_not_the_text_tell_no_place() -> None:
    assert choices_in("accept", ["ac", "cent"], lambda index: top(ac=0.9), OPTIONS) == ()
    assert choices_in("accept", [], lambda index: [], OPTIONS) == ()
    assert choices_in("accept", ["accept"], lambda index: [], OPTIONS) == ()


# ---------------------------------------------------------------- a model that runs here


def test_a_written_answer_is_the_most_probable_one_and_its_probabilities_are_the_models() -> None:
    judge = load_judge(ROOT / "stages/micro/weights/mllm", "cpu", "float32", Batches(2, "questions"))
    pictures = [Picture(np.full((64, 64, 3), value, np.uint8)) for value in (0, 90, 255)]
    sentences = ("the red square", "the thing that moves to the left", "a dog")
    shown = [((picture,), (ask_of_block(text, 1)[0],)) for picture, text in zip(pictures, sentences, strict=True)]
    asked = [Question(*each, answer_tokens=n) for n in (1, 3) for each in shown]
    words, texts = np.array_split(judge.write(asked), 2)
    assert [judge.write([question])[0].text for question in asked[3:]] == [each.text for each in texts]
    for word, text, reply in zip(words, texts, judge.answer([Question(*each) for each in shown]), strict=True):
        assert word.text == ("yes" if reply.log_odds > 0 else "no") and text.text.startswith(word.text)
        [choice] = word.choices
        assert choice.position == 0 and choice.reply.kind == "logprobs"
        assert choice.reply.scores == pytest.approx(reply.scores, abs=1e-3)
