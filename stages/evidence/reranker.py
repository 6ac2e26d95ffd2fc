"""The worker of rerank_tracks: one video's scores → matches of the MLLM → decisions.

S_n = score_n + β·match_n, the match being the MLLM's log-odds that the expression refers to track n. All
tracks with σ(S_n) above the threshold are chosen; where there is none, nothing is (no target).
"""

import logging
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path

from stages.core.config.sections import Rerank, Threshold
from stages.core.records import TrackId, Video
from stages.core.state.cache import Stamp
from stages.core.state.choices import Candidate, Choices, read_choices, read_threshold, write_choices
from stages.core.state.graph import SCORE_TRACKS, Layout
from stages.core.state.weights import Weights
from stages.evidence.judge import Judge, Question, Reply
from stages.evidence.keyframes import select_keyframes, sigmoid
from stages.evidence.prompts import PROMPT_VERSION, ask
from stages.evidence.replies import Replies, replies_path
from stages.evidence.view import VideoView

log = logging.getLogger(__name__)
LOW_MASS = 0.5

Matches = Mapping[TrackId, float]


class LazyJudge:
    """A judge that is loaded when the first question comes; with every reply cached it never is."""

    def __init__(self, load: Callable[[], Judge]) -> None:
        self.load = load
        self.judge: Judge | None = None

    def log_odds(self, questions: Sequence[Question]) -> list[Reply]:
        if self.judge is None:
            self.judge = self.load()
        return self.judge.log_odds(questions)


class Reranker:
    """Decides a video; called by `stages.core.run.runner.run_shard`.

    Args:
        layout: of the split.
        settings: the section `rerank`.
        threshold: `selector.threshold`; auto = what the selector recommends, as its scores say.
        weights: of the MLLM; None = the selector's decision stands.
        device: "cpu" or "cuda".
    """

    def __init__(
        self, layout: Layout, settings: Rerank, threshold: Threshold, weights: Weights | None, device: str
    ) -> None:
        self.layout, self.settings, self.threshold, self.weights = layout, settings, threshold, weights
        self.judge = LazyJudge(lambda: self._load(device))
        self.warned = settings.weight == 0  # where the MLLM decides nothing its format does not matter

    def __call__(self, video: Video, path: Path, stamp: Stamp) -> None:
        scores = self.layout.file(SCORE_TRACKS, video.id)
        choices = read_choices(scores, SCORE_TRACKS)
        threshold = read_threshold(scores) if self.threshold == "auto" else self.threshold
        missing = [expression.id for expression in video.expressions if expression.id not in choices]
        if missing:
            raise ValueError(f"video {video.id!r}: no scores for expressions {missing}; run score_tracks again")
        matches = self.matches(video, choices) if self.weights is not None else {}
        decided = {
            expression.id: decide(
                choices[expression.id], matches.get(expression.id, {}), self.settings.weight, threshold
            )
            for expression in video.expressions
        }
        write_choices(path, stamp, decided, threshold)

    def matches(self, video: Video, choices: Choices) -> dict[str, Matches]:
        """Expression id → track → log-odds, of the tracks that were shown."""
        assert self.weights is not None
        if not any(choices.values()):
            return {}
        view = VideoView(self.layout, video.id, self.settings.frame_side)
        identity = {
            "backend": "transformers",
            "weights": self.weights.id,
            "prompt_version": PROMPT_VERSION,
            "precision": self.settings.precision,
        }
        replies = Replies(replies_path(self.layout, video.id), identity, self.settings.questions_per_pass)
        return {
            expression.id: self.match(view, replies, expression.text, choices[expression.id])
            for expression in video.expressions
        }

    def match(self, view: VideoView, replies: Replies, text: str, candidates: Sequence[Candidate]) -> Matches:
        """Of one expression's best candidates that are visible in a keyframe."""
        shown, keyframes = choose_view(view, candidates, self.settings.max_candidates, self.settings.keyframes)
        if not shown:
            return {}
        images = view.images(keyframes, shown)
        pairs = [ask(text, number, len(images)) for number in range(1, len(shown) + 1)]
        answered = replies.ask(self.judge, [Question(images, words) for pair in pairs for words in pair])
        self._check_mass(view.video, answered)
        return {
            track: (for_it.log_odds - against.log_odds) / 2
            for track, for_it, against in zip(shown, answered[::2], answered[1::2], strict=True)
        }

    def _check_mass(self, video: str, replies: Sequence[Reply]) -> None:
        mass = sum(reply.mass for reply in replies) / len(replies)
        if mass < LOW_MASS and not self.warned:
            log.warning("video %s: only %.0f%% of the answers' probability is on yes or no", video, 100 * mass)
            self.warned = True

    def _load(self, device: str) -> Judge:
        from stages.evidence.local import load_judge

        assert self.weights is not None
        return load_judge(self.weights.path, device, self.settings.precision)


def choose_view(
    view: VideoView, candidates: Sequence[Candidate], max_candidates: int, count: int
) -> tuple[list[TrackId], list[int]]:
    """Which tracks are shown, in the order of their numbers, and in which frames.

    Numbers follow source and row, not the score: a low number says nothing, and expressions with the same
    candidates share their images. A track that none of the keyframes shows is not asked about.
    """
    best = sorted(candidates, key=lambda c: (-c.score, c.source, c.track))[:max_candidates]
    if not best:
        return [], []
    best.sort(key=lambda c: (c.source, c.track))
    tracks = [candidate.id for candidate in best]
    evidence = view.evidence(tracks)
    keyframes = select_keyframes([candidate.score for candidate in best], evidence, count)
    shown = [track for track, seen_T in zip(tracks, evidence.visible_NT, strict=True) if seen_T[keyframes].any()]
    return shown, keyframes


def decide(candidates: Sequence[Candidate], matches: Matches, weight: float, threshold: float) -> list[Candidate]:
    """The candidates with `match`, `final` and `chosen` filled in; without a match, final = score."""
    decided = []
    for candidate in candidates:
        match = matches.get(candidate.id)
        final = candidate.score if match is None else candidate.score + weight * match
        chosen = bool(sigmoid(final) > threshold)
        decided.append(replace(candidate, match=match, final=final, chosen=chosen))
    return decided
