"""Concepts named by an MLLM: it sees frames of the video and a sentence, and answers with phrases as JSON.

Where its answer is no such JSON, or names nothing new, the rule of phrases.py goes on.
"""

import logging
import re
from collections.abc import Sequence

from pydantic import BaseModel, ConfigDict, ValidationError

from stages.core.state.frames import FrameFolder
from stages.evidence.questions import Parts, Picture, Question, Writer
from stages.evidence.views.display import display_size, resize_frame
from stages.prompting.frame_choice import FrameChoice
from stages.prompting.sam3.naming import ByRule, Sought

SHOWN = "The {n} images are frames of one video, in order of time. "
TASK = (
    "A detector finds everything in a video that a short noun phrase names. It knows nouns and how things look, and ignores "
    "place, order, motion and what one thing does to another. For the description at the end, name the kind of thing that is "
    "described: core is the noun with the adjectives of its looks, broader is a more general noun. Answer with JSON alone, "
    'as {"core": "white dog", "broader": "animal"}.'
)
DESCRIPTION = " Description: {text}"
FAILED = " Nothing was found for these phrases, so name others: {tried}."
ANSWER_TOKENS = 64
LONGEST = 60  # characters of a phrase

log = logging.getLogger(__name__)


class Concepts(BaseModel):
    """What the MLLM answers."""

    model_config = ConfigDict(extra="ignore")

    core: str
    broader: str = ""


class ByMllm:
    """Implements `stages.prompting.sam3.naming.Namer`.

    Args:
        n_frames: that the model sees of a video; 0 = none.
        side: the longest of its pictures, in pixels.
    """

    def __init__(self, writer: Writer, n_frames: int, side: int) -> None:
        self._writer, self._n_frames, self._side = writer, n_frames, side
        self._rule = ByRule()
        self._shown: tuple[str, Parts] = ("", ())  # of the last video

    def sought_in(self, text: str) -> list[Sought]:
        return [Sought(text)]

    def propose(self, sought: Sequence[Sought], frames: FrameFolder) -> list[list[str]]:
        """Raises ValueError where the model gives no answer at all."""
        if not sought:
            return []
        shown = self._context(frames)
        written = self._writer.write([question(shown, thing) for thing in sought])
        return [self._phrases(thing, answer.text) for thing, answer in zip(sought, written, strict=True)]

    def _phrases(self, sought: Sought, answer: str) -> list[str]:
        phrases = [phrase for phrase in read_phrases(answer) if phrase not in sought.tried]
        if not phrases:
            log.info("%r: the MLLM names nothing new (%r); phrases are taken by rule", sought.text, answer[:200])
            phrases = self._rule.next(sought)
        return phrases

    def _context(self, frames: FrameFolder) -> Parts:
        """The same object for all questions about a video, so that it is encoded once."""
        if self._shown[0] != frames.digest:
            self._shown = (frames.digest, self._draw(frames))
        return self._shown[1]

    def _draw(self, frames: FrameFolder) -> Parts:
        if not self._n_frames:
            return (TASK,)
        chosen = FrameChoice(step=None, count=self._n_frames).select(len(frames))
        size = display_size(frames.size, self._side)
        pictures = [Picture(resize_frame(frames.load(index), size)) for index in chosen]
        return (*pictures, SHOWN.format(n=len(pictures)) + TASK)


def question(shown: Parts, sought: Sought) -> Question:
    failed = FAILED.format(tried=", ".join(sought.tried)) if sought.tried else ""
    return Question(shown, (failed + DESCRIPTION.format(text=sought.text),), options=(), answer_tokens=ANSWER_TOKENS)


def read_phrases(answer: str) -> list[str]:
    """The phrases of an answer, the core concept first; none where it holds no such JSON, whatever stands around it."""
    for found in re.finditer(r"\{[^{}]*\}", answer):
        try:
            concepts = Concepts.model_validate_json(found[0])
        except ValidationError:
            continue
        phrases = (" ".join(phrase.lower().split())[:LONGEST] for phrase in (concepts.core, concepts.broader))
        return list(dict.fromkeys(phrase for phrase in phrases if any(map(str.isalnum, phrase))))
    return []
