"""Concepts by an MLLM: what it is asked and shown, what of its answers counts, and what the config may name."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest
from support.project import make_config
from support.sam2 import draw_frames

from stages.core.config.loading import ConfigError, section, settings_of
from stages.core.media import masks
from stages.core.state.graph import BUILD_TRACKS, GENERATE_PROMPTS
from stages.evidence.questions import Picture, Question, Written
from stages.prompting.sam3.by_mllm import ByMllm, read_phrases
from stages.prompting.sam3.network import Instance
from stages.prompting.sam3.search import Search


class Scripted:
    """A writer that gives its answers in turn, and keeps what it was asked."""

    def __init__(self, *answers: str) -> None:
        self.answers, self.asked = list(answers), list[Question]()

    def answer(self, questions: Sequence[Question]) -> Any:
        raise AssertionError("nothing is answered in one word")

    def write(self, questions: Sequence[Question]) -> list[Written]:
        self.asked += questions
        return [Written(self.answers.pop(0)) for _ in questions]


class Finds:
    """A network that finds what it knows, once per frame."""

    def __init__(self, *known: str) -> None:
        self.known = known

    def words(self, phrase: str) -> Any:
        return phrase

    def find(self, frame: int, image: object, phrases: Sequence[str]) -> list[list[Instance]]:
        found = [Instance(frame, masks.empty((2, 2)), (0, 0, 1, 1), 0.5)]
        return [found if phrase in self.known else [] for phrase in phrases]


@pytest.mark.parametrize(
    ("answer", "phrases"),
    [
        ('{"core": "White  dog", "broader": "animal"}', ["white dog", "animal"]),
        ('Sure!\n```json\n{"core": "dog", "broader": "dog", "why": 3}\n```', ["dog"]),
        ('{"core": "dog"}', ["dog"]),
        ('{"kind": 1} {"core": "cat", "broader": ""}', ["cat"]),
        ('{"core": 3}', []),
        ('{"core": "dog"', []),
        ("I cannot help with that.", []),
        ('{"core": "...", "broader": "!"}', []),
        ("", []),
    ],
)
def test_phrases_are_read_wherever_the_json_stands(answer: str, phrases: list[str]) -> None:
    assert read_phrases(answer) == phrases


def test_it_sees_frames_and_is_told_what_found_nothing(tmp_path: Path) -> None:
    frames = draw_frames(tmp_path / "f", 10)
    writer = Scripted(
        '{"core": "white dog", "broader": "hound"}', '{"core": "cat", "broader": "cat"}', '{"core": "puppy"}'
    )
    namer = ByMllm(writer, 4, 32)
    sought = [*namer.sought_in("the white dog and its toy"), *namer.sought_in("a cat")]
    Search(Finds("puppy", "cat"), frames, [0, 5]).settle(sought, namer, 3)  # type: ignore[arg-type]
    assert [thing.kept for thing in sought] == ["puppy", "cat"]
    first, second, third = writer.asked
    assert first.context is second.context is third.context, "the pictures are encoded once"
    pictures = [part for part in first.context if isinstance(part, Picture)]
    assert len(pictures) == 4 and max(pictures[0].pixels_HW3.shape[:2]) == 32
    assert str(first.asked[-1]).endswith("Description: the white dog and its toy") and "white dog, hound" in str(
        third.asked[-1]
    )
    assert all(question.answer_tokens for question in writer.asked)
    blind = ByMllm(Scripted('{"core": "dog"}'), 0, 32)
    assert blind.propose(blind.sought_in("a dog"), frames) == [["dog"]]


def test_what_it_does_not_say_is_taken_by_rule(tmp_path: Path) -> None:
    frames = draw_frames(tmp_path / "f", 1)
    writer = Scripted("I see a dog.", '{"core": "Dog"}', "no", "no")
    namer = ByMllm(writer, 1, 32)
    sought = namer.sought_in("the white dog on the left")
    Search(Finds("animal"), frames, [0]).settle(sought, namer, 3)  # type: ignore[arg-type]
    assert sought[0].tried == ["white dog", "dog", "animal"] and sought[0].kept == "animal"
    assert len(writer.asked) == 2
    again = namer.sought_in("a dog")
    Search(Finds(), frames, [0]).settle(again, ByMllm(Scripted("", ""), 1, 32), 1)  # type: ignore[arg-type]
    assert again[0].kept is None and again[0].tried == ["dog", "animal"], "and then there is no other"


def test_the_mllm_is_that_of_an_entry_of_evidence(tmp_path: Path) -> None:
    def named(name: str, **entry: Any) -> Any:
        over = {"prompts": {"sam3": {"phrases_by": name}}, "evidence": {"judge": entry}}
        return settings_of(make_config(tmp_path, over), "mevis")

    here = named("judge")
    assert (
        GENERATE_PROMPTS.roles(here, "sam3") == ("sam3", "mllm") and GENERATE_PROMPTS.roles(here, "gdino")[-1] != "mllm"
    )
    assert GENERATE_PROMPTS.reads(here, "sam3")[1:] == ("evidence.judge.backend", "evidence.judge.precision")
    assert BUILD_TRACKS.roles(here, "sam3") == ("sam2",)
    server = {"url": "http://localhost:1/v1", "model": "m", "concurrency": 3}
    there = named("judge", backend="openai", server=server)
    assert GENERATE_PROMPTS.roles(there, "sam3") == ("sam3",)
    keys = GENERATE_PROMPTS.reads(there, "sam3")[1:]
    assert [section(there, key) for key in keys] == ["openai", "http://localhost:1/v1", "m"], (
        "how fast it is asked is no matter"
    )
    with pytest.raises(ConfigError, match=r"prompts.sam3: no 'jugde' in `evidence`"):
        named("jugde")
    with pytest.raises(ConfigError, match=r"prompts.sam3: evidence.detector has no MLLM that writes; \['agent', "):
        named("detector")
