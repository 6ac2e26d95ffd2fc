"""Backend `openai` against a real server on this machine, on good days and bad ones."""

import base64
import io
import json
import logging
import math
import random
import socket
import time
import traceback
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image
from support.openai_server import KEY, MODEL, Said, completion, failure, serving, words_of

from stages.core.state.cache import Stamp
from stages.core.state.graph import GATHER_EVIDENCE
from stages.evidence.asked import Asked
from stages.evidence.backends.completion import TopToken, parsed, weighed
from stages.evidence.backends.server import PROBE, ServerJudge, defused
from stages.evidence.questions import PartlyAnswered, Picture, Question

PICTURE = Picture(np.random.default_rng(0).integers(0, 256, (8, 12, 3), np.uint8))
PROBED = str(PROBE.asked[0])


def question(number: int) -> Question:
    return Question((PICTURE,), (f"is it number {number}?",))


def number_of(body: Mapping[str, Any]) -> int:
    words = words_of(body)
    return -1 if words == PROBED else int(words.removeprefix("is it number ").removesuffix("?"))


def chances(number: int) -> dict[str, float]:
    """Another answer for every question."""
    yes = (number + 2) / 2000
    return {" Yes": math.log(yes / 4), "yes": math.log(yes * 3 / 4), "No": math.log((1 - yes) / 2), "x": -9.0}


def good(body: dict[str, Any], before: int) -> Said:
    return completion(chances(number_of(body)))


def odds(number: int) -> float:
    yes = (number + 2) / 2000
    return math.log(yes) - math.log((1 - yes) / 2)


# ---------------------------------------------------------------- what is asked, and what comes back


def test_a_question_arrives_as_it_is_asked() -> None:
    asked = Question(("first ", PICTURE, "then <|im_end|>"), (" this", PICTURE, "or ", "what?"), ("yes", "no", "both"))
    with serving(lambda body, before: completion({" no": -0.5, "yes": -1.5, "Both": -3.0})) as log:
        [reply] = ServerJudge(log.settings()).answer([asked])
    body = log.bodies[-1]
    assert {key: body[key] for key in body if key != "messages"} == {
        "model": MODEL,
        "max_tokens": 1,
        "temperature": 0,
        "logprobs": True,
        "top_logprobs": 20,
    }
    [message] = body["messages"]
    assert message["role"] == "user"
    kinds = [part["type"] for part in message["content"]]
    assert kinds == ["text", "image_url", "text", "image_url", "text"]
    texts = [part["text"] for part in message["content"] if part["type"] == "text"]
    assert texts == ["first ", "then < |im_end|> this", "or what?"]
    url = message["content"][1]["image_url"]["url"]
    shown = Image.open(io.BytesIO(base64.b64decode(url.removeprefix("data:image/png;base64,"))))
    assert shown.format == "PNG" and np.array_equal(np.asarray(shown), PICTURE.pixels_HW3)
    assert reply.scores == pytest.approx((-1.5, -0.5, -3.0)) and reply.kind == "logprobs" and reply.bounded == ()
    assert reply.mass == pytest.approx(math.exp(-0.5) + math.exp(-1.5) + math.exp(-3.0))
    assert len(log.bodies) == 2, "one probe"


def test_the_probe_is_made_once() -> None:
    with serving(good) as log:
        judge = ServerJudge(log.settings())
        for number in range(3):
            judge.answer([question(number)])
    assert log.tries[PROBED] == 1 and sum(log.tries.values()) == 4


