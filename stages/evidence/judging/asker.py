"""The common part of kinds that ask an MLLM: from a video to the candidates of its expressions and what is shown of them,
and from questions to kept answers.
"""

import logging
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from stages.core.records import TrackId, Video
from stages.core.run.cli import Job
from stages.core.state.cache import Stamp
from stages.core.state.choices import read_scores
from stages.evidence.asked import Answer, Asked, replies_in
from stages.evidence.candidates import candidate_tracks
from stages.evidence.judging.asking import Questions, ask_all
from stages.evidence.judging.candidates import Candidate, Grouping, best_of
from stages.evidence.judging.model import Model
from stages.evidence.judging.settings import AskingSettings
from stages.evidence.judging.showing import Showing
from stages.evidence.views.video import VideoView

LOW_MASS = 0.5

log = logging.getLogger(__name__)


def uses_scores(settings: AskingSettings) -> bool:
    """Whether the selector's scores say which candidates are shown, and weigh them in the choice of frames."""
    return settings.max_candidates is not None


@dataclass(frozen=True, eq=False)
class Subject:
    """A video as it is asked about.

    Attributes:
        candidates: expression id → its candidates, of expressions that have a word.
        showing: shows them.
    """

    candidates: Mapping[str, Sequence[Candidate]]
    showing: Showing

    @classmethod
    def of(cls, job: Job, settings: AskingSettings, video: Video) -> "Subject":
        """A video of the cache."""
        view = VideoView(job.layout, video.id)
        scores = _scored_tracks(job, settings, video)
        seen = {track for tracks in scores.values() for track in tracks}
        seen = {track for track in seen if view.is_seen(track)}
        ordered = dict.fromkeys(track for tracks in scores.values() for track in tracks if track in seen)
        grouping = Grouping(job.layout, video.id, ordered, settings.same_iou)
        candidates: dict[str, list[Candidate]] = {}
        for expression in video.expressions:
            if expression.has_word:
                own = {track: score for track, score in scores[expression.id].items() if track in seen}
                candidates[expression.id] = best_of(grouping.candidates(own), settings.max_candidates)
        return cls(candidates, Showing(view, settings))


def _scored_tracks(job: Job, settings: AskingSettings, video: Video) -> dict[str, dict[TrackId, float | None]]:
    """Expression id → its tracks, each with the selector's logit where that is used."""
    if uses_scores(settings):
        return {e: {c.id: c.score for c in candidates} for e, candidates in read_scores(job.layout, video).items()}
    tracks = candidate_tracks(job.layout, video, job.settings.selector.sources.evaluate)
    return {e: dict.fromkeys(of_expression) for e, of_expression in tracks.items()}


class Asker:
    """Asks a model about videos, and nothing twice."""

    def __init__(self, job: Job, settings: AskingSettings, device: str) -> None:
        self.job, self.model = job, Model(job, settings, device)
        self.warned = False

    def begin(self, path: Path, stamp: Stamp) -> Asked:
        """The answers about a video, as far as they are known."""
        known = {} if self.job.overwrite else replies_in(path)
        return Asked(path, stamp, self.model.identity, self.model.per_pass, known)

    def ask(self, asked: Asked, video: Video, questions: Sequence[Questions]) -> list[dict[str, Answer]]:
        """The answers to several sets of questions; warns once where the model answers something else."""
        answers = ask_all(asked, self.model, questions)
        self._check_mass(video, [answer for each in answers for answer in each.values()])
        return answers

    def _check_mass(self, video: Video, answers: Sequence[Answer]) -> None:
        if not answers or self.warned:
            return
        mass = sum(answer.reply.mass for answer in answers) / len(answers)
        if mass < LOW_MASS:
            log.warning(
                "video %s: only %.0f%% of the answers' probability is on the options; the model does not keep to the "
                "form that it is asked for",
                video.id,
                100 * mass,
            )
            self.warned = True
