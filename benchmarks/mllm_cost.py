"""Prints what an MLLM is asked on a whole split, view by view: questions, images and tokens, without a model or a GPU.

    python -m benchmarks.mllm_cost                                   # MeViS valid: 140 videos, 2,236 expressions
    python -m benchmarks.mllm_cost --name judge --candidates 8 --prices 0.2 0.8

The pictures and words are those that the pipeline makes of a drawn video with as many candidates, at the settings of
`evidence.<name>`; what one expression costs is multiplied. `referee gather-evidence --dry-run` counts the real thing,
once there are tracks.
"""

import argparse
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, cast

import numpy as np
from numpy.typing import NDArray

from stages.core.config.loading import load_config, settings_of
from stages.core.records import TrackId
from stages.evidence.frames.sightings import Sightings, visible
from stages.evidence.judging.asking import about_each, flat, which_of
from stages.evidence.judging.candidates import Candidate, contexts_of
from stages.evidence.judging.settings import JudgeSettings
from stages.evidence.judging.showing import Showing
from stages.evidence.judging.tokens import Estimate
from stages.evidence.questions import Question
from stages.evidence.views.scene import Scene

N_VIDEOS, N_EXPRESSIONS = 140, 2236  # of MeViS valid
SIZE, N_FRAMES = (720, 1280), 63  # of most of its videos; their mean length
SENTENCE = "The elephant that walks from the left to the right behind the other one"
# What is changed of the settings, line by line.
WAYS: dict[str, dict[str, Any]] = {
    "numbered": {"views": ["numbered"]},
    "numbered, which of all": {"views": ["numbered"], "ask": "choose"},
    "numbered, packed": {"views": ["numbered"], "frames": {"mode": "packed"}},
    "numbered, clips": {"views": ["numbered"], "frames": {"mode": "clips"}},
    "highlight": {"views": ["highlight"]},
    "trail": {"views": ["trail"]},
    "card": {"views": ["card"]},
    "facts": {"views": ["facts"]},
    "card + facts": {"views": ["card", "facts"]},
    "numbered + facts": {"views": ["numbered", "facts"]},
}


@dataclass(frozen=True)
class Asked:
    """What is asked: questions, pictures as they are sent, tokens as they are sent, and with a context encoded once."""

    questions: int
    images: int
    tokens: int
    encoded: int

    def times(self, n: int) -> "Asked":
        return Asked(self.questions * n, self.images * n, self.tokens * n, self.encoded * n)

    def price(self, per_million: tuple[float, float]) -> float:
        """Every question is answered with one token."""
        return (self.tokens * per_million[0] + self.questions * per_million[1]) / 1e6


class DrawnVideo:
    """A video of boxes that cross it, in place of `stages.evidence.views.video.VideoView`."""

    def __init__(self, n_candidates: int, size: tuple[int, int] = SIZE, n_frames: int = N_FRAMES) -> None:
        rng = np.random.default_rng(0)
        start_N2 = rng.uniform((0.05, 0.1), (0.6, 0.6), (n_candidates, 2))
        step_N2 = rng.uniform(-0.05, 0.3, (n_candidates, 2))
        t_T = np.linspace(0, 1, n_frames)[None, :, None]
        corner_NT2 = np.clip(start_N2[:, None] + step_N2[:, None] * t_T, 0, 0.7) * (size[1], size[0])
        extent_N2 = rng.uniform(0.1, 0.3, (n_candidates, 2)) * (size[1], size[0])
        self.size = size
        self.boxes_NT4 = np.round(np.concatenate([corner_NT2, corner_NT2 + extent_N2[:, None]], -1)).astype(np.float32)
        sides_NT2 = self.boxes_NT4[..., 2:] - self.boxes_NT4[..., :2]
        area_NT, object_NT = sides_NT2.prod(-1).astype(np.int64), np.full(self.boxes_NT4.shape[:2], 5.0)
        tokens_NTC = rng.normal(size=(n_candidates, n_frames, 8))
        seen_NT = visible(object_NT, area_NT, size)
        self.seen = Sightings(object_NT, np.full_like(object_NT, 0.9), area_NT, seen_NT, tokens_NTC)
        self.picture = rng.integers(0, 256, (*size, 3), np.uint8)

    def sightings(self, tracks: Sequence[TrackId]) -> Sightings:
        rows, seen = [track.track for track in tracks], self.seen
        columns = (seen.object_NT, seen.iou_NT, seen.area_NT, seen.visible_NT, seen.tokens_NTC)
        return Sightings(*(column[rows] for column in columns))

    def scene(self, tracks: Sequence[TrackId], window: range) -> Scene:
        rows = [track.track for track in tracks]
        part = slice(window.start, window.stop)
        return Scene(
            size=self.size,
            names=[f"{t:05d}" for t in window],
            boxes_NT4=self.boxes_NT4[rows, part],
            visible_NT=self.seen.visible_NT[rows, part],
            area_NT=self.seen.area_NT[rows, part],
            object_NT=self.seen.object_NT[rows, part],
            frame=lambda t: self.picture,
            mask=lambda n, t: self.mask(rows[n], window[t]),
        )

    def mask(self, n: int, t: int) -> NDArray[np.bool_]:
        mask_HW = np.zeros(self.size, bool)
        x0, y0, x1, y1 = self.boxes_NT4[n, t].astype(int)
        mask_HW[y0:y1, x0:x1] = True
        return mask_HW