@pytest.mark.parametrize("concurrency", [1, 16])
def test_a_thousand_questions_are_answered_once_each_on_a_bad_day(concurrency: int) -> None:
    """A tenth of them meets 429, 500 or a cut connection first, and all come in any order."""
    count = 1000 if concurrency > 1 else 40

    def moody(body: dict[str, Any], before: int) -> Said:
        number = number_of(body)
        mood = random.Random(number)
        time.sleep(mood.random() * 0.004)
        bad = [
            failure(429, "slow down", {"retry-after-ms": "20"}),
            failure(503, "busy", {"retry-after-ms": "20"}),
            None,
        ]
        if number >= 0 and number % 10 == 3 and before < 1 + number % 2:
            return bad[number % 3 if number % 30 == 3 else number % 2]
        return good(body, before)

    with serving(moody) as log:
        replies = ServerJudge(log.settings(concurrency=concurrency)).answer([question(n) for n in range(count)])
    assert [reply.log_odds for reply in replies] == pytest.approx([odds(n) for n in range(count)])
    expected = {f"is it number {n}?": 1 for n in range(count)} | {PROBED: 1}
    assert dict(log.answered) == expected
    assert sum(log.tries.values()) > len(expected), "some were asked for again"
    assert log.most <= concurrency and (log.most > 1) == (concurrency > 1), (
        "side by side, and never more than asked for"
    )


# ---------------------------------------------------------------- bad days


def test_an_answer_that_takes_too_long_is_asked_for_again() -> None:
    def slow_at_first(body: dict[str, Any], before: int) -> Said:
        if number_of(body) == 1 and before == 0:
            time.sleep(1.5)
        return good(body, before)

    with serving(slow_at_first) as log:
        replies = ServerJudge(log.settings(timeout_s=0.5)).answer([question(n) for n in range(3)])
    assert [reply.log_odds for reply in replies] == pytest.approx([odds(n) for n in range(3)])
    assert log.tries["is it number 1?"] == 2


def always(said: Said, *numbers: int) -> Any:
    """Good but for these questions."""
    return lambda body, before: said if number_of(body) in numbers else good(body, before)


@pytest.mark.parametrize(
    ("said", "message"),
    [
        (failure(429, "quota of today is used up"), r"too many requests after 1 retries \(429: quota.*concurrency"),
        (failure(500, "CUDA error"), r"failed after 1 retries \(500: CUDA error\); look at its log"),
        (None, "cannot be reached or cut the connection after 1 retries"),
        (failure(400, "image too large"), r"refuses a question \(400: image too large\)"),
        (failure(422, "no images here"), r"refuses a question \(422: no images here\)"),
        ((200, "<html>Welcome</html>", {}), r"no chat completion \(body: Invalid JSON.*server\.url"),
        ((200, "", {}), "no chat completion"),
        ((200, "[1]", {}), "no chat completion"),
        ((200, '{"choices": []}', {}), r"no chat completion \(choices: .*at least 1"),
        ((200, '{"choices": [{"message": {}}, {"message": {}}]}', {}), r"no chat completion \(choices: .*at most 1"),
        ((200, '{"choices": [{"message": "yes"}]}', {}), r"no chat completion \(choices\.0\.message"),
        (completion({"yes": float("nan"), "no": -1.0}), r"no chat completion \(.*top_logprobs\.0\.logprob"),
        (completion({"yes": 3.0, "no": -1.0}), r"no chat completion \(.*logprob"),
        (completion(None, "yes"), "came without logprobs, which others had"),
    ],
    ids=lambda value: None if isinstance(value, str) else "",
)
def test_what_fails_for_good_says_why_and_keeps_what_came(said: Said, message: str) -> None:
    with serving(always(said, 2)) as log, pytest.raises(PartlyAnswered, match=message) as caught:
        ServerJudge(log.settings(retries=1, concurrency=1)).answer([question(n) for n in range(5)])
    assert f"server {log.url}" in str(caught.value)
    assert {n: reply.log_odds for n, reply in caught.value.replies.items()} == pytest.approx(
        {n: odds(n) for n in (0, 1)}
    )
    assert log.tries["is it number 3?"] == 0, "nothing more is asked"


def test_a_server_that_never_answers_in_time_is_named() -> None:
    def slow(body: dict[str, Any], before: int) -> Said:
        time.sleep(0.6)
        return good(body, before)

    with serving(slow) as log, pytest.raises(ValueError, match=r"no answer within 0\.2 s after 0 retries; raise"):
        ServerJudge(log.settings(timeout_s=0.2, retries=0)).answer([question(0)])


def test_a_server_that_is_not_there_is_named() -> None:
    with socket.socket() as free, serving(good) as log:
        free.bind(("127.0.0.1", 0))
        url = f"http://127.0.0.1:{free.getsockname()[1]}/v1"
        with pytest.raises(ValueError, match=rf"server {url} cannot be reached.*start it, or correct `server\.url`"):
            ServerJudge(log.settings(url=url, retries=0)).answer([question(0)])


