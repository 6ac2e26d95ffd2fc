"""Kind `judge`: a multimodal LLM says of each candidate whether the expression refers to it.

Per expression the best candidates are outlined and numbered on keyframes; each is asked about twice, with yes for it
and with yes against it, and half the difference of the two log-odds is its evidence.
"""

import logging
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Annotated, Any

from pydantic import Field

from stages.core.config.section import Positive, Precision, Section
from stages.core.records import TrackId, Video
from stages.core.run.batches import Batches
from stages.core.run.cli import Job
from stages.core.state.cache import CacheError, Stamp
from stages.core.state.choices import Candidate, read_scores
from stages.core.state.evidence_file import ExpressionEvidence, TrackEvidence, VideoEvidence, read_evidence
from stages.core.state.weights import Weights, find_weights
from stages.core.tables import EvidenceKind, Gather
from stages.evidence.asked import Answer, Asked
from stages.evidence.prompts import PROMPT_VERSION, ask
from stages.evidence.questions import Judge, Question, Reply
from stages.evidence.views.keyframes import select_keyframes
from stages.evidence.views.video import VideoView

ROLE, BACKEND = "mllm", "transformers"
FOR, AGAINST = "for", "against"  # polarities in the provenance of a number
LOW_MASS = 0.5

log = logging.getLogger(__name__)


class JudgeSettings(Section):
    """What the model is shown, and in which arithmetic it answers."""

    keyframes: Positive = Field(description="Frames of a video that the model sees")
    max_candidates: Annotated[int, Field(ge=1, le=8)] = Field(description="Best tracks shown per expression")
    frame_side: Positive = Field(description="Longest side in pixels of the images shown")
    precision: Precision = Field(description="Arithmetic of the model")


class LazyJudge:
    """A judge that is loaded when the first question comes; where every reply is known it never is."""

    def __init__(self, load: Callable[[], Judge], questions: int) -> None:
        self.load, self.batches = load, Batches(questions, "questions")
        self.judge: Judge | None = None

    def log_odds(self, questions: Sequence[Question]) -> list[Reply]:
        if self.judge is None:
            self.judge = self.load()
        parts = self.batches.run(questions, self.judge.log_odds)
        return [reply for _, replies in parts for reply in replies]


class Judging:
    """Gathers a video's evidence; `stages.core.tables.Gather`."""

    def __init__(self, job: Job, settings: JudgeSettings, weights: Weights, device: str) -> None:
        self.job, self.settings = job, settings
        self.judge = LazyJudge(lambda: _load_model(weights, settings, device), job.settings.run.batches.questions)
        job.batches["questions"] = self.judge.batches
        self.identity = {"weights": weights.id, "precision": settings.precision, **_how_asked()}
        self.warned = False

    def __call__(self, video: Video, path: Path, stamp: Stamp) -> VideoEvidence:
        choices = read_scores(self.job.layout, video)
        known = {} if self.job.overwrite else replies_in(path)
        asked = Asked(path, stamp, self.identity, self.job.settings.run.batches.questions, known)
        view = VideoView(self.job.layout, video.id, self.settings.frame_side)
        return {e.id: self.about(view, asked, e.text, choices[e.id]) for e in video.expressions if e.has_word}

    def about(self, view: VideoView, asked: Asked, text: str, candidates: Sequence[Candidate]) -> ExpressionEvidence:
        """The evidence on one expression: about its best candidates that are visible in a keyframe."""
        shown, keyframes = choose_view(view, candidates, self.settings.max_candidates, self.settings.keyframes)
        if not shown:
            return ExpressionEvidence(())
        pictures = view.pictures(keyframes, shown)
        pairs = [ask(text, number, len(pictures)) for number in range(1, len(shown) + 1)]
        answers = asked.ask(self.judge, [Question(pictures, words) for pair in pairs for words in pair])
        self._check_mass(view.video, answers)
        numbered = zip(shown, answers[::2], answers[1::2], strict=True)
        tracks = tuple(_evidence(track, number, *pair) for number, (track, *pair) in enumerate(numbered, 1))
        return ExpressionEvidence(tracks, provenance={"frames": [view.frames.names[t] for t in keyframes]})

    def _check_mass(self, video: str, answers: Sequence[Answer]) -> None:
        mass = sum(answer.reply.mass for answer in answers) / len(answers)
        if mass < LOW_MASS and not self.warned:
            log.warning("video %s: only %.0f%% of the answers' probability is on yes or no", video, 100 * mass)
            self.warned = True


def choose_view(
    view: VideoView, candidates: Sequence[Candidate], max_candidates: int, count: int
) -> tuple[list[TrackId], list[int]]:
    """Which tracks are shown, in the order of their numbers, and in which frames.

    Numbers follow source and row, not the score: a low number says nothing, and expressions with the same
    candidates share their pictures. A track that none of the keyframes shows is not asked about.
    """
    best = sorted(candidates, key=lambda c: (-c.score, c.id))[:max_candidates]
    if not best:
        return [], []
    best.sort(key=lambda c: c.id)
    tracks = [candidate.id for candidate in best]
    sightings = view.sightings(tracks)
    keyframes = select_keyframes([candidate.score for candidate in best], sightings, count)
    shown = [track for track, seen_T in zip(tracks, sightings.visible_NT, strict=True) if seen_T[keyframes].any()]
    return shown, keyframes


def replies_in(path: Path) -> dict[str, Reply]:
    """The replies that a finished evidence file of this kind gives as the provenance of its numbers, by key.

    The file may be stale: a reply whose key is asked for again is still right. One that cannot be used gives none.
    """
    try:
        entries = [entry for known in read_evidence(path).values() for entry in known.tracks]
        answers = [Answer.from_json(entry.provenance[way]) for entry in entries for way in (FOR, AGAINST)]
    except (CacheError, KeyError, TypeError, ValueError):  # missing, damaged, or of another kind
        return {}
    return {answer.key: answer.reply for answer in answers}


def _evidence(track: TrackId, number: int, for_it: Answer, against: Answer) -> TrackEvidence:
    log_odds = (for_it.reply.log_odds - against.reply.log_odds) / 2
    return TrackEvidence(track, log_odds, {"number": number, FOR: for_it.to_json(), AGAINST: against.to_json()})


def _how_asked() -> dict[str, Any]:
    return {"backend": BACKEND, "prompt_version": PROMPT_VERSION}


def _ingredients(job: Job, settings: JudgeSettings, video: Video) -> Mapping[str, Any]:
    return _how_asked()


def _load(job: Job, settings: JudgeSettings, device: str) -> Gather:
    return Judging(job, settings, find_weights(job.config, job.dataset, ROLE), device)


def _load_model(weights: Weights, settings: JudgeSettings, device: str) -> Judge:
    from stages.evidence.backends.transformers import load_judge

    return load_judge(weights.path, device, settings.precision)


KIND = EvidenceKind(name="judge", settings=JudgeSettings, roles=(ROLE,), ingredients=_ingredients, load=_load)
