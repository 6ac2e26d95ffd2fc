"""Kind `agent`: rounds in which an MLLM accepts, rejects or is uncertain of each candidate, and looks again at the uncertain.

After AgentRVOS (its code was never released): at most three rounds, each on frames from the time in which a candidate that is
left can be seen. A candidate's evidence is the log-odds of accept against reject when it was last looked at; one that
was never looked at has none. What ends the questions about a video before everything is decided (rounds, budget, a
server that does not answer) is recorded with each expression. How it is done: stages/evidence/agent.
"""

import logging
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from stages.core.records import Video
from stages.core.run.cli import Job
from stages.core.state.cache import Stamp
from stages.core.state.evidence_file import ExpressionEvidence, TrackEvidence, VideoEvidence
from stages.core.tables import EvidenceKind, Gather
from stages.evidence.agent.budget import Purse
from stages.evidence.agent.plan import plan_of
from stages.evidence.agent.rounds import Agent, Dialogue
from stages.evidence.agent.settings import AgentSettings
from stages.evidence.agent.voices import Live, Replay, Voice
from stages.evidence.asked import Patience
from stages.evidence.judging.asker import Asker, Subject, uses_scores
from stages.evidence.judging.candidates import Candidate
from stages.evidence.judging.model import how_asked
from stages.evidence.judging.tokens import Counter, counter_for
from stages.evidence.questions import Question, Said

log = logging.getLogger(__name__)


def dialogues_of(subject: Subject, video: Video) -> list[Dialogue]:
    """One per expression that has a word, in their order."""
    return [Dialogue(e.id, e.text, subject.candidates[e.id]) for e in video.expressions if e.has_word]


def evidence_of(dialogue: Dialogue) -> ExpressionEvidence:
    tracks = [
        entry
        for candidate in dialogue.candidates
        if candidate.shown in dialogue.seen
        for entry in _track_evidence(dialogue, candidate)
    ]
    return ExpressionEvidence(tuple(tracks), None, {"rounds": dialogue.rounds, "ended": dialogue.ended})


def _track_evidence(dialogue: Dialogue, candidate: Candidate) -> list[TrackEvidence]:
    """The same number for all tracks of a candidate."""
    seen = dialogue.seen[candidate.shown]
    own = {"judged": [each.to_json() for each in seen]}
    copied = {"same_as": candidate.shown._asdict()}
    log_odds = seen[-1].opinion.log_odds
    return [TrackEvidence(t, log_odds, own if t == candidate.shown else copied) for t in candidate.members]


class Looking:
    """Gathers a video's evidence; `stages.core.tables.Gather`."""

    def __init__(self, job: Job, settings: AgentSettings, device: str) -> None:
        self.job, self.settings = job, settings
        self.asker = Asker(job, settings, device)
        self.counter = self._counter()

    def __call__(self, video: Video, path: Path, stamp: Stamp) -> VideoEvidence:
        subject, asked = Subject.of(self.job, self.settings, video), self.asker.begin(path, stamp)
        purse = Purse(self.settings.budget, self.counter, self.settings.prices)
        voice = Live(asked, self.asker.model, purse, Patience(self.settings.budget.unanswered))
        dialogues = looked_at(self.settings, subject, video, voice)
        if purse.spent:
            log.info("video %s: %s", video.id, purse.spent)
        if refused := list(voice.patience.refused.values()):
            log.warning(
                "video %s: %d questions have no answer, and what they were about is left uncertain (%s); remove %s and "
                "gather again to ask them again",
                video.id,
                len(refused),
                refused[0],
                path,
            )
        return {dialogue.expression: evidence_of(dialogue) for dialogue in dialogues}

    def _counter(self) -> Counter | None:
        budget = self.settings.budget
        if budget.tokens is None and budget.money is None:
            return None
        return counter_for(next((found.path for found in self.asker.model.weights.values()), None))


def looked_at(settings: AgentSettings, subject: Subject, video: Video, voice: Voice) -> list[Dialogue]:
    """The dialogues about a video, all of them ended."""
    dialogues = dialogues_of(subject, video)
    Agent(settings, subject.showing, voice, subject.showing.view.frames.names).run(dialogues)
    return dialogues


def _ingredients(job: Job, settings: AgentSettings, video: Video) -> Mapping[str, Any]:
    return how_asked()


def _load(job: Job, settings: AgentSettings, device: str) -> Gather:
    return Looking(job, settings, device)


def _plan(settings: AgentSettings, subject: Subject, video: Video) -> Any:
    return plan_of(settings, subject.showing, dialogues_of(subject, video))


def _asked(
    job: Job, settings: AgentSettings, video: Video, known: Mapping[str, Said], who: Mapping[str, Any]
) -> Sequence[Question]:
    voice = Replay(known, who)
    looked_at(settings, Subject.of(job, settings, video), video, voice)
    return list(voice.questions.values())


KIND = EvidenceKind(
    name="agent",
    settings=AgentSettings,
    roles=(),
    uses_scores=uses_scores,
    ingredients=_ingredients,
    load=_load,
    plan=_plan,
    asked=_asked,
)
