"""Ways to choose tracks that learn nothing: what a selector has to beat, and the oracle that bounds it.

| name | choice |
|---|---|
| oracle | the union that fits the truth best (stages/comparison/oracle.py); looks at the ground truth |
| gdino-best | the one track whose prompt GroundingDINO scored highest for the expression; always answers |
| gdino | tracks whose prompt it scored above a threshold; may answer with nothing |
| seg | every track that began with a mask that a [SEG] model decoded for the expression |
| largest | the one track with most pixels over all frames |
| random | one track drawn evenly, from the seed and the ids of video and expression |
| all | every track |
| none | nothing |

Ties go to the first by source and track. An expression without tracks gets an empty answer.

Legend: N tracks of an expression.
"""

import hashlib
from collections.abc import Sequence
from functools import partial

import numpy as np
from numpy.typing import NDArray

from stages.comparison.contenders import Contender, Verdict
from stages.comparison.oracle import best_union
from stages.comparison.video import View
from stages.core.config.loading import nearest
from stages.core.records import Source, TrackId
from stages.metrics.boundary import bound_radius
from stages.prompting.grounding_dino import SOURCE as DETECTOR
from stages.prompting.seg import SOURCE as SEG


class Oracle:
    """Chooses by the ground truth; remembers how many of its choices are proven to be the best."""

    def __init__(self) -> None:
        self.asked = self.proven = 0

    def __call__(self, view: View) -> list[Verdict]:
        choice_of: dict[tuple[tuple[str, ...], tuple[TrackId, ...]], NDArray[np.bool_]] = {}
        verdicts = []
        for e, expression in enumerate(view.video.expressions):
            candidates = tuple(view.candidates(e))
            key = (expression.annotations or (), candidates)
            if key not in choice_of:
                choice_of[key] = self._choose(view, e, candidates)
            verdicts.append(Verdict(np.zeros(len(candidates)), choice_of[key]))
        return verdicts

    def _choose(self, view: View, expression: int, candidates: tuple[TrackId, ...]) -> NDArray[np.bool_]:
        scorer, asked = view.scorer, view.video.expressions[expression]
        frames = scorer.frames(asked)
        truth = scorer.scene.truth_at(asked, frames)
        chosen_N = np.zeros(len(candidates), bool)
        if truth is None or not len(truth):
            return chosen_N
        tracks = [scorer.clips[track] for track in candidates]
        shown = tracks if frames is None else [track.take(frames) for track in tracks]
        best = best_union(shown, truth, bound_radius(*scorer.scene.size, scorer.ratio))
        self.asked, self.proven = self.asked + 1, self.proven + best.proven
        chosen_N[list(best.chosen)] = True
        return chosen_N

    def note(self) -> str:
        """How good a bound it is, for the notes under the table."""
        return (
            "oracle: for every expression the union of tracks with the best mean over frames of (J + F) / 2, an upper "
            f"bound for every choice of these tracks; proven for {self.proven} of {self.asked} pairs of tracks and target."
        )


def detector(view: View) -> list[Verdict]:
    """GroundingDINO's scores as logits; −∞ for tracks that it did not prompt."""
    verdicts = []
    for score_N in view.detector(DETECTOR.name):
        probability_N = score_N.clip(0, 1)
        with np.errstate(divide="ignore"):
            verdicts.append(Verdict(np.log(probability_N) - np.log1p(-probability_N)))
    return verdicts


def highest(view: View) -> list[Verdict]:
    """The one track that GroundingDINO scored highest; none where it prompted none."""
    logits = [verdict.logits_N for verdict in detector(view)]
    return [Verdict(logit_N, _one(logit_N) & (logit_N > -np.inf)) for logit_N in logits]


def tracks_of(view: View, source: Source) -> list[Verdict]:
    """All tracks of the expression's own that are of a source."""
    verdicts = []
    for e in range(len(view.video.expressions)):
        of_source_N = np.array([track.source == source for track in view.candidates(e)], bool)
        verdicts.append(Verdict(np.zeros(len(of_source_N)), of_source_N))
    return verdicts


def largest(view: View) -> list[Verdict]:
    area_M = view.areas_M()
    areas = [area_M[view.tracks.tracks_of(e)] for e in range(len(view.video.expressions))]
    return [Verdict(np.zeros(len(area_N)), _one(area_N)) for area_N in areas]


def random_track(view: View, seed: int) -> list[Verdict]:
    verdicts = []
    for e, expression in enumerate(view.video.expressions):
        drawn = hashlib.sha256(f"{seed}\0{view.video.id}\0{expression.id}".encode()).digest()
        generator = np.random.default_rng(list(drawn))
        n = len(view.candidates(e))
        verdicts.append(Verdict(np.zeros(n), _one(generator.random(n))))
    return verdicts


def every(view: View, value: bool) -> list[Verdict]:
    sizes = [len(view.candidates(e)) for e in range(len(view.video.expressions))]
    return [Verdict(np.zeros(n), np.full(n, value)) for n in sizes]


def _one(value_N: NDArray[np.float64]) -> NDArray[np.bool_]:
    """True at the first of the largest."""
    chosen_N = np.zeros(len(value_N), bool)
    if len(value_N):
        chosen_N[int(value_N.argmax())] = True
    return chosen_N


NAMES = ("oracle", "gdino-best", "gdino", "seg", "largest", "random", "all", "none")


def baselines(names: Sequence[str], seeds: Sequence[int]) -> list[Contender]:
    """
    Raises:
        ValueError: a name is unknown.
    """
    return [contender for name in names for contender in _make(name, seeds)]


def _make(name: str, seeds: Sequence[int]) -> list[Contender]:
    oracle = Oracle()
    single = {
        "oracle": Contender("oracle", oracle, note=oracle.note),
        "gdino-best": Contender("gdino-best", highest, needs=DETECTOR.name),
        "gdino": Contender("gdino", detector, swept=True, needs=DETECTOR.name),
        "seg": Contender("seg", partial(tracks_of, source=SEG.name), needs=SEG.name),
        "largest": Contender("largest", largest),
        "all": Contender("all", partial(every, value=True)),
        "none": Contender("none", partial(every, value=False)),
    }
    if name == "random":
        return [Contender("random", partial(random_track, seed=seed), run=f"seed {seed}") for seed in seeds]
    if name not in single:
        raise ValueError(f"no baseline {name!r}{nearest(name, NAMES)}")
    return [single[name]]