def test_an_unknown_model_is_told_with_the_known_ones() -> None:
    with (
        serving(lambda body, before: failure(404, "no such model")) as log,
        pytest.raises(ValueError, match=r"has no model 'an-model'.*set `server\.model` to one of a-model"),
    ):
        ServerJudge(log.settings(model="an-model")).answer([question(0)])


# ---------------------------------------------------------------- without logprobs


def refuses_logprobs(body: dict[str, Any], before: int) -> Said:
    if "logprobs" in body:
        return failure(400, "logprobs is not supported by this model")
    return completion(None, "No." if number_of(body) % 2 else " Yes, it is")


def leaves_them_out(body: dict[str, Any], before: int) -> Said:
    return completion(None, "No." if number_of(body) % 2 else " Yes, it is")


@pytest.mark.parametrize("behaviour", [refuses_logprobs, leaves_them_out])
def test_a_server_without_logprobs_is_read_in_words_and_says_so_once(
    behaviour: Any, caplog: pytest.LogCaptureFixture
) -> None:
    with serving(behaviour) as log, caplog.at_level(logging.WARNING):
        judge = ServerJudge(log.settings())
        replies = judge.answer([question(n) for n in range(4)]) + judge.answer([question(4)])
    assert [reply.kind for reply in replies] == ["parsed"] * 5
    assert [reply.log_odds > 0 for reply in replies] == [True, False, True, False, True]
    assert caplog.text.count("gives no logprobs") == 1
    assert "logprobs" not in log.bodies[-1] and log.bodies[-1]["max_tokens"] > 1


def test_an_answer_that_begins_with_a_part_of_a_character_is_off_its_format() -> None:
    """llama.cpp gives no logprobs of such a token; the other answers stand."""

    def cut(body: dict[str, Any], before: int) -> Said:
        return completion(None, "\ufffd") if number_of(body) == 1 else good(body, before)

    with serving(cut) as log:
        replies = ServerJudge(log.settings()).answer([question(n) for n in range(3)])
    assert [reply.log_odds for reply in replies] == pytest.approx([odds(0), 0.0, odds(2)])
    assert replies[1].mass == 0 < min(replies[0].mass, replies[2].mass)


def test_a_server_that_lists_five_tokens_is_asked_for_five() -> None:
    def five(body: dict[str, Any], before: int) -> Said:
        return failure(400, "top_logprobs must be at most 5") if body["top_logprobs"] > 5 else good(body, before)

    with serving(five) as log:
        [reply] = ServerJudge(log.settings()).answer([question(7)])
    assert reply.log_odds == pytest.approx(odds(7)) and log.bodies[-1]["top_logprobs"] == 5


@pytest.mark.parametrize(
    ("words", "scores", "mass"),
    [
        ("yes", (0.9, 0.05, 0.05), 1),
        (" **No**, it is not", (0.05, 0.9, 0.05), 1),
        ("BOTH", (0.05, 0.05, 0.9), 1),
        ("nothing of the kind", (1 / 3, 1 / 3, 1 / 3), 0),
        ("", (1 / 3, 1 / 3, 1 / 3), 0),
    ],
)
def test_words_are_the_option_that_they_begin_with(words: str, scores: tuple[float, ...], mass: float) -> None:
    reply = parsed(words, ("yes", "no", "both"))
    assert [math.exp(score) for score in reply.scores] == pytest.approx(scores)
    assert (reply.mass, reply.kind, reply.bounded) == (mass, "parsed", ())


# ---------------------------------------------------------------- bounds


def top(**chance: float) -> list[TopToken]:
    return [TopToken(token=token, logprob=math.log(p)) for token, p in chance.items()]


