"""The replies of an MLLM to one video's questions, kept so that nothing is asked twice.

replies/<video>.json: {"version": 1, "replies": {key: {"log_odds": …, "mass": …}}}. A key is the digest of
everything that a reply depends on, so replies to older prompts or models stay without harm.
"""

import hashlib
import json
import logging
import math
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from stages.core.state.cache import digest, write_json
from stages.core.state.graph import Layout
from stages.evidence.judge import Judge, Question, Reply

log = logging.getLogger(__name__)
VERSION = 1


def replies_path(layout: Layout, video: str) -> Path:
    return layout.root / "replies" / f"{video}.json"


def image_digest(image_HW3: NDArray[np.uint8]) -> str:
    """16 hex digits over shape and pixels."""
    pixels = hashlib.sha256(str(image_HW3.shape).encode() + np.ascontiguousarray(image_HW3).tobytes())
    return pixels.hexdigest()[:16]


class Replies:
    """Answers questions from the file, and the missing ones through a judge.

    Args:
        path: the video's file; a missing one is empty, a damaged one is begun anew with a warning.
        identity: what a reply depends on beside the question: weights id, prompt version, precision.
        per_pass: questions asked together; the file is written after each such pass.
    """

    def __init__(self, path: Path, identity: Mapping[str, Any], per_pass: int) -> None:
        self.path, self.identity, self.per_pass = path, identity, per_pass
        self.known = _load(path)

    def ask(self, judge: Judge, questions: Sequence[Question]) -> list[Reply]:
        """The replies, in order of the questions.

        Passes are cut from the whole list, not from what is missing: a resumed run asks the same batches
        as an uninterrupted one, and gets the same numbers.

        Raises:
            ValueError: the judge gave no finite number; nothing of that pass is kept.
        """
        digests = {id(image): image_digest(image) for question in questions for image in question.images}
        keys = [self._key(question, digests) for question in questions]
        for start in range(0, len(questions), self.per_pass):
            batch = slice(start, start + self.per_pass)
            if any(key not in self.known for key in keys[batch]):
                self._pass(judge, questions[batch], keys[batch])
        return [self.known[key] for key in keys]

    def _key(self, question: Question, digests: Mapping[int, str]) -> str:
        return digest([self.identity, [digests[id(image)] for image in question.images], question.text])

    def _pass(self, judge: Judge, questions: Sequence[Question], keys: Sequence[str]) -> None:
        replies = judge.log_odds(questions)
        assert len(replies) == len(questions)
        for reply, question in zip(replies, questions, strict=True):
            if not (math.isfinite(reply.log_odds) and math.isfinite(reply.mass)):
                raise ValueError(f"{self.path}: the MLLM's reply to {question.text!r} is {reply}; it is not kept")
        self.known |= dict(zip(keys, replies, strict=True))
        document = {key: asdict(reply) for key, reply in sorted(self.known.items())}
        write_json(self.path, {"version": VERSION, "replies": document})


def _load(path: Path) -> dict[str, Reply]:
    if not path.exists():
        return {}
    try:
        document = json.loads(path.read_text(encoding="utf-8"))
        if document["version"] != VERSION:
            raise ValueError(f"version {document['version']}, this code writes {VERSION}")
        replies = {key: Reply(float(raw["log_odds"]), float(raw["mass"])) for key, raw in document["replies"].items()}
        if not all(math.isfinite(reply.log_odds) and math.isfinite(reply.mass) for reply in replies.values()):
            raise ValueError("a reply is not finite")
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        log.warning("%s: not usable (%r); its questions are asked again", path, error)
        return {}
    return replies