def asked_of(settings: JudgeSettings, n_candidates: int, text: str = SENTENCE) -> Asked:
    """What is asked about one expression with so many candidates, at most 8 of which are shown together."""
    return counted(questions_of(settings, n_candidates, text))


def questions_of(settings: JudgeSettings, n_candidates: int, text: str = SENTENCE) -> list[Question]:
    """The questions themselves, about a drawn video."""
    candidates = [Candidate(TrackId("grid", n), (TrackId("grid", n),), 0.0) for n in range(n_candidates)]
    about = about_each if settings.ask == "yes_no" else which_of
    showing = Showing(cast(Any, DrawnVideo(n_candidates)), settings)
    shown = [each for together in contexts_of(candidates) for each in showing.show(together)]
    return flat([item.questions for each in shown for item in about(each, text, settings)])


def counted(questions: Sequence[Question]) -> Asked:
    counter = Estimate()
    contexts = {id(q.context): counter.count(q.context) if q.context else 0 for q in questions}
    tokens = [counter.count(q.parts) for q in questions]
    own = sum(n - contexts[id(q.context)] for n, q in zip(tokens, questions, strict=True))
    images = sum(len(q.pictures) for q in questions)
    return Asked(len(questions), images, sum(tokens), own + sum(contexts.values()))


def settings_for(entry: JudgeSettings, change: dict[str, Any]) -> JudgeSettings:
    """The settings with another way of showing or asking."""
    raw = entry.model_dump(mode="json")
    raw |= {**change, "frames": raw["frames"] | change.get("frames", {})}
    settings: JudgeSettings = type(entry).model_validate(raw)
    return settings


def table(entry: JudgeSettings, n_candidates: int, n_expressions: int, prices: tuple[float, float] | None) -> str:
    head = ["view", "questions", "images", "tokens sent", "tokens, context encoded once"] + ["cost"] * bool(prices)
    rows = [head, ["---"] + ["---:"] * (len(head) - 1)]
    for name, change in WAYS.items():
        asked = asked_of(settings_for(entry, change), n_candidates).times(n_expressions)
        numbers = [f"{n:,}" for n in (asked.questions, asked.images)]
        numbers += [f"{n / 1e6:,.1f} M" for n in (asked.tokens, asked.encoded)]
        rows.append([name, *numbers, *([f"{asked.price(prices):,.2f}"] if prices else [])])
    return "\n".join(f"| {' | '.join(row)} |" for row in rows)


def main(argv: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--config", type=Path, default=Path("config.yaml"))
    parser.add_argument("--dataset", default="mevis", help="whose settings are taken (default: mevis)")
    parser.add_argument("--name", default="judge", help="a name of evidence of kind judge (default: judge)")
    parser.add_argument("--candidates", type=int, default=8, help="per expression (default: 8)")
    parser.add_argument("--expressions", type=int, default=N_EXPRESSIONS, help=f"(default: {N_EXPRESSIONS})")
    parser.add_argument("--prices", type=float, nargs=2, help="per million tokens of questions and of answers")
    arguments = parser.parse_args(argv)
    entry = settings_of(load_config(arguments.config), arguments.dataset).evidence[arguments.name]
    prices = tuple(arguments.prices) if arguments.prices else None
    print(table(entry, arguments.candidates, arguments.expressions, prices))
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