def test_an_option_that_is_not_listed_is_bounded_and_flagged() -> None:
    reply = weighed(top(yes=0.6, a=0.2, b=0.01), ("yes", "no"))
    assert [math.exp(score) for score in reply.scores] == pytest.approx([0.6, 0.01]) and reply.bounded == (1,)
    assert reply.mass == pytest.approx(0.6)
    tight = weighed(top(yes=0.9, a=0.0999), ("yes", "no"))  # no more than 0.0001 is left for it
    assert math.exp(tight.scores[1]) == pytest.approx(0.0001)
    none = weighed(top(a=0.7, b=0.1), ("yes", "no"))
    assert (
        none.scores[0] == none.scores[1] == pytest.approx(math.log(0.1)) and none.bounded == (0, 1) and none.mass == 0
    )


def test_what_a_server_has_ruled_out_is_bounded_too() -> None:
    listed = [TopToken(token="yes", logprob=0.0), TopToken(token="no", logprob=-9999.0)]
    reply = weighed(listed, ("yes", "no"))
    assert reply.bounded == (1,) and reply.is_finite and reply.log_odds < 20


def test_spellings_are_summed_whatever_stands_for_a_blank() -> None:
    listed = [TopToken(token=token, logprob=math.log(0.1)) for token in ("Ġyes", "▁Yes", " YES", "no", "yeses", "No ")]
    reply = weighed(listed, ("yes", "no"))
    assert [math.exp(score) for score in reply.scores] == pytest.approx([0.3, 0.1])


def test_control_tokens_are_words() -> None:
    assert defused("a <image> <|im_end|> </s> if 3 < 4 <3") == "a < image> < |im_end|> < /s> if 3 < 4 < 3"


# ---------------------------------------------------------------- the key, and what is kept


def test_a_key_goes_to_the_server_and_nowhere_else(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setenv("A_KEY", KEY)
    monkeypatch.setenv("OPENAI_API_KEY", "sk-of-another-service")
    behaviour = always(failure(400, f"Authorization: Bearer {KEY} is not enough"), 1)
    with serving(behaviour) as log, caplog.at_level(logging.DEBUG), pytest.raises(ValueError) as caught:
        ServerJudge(log.settings(key_env="A_KEY")).answer([question(0), question(1)])
    assert log.keys == {f"Bearer {KEY}"}
    assert KEY not in caplog.text and "(key)" in str(caught.value)
    assert KEY not in "".join(traceback.format_exception(caught.value))
    with serving(lambda body, before: failure(401, f"wrong key {KEY}")) as log, pytest.raises(ValueError) as caught:
        ServerJudge(log.settings(key_env="A_KEY")).answer([question(0)])
    assert "refuses the key in A_KEY (401); set `server.key_env`" in str(caught.value)
    assert KEY not in "".join(traceback.format_exception(caught.value))


def test_without_a_variable_no_key_of_another_service_is_sent(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OPENAI_API_KEY", KEY)
    with serving(good) as log:
        ServerJudge(log.settings()).answer([question(0)])
        monkeypatch.delenv("A_KEY", raising=False)
        with pytest.raises(ValueError, match="the environment variable A_KEY is not set; export it"):
            ServerJudge(log.settings(key_env="A_KEY"))
    assert log.keys == {"Bearer none"}


def test_what_was_answered_before_a_failure_is_not_asked_again(tmp_path: Path) -> None:
    broken = [True]

    def behaviour(body: dict[str, Any], before: int) -> Said:
        return failure(500, "down") if broken[0] and number_of(body) >= 9 else good(body, before)

    stamp = Stamp(GATHER_EVIDENCE.name, GATHER_EVIDENCE.version, {})
    questions = [question(n) for n in range(20)]
    with serving(behaviour) as log:
        judge = ServerJudge(log.settings(retries=0))
        with pytest.raises(ValueError, match="500: down"):
            Asked(tmp_path / "v.json", stamp, {}, 16, {}).ask(judge, questions)
        broken[0] = False
        answers = Asked(tmp_path / "v.json", stamp, {}, 16, {}).ask(ServerJudge(log.settings()), questions)
    assert [answer.reply.log_odds for answer in answers] == pytest.approx([odds(n) for n in range(20)])
    assert {words: n for words, n in log.answered.items() if words != PROBED} == {q.asked[0]: 1 for q in questions}
    assert json.loads((tmp_path / ".v.asked.json").read_text())["replies"][0]["kind"] == "logprobs"
