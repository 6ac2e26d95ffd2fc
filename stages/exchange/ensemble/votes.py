"""What runs say of pixels whose truth is known, counted: all that fitting weights needs.

Of a frame and sentence, pixels about which all runs say the same are one row: what each says, and how many of them are
inside and outside the truth. J at any weights follows from the rows exactly; of probabilities it is that of LEVELS steps.

Legend: R runs, U rows, F frames of sentences.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, fields
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from stages.core.media import masks
from stages.core.records import Expression, Split, Video
from stages.core.state.cache import Stamp, State, create_h5, inspect, open_h5
from stages.core.state.fingerprints import truth_facts
from stages.core.state.frames import FrameFolder
from stages.core.state.h5_arrays import write_array
from stages.exchange.ensemble.runs import Run, facts_of
from stages.metrics.protocols import protocol_of
from stages.metrics.scoring import open_scene

LEVELS = 15  # steps of a probability; a vote is 0 or LEVELS
FRAMES = 20  # per sentence, evenly spread
STAGE, VERSION = "tools.ensemble_predictions", 1


@dataclass(frozen=True)
class Votes:
    """
    Attributes:
        level_UR: what each run says, 0 … LEVELS, uint8.
        inside_U, outside_U: pixels of the truth, and others.
        frame_U: which frame they are of, index into the next two.
        truth_F: pixels of the truth in the frame.
        sentence_F: which sentence the frame is of, numbered from 0.
    """

    level_UR: NDArray[np.uint8]
    inside_U: NDArray[np.int64]
    outside_U: NDArray[np.int64]
    frame_U: NDArray[np.int64]
    truth_F: NDArray[np.int64]
    sentence_F: NDArray[np.int64]

    @property
    def n_sentences(self) -> int:
        return int(self.sentence_F[-1]) + 1 if len(self.sentence_F) else 0


def joined(parts: Sequence[Votes]) -> Votes:
    """Of several videos as of one."""
    frames = np.cumsum([0, *(len(part.truth_F) for part in parts)])
    sentences = np.cumsum([0, *(part.n_sentences for part in parts)])
    return Votes(
        np.concatenate([part.level_UR for part in parts]),
        np.concatenate([part.inside_U for part in parts]),
        np.concatenate([part.outside_U for part in parts]),
        np.concatenate([part.frame_U + n for part, n in zip(parts, frames, strict=False)]),
        np.concatenate([part.truth_F for part in parts]),
        np.concatenate([part.sentence_F + n for part, n in zip(parts, sentences, strict=False)]),
    )


def votes_of(path: Path, split: Split, video: Video, frames: FrameFolder, runs: Sequence[Run]) -> Votes:
    """A video's votes, counted once: the file at `path` is made where it is not there or of other predictions.

    Raises:
        ValueError: a prediction cannot be used, or the truth does not fit the frames.
    """
    given = {run.name: facts_of(run, video) for run in runs}
    order = [run.name for run in runs]
    counted = {"levels": LEVELS, "frames": FRAMES}
    stamp = Stamp(
        STAGE, VERSION, {"runs": given, "order": order, "frames": frames.digest, **truth_facts(split, video), **counted}
    )
    if inspect(path, stamp)[0] is not State.COMPLETE:
        votes = count(split, video, frames, runs)
        with create_h5(path, stamp) as file:
            for field in fields(Votes):
                write_array(file, field.name, getattr(votes, field.name))
    with open_h5(path, STAGE, VERSION) as file:
        return Votes(**{field.name: file[field.name][:] for field in fields(Votes)})


def count(split: Split, video: Video, frames: FrameFolder, runs: Sequence[Run]) -> Votes:
    """Of the sentences whose truth is known, in the frames that are scored."""
    scene = open_scene(split, video, frames.size, len(frames))
    annotations, holding_only = split.annotations(video), protocol_of(split.protocol).holding_only
    rows: list[tuple[NDArray[np.uint8], NDArray[np.int64]]] = []
    truths: list[int] = []
    sentences: list[int] = []
    for expression in video.expressions:
        if expression.annotations is None:
            continue
        scored = scene.frames_holding(expression) if holding_only else scene.scored
        chosen = spread(range(len(frames)) if scored is None else scored)
        for t, levels_HWR in zip(chosen, said(runs, video, frames, expression, chosen), strict=True):
            parts = [rle for key in expression.annotations if (rle := annotations[key][t]) is not None]
            truth_HW = masks.decode(masks.union(parts, frames.size))
            rows.append(distinct(levels_HWR, truth_HW))
            truths.append(int(truth_HW.sum()))
        sentences += [max(sentences, default=-1) + 1] * len(chosen)
    sizes = [len(levels) for levels, _ in rows]
    pixels_U2 = np.concatenate([np.zeros((0, 2), np.int64), *(pixels for _, pixels in rows)])
    return Votes(
        np.concatenate([np.zeros((0, len(runs)), np.uint8), *(levels for levels, _ in rows)]),
        pixels_U2[:, 1],
        pixels_U2[:, 0],
        np.repeat(np.arange(len(rows)), sizes),
        np.array(truths, np.int64),
        np.array(sentences, np.int64),
    )


def spread(frames: Sequence[int]) -> list[int]:
    """At most FRAMES of them, the first and the last included."""
    if len(frames) <= FRAMES:
        return list(frames)
    return [frames[i] for i in np.linspace(0, len(frames) - 1, FRAMES).round().astype(int)]


def said(
    runs: Sequence[Run], video: Video, frames: FrameFolder, expression: Expression, chosen: Sequence[int]
) -> Iterator[NDArray[np.uint8]]:
    """(H, W, R) levels of each frame."""
    answers = [run.answers(video, frames).get(expression.id) for run in runs]
    for t in chosen:
        levels_HWR = np.zeros((*frames.size, len(runs)), np.uint8)
        for r, (run, answer) in enumerate(zip(runs, answers, strict=True)):
            if run.soft is None:
                if answer is not None:
                    levels_HWR[masks.decode(answer.rles_T[t]), r] = LEVELS
            elif (probability_HW := run.soft.probability(video, expression.id, t)) is not None:
                levels_HWR[..., r] = np.rint(LEVELS * probability_HW)
        yield levels_HWR


def distinct(levels_HWR: NDArray[np.uint8], truth_HW: NDArray[np.bool_]) -> tuple[NDArray[np.uint8], NDArray[np.int64]]:
    """The different rows of levels (U, R), in order, and how many pixels outside and inside the truth have them (U, 2).

    Pixels of which no run says anything are left out: no weights make them the object.
    """
    some_HW = levels_HWR.any(-1)
    if not some_HW.any():
        return np.zeros((0, levels_HWR.shape[-1]), np.uint8), np.zeros((0, 2), np.int64)
    levels_UR, which = np.unique(levels_HWR[some_HW], axis=0, return_inverse=True)
    pixels = np.bincount(2 * which.reshape(-1) + truth_HW[some_HW], minlength=2 * len(levels_UR))
    return levels_UR, pixels.reshape(-1, 2)
