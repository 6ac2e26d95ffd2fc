"""Kind `exists`: is there any object that the expression refers to? Asked apart from the candidates.

The question holds the whole description. A model that finds nothing is asked a second time, what contradicts the
description, and its "no" counts only as far as it names something: existence = max(e, −a), with e the log-odds of yes
and a the log-odds that something contradicts. Systems that rejected on a first "no" lost more targets than they saved
(design: 2026 challenges, T-acc 93 → 58).
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from stages.core.records import Video
from stages.core.run.cli import Job
from stages.core.state.cache import Stamp
from stages.core.state.evidence_file import ExpressionEvidence, VideoEvidence
from stages.core.tables import EvidenceKind, Gather
from stages.evidence.asked import Answer
from stages.evidence.judging.asker import Asker, Subject, uses_scores
from stages.evidence.judging.asking import FREE, Questions, calibrated, flat, logsumexp, polar, with_free, yes_log_odds
from stages.evidence.judging.candidates import Candidate, contexts_of
from stages.evidence.judging.model import how_asked
from stages.evidence.judging.plan import Plan
from stages.evidence.judging.settings import ExistsSettings
from stages.evidence.judging.showing import Shown
from stages.evidence.prompts import CONTENT_FREE, CONTRADICTIONS, ask_contradiction, ask_existence
from stages.evidence.questions import Question

AUDIT = "audit"


@dataclass(frozen=True, eq=False)
class Doubt:
    """What is asked of an expression in one stretch of time: whether there is something, and what contradicts it."""

    expression: str
    shown: Shown
    questions: Questions
    audit: Questions


def doubts_of(settings: ExistsSettings, subject: Subject, video: Video) -> list[Doubt]:
    """Everything that may be asked about a video, in order of its expressions."""
    return [
        _doubt(expression.id, shown, expression.text, settings)
        for expression in video.expressions
        if expression.has_word
        for together in _together(settings, subject.candidates[expression.id])
        for shown in subject.showing.show(together)
    ]


def _together(settings: ExistsSettings, candidates: Sequence[Candidate]) -> list[list[Candidate]]:
    """Plain frames show no candidate, so that there are never too many for them."""
    plain = settings.views == ["plain"]
    return contexts_of(candidates, max(1, len(candidates))) if plain else contexts_of(candidates)


def _doubt(expression: str, shown: Shown, text: str, settings: ExistsSettings) -> Doubt:
    def asked(words: str) -> dict[str, Question]:
        return polar(shown, (), ask_existence(words), settings)

    def audit(words: str) -> dict[str, Question]:
        return {AUDIT: Question(shown.composition.context, (ask_contradiction(words),), NUMBERS)}

    free = settings.calibrate
    return Doubt(
        expression,
        shown,
        with_free(asked(text), asked(CONTENT_FREE) if free else {}),
        with_free(audit(text), audit(CONTENT_FREE) if free else {}),
    )


NUMBERS = tuple(str(n) for n in range(1, len(CONTRADICTIONS) + 1))


def is_no(answers: Mapping[str, Answer]) -> bool:
    return yes_log_odds(answers) <= 0


def existence(answers: Mapping[str, Answer]) -> float:
    """Log-odds that there is something, from the answers to both questions or to the first alone."""
    odds = yes_log_odds({way: answer for way, answer in answers.items() if way.removeprefix(FREE) != AUDIT})
    if AUDIT not in answers:
        return odds
    return max(odds, calibrated(answers, AUDIT).odds_of(len(CONTRADICTIONS) - 1))


def contradiction(answers: Mapping[str, Answer]) -> str:
    """What was named as contradicting."""
    scores = calibrated(answers, AUDIT).scores
    return CONTRADICTIONS[max(range(len(scores)), key=scores.__getitem__)]


class Existing:
    """Gathers a video's evidence; `stages.core.tables.Gather`."""

    def __init__(self, job: Job, settings: ExistsSettings, device: str) -> None:
        self.job, self.settings = job, settings
        self.asker = Asker(job, settings, device)

    def __call__(self, video: Video, path: Path, stamp: Stamp) -> VideoEvidence:
        subject, asked = Subject.of(self.job, self.settings, video), self.asker.begin(path, stamp)
        doubts = doubts_of(self.settings, subject, video)
        answers = self.asker.ask(asked, video, [doubt.questions for doubt in doubts])
        audited = [k for k, known in enumerate(answers) if self.settings.audit and is_no(known)]
        for k, known in zip(audited, self.asker.ask(asked, video, [doubts[k].audit for k in audited]), strict=True):
            answers[k] |= known
        names = subject.showing.view.frames.names
        return {
            e.id: evidence_of([(d, a) for d, a in zip(doubts, answers, strict=True) if d.expression == e.id], names)
            for e in video.expressions
            if e.has_word
        }


def evidence_of(answered: Sequence[tuple[Doubt, Mapping[str, Answer]]], names: Sequence[str]) -> ExpressionEvidence:
    """The evidence on one expression: there is something if there is in any stretch of time or list of candidates.

    Args:
        names: of the video's frames.
    """
    if not answered:
        return ExpressionEvidence(())
    asked = [_provenance(doubt, answers, names) for doubt, answers in answered]
    return ExpressionEvidence((), logsumexp([existence(answers) for _, answers in answered]), {"asked": asked})


def _provenance(doubt: Doubt, answers: Mapping[str, Answer], names: Sequence[str]) -> dict[str, Any]:
    named = {"contradiction": contradiction(answers)} if AUDIT in answers else {}
    replies = {way: answer.to_json() for way, answer in answers.items()}
    return {**doubt.shown.provenance(names), "existence": existence(answers), **named, **replies}


def _ingredients(job: Job, settings: ExistsSettings, video: Video) -> Mapping[str, Any]:
    return how_asked()


def _load(job: Job, settings: ExistsSettings, device: str) -> Gather:
    return Existing(job, settings, device)


def _plan(settings: ExistsSettings, subject: Subject, video: Video) -> Plan:
    doubts = doubts_of(settings, subject, video)
    audits = [doubt.audit for doubt in doubts] if settings.audit else []
    return Plan(flat([doubt.questions for doubt in doubts]), flat(audits))


KIND = EvidenceKind(
    name="exists",
    settings=ExistsSettings,
    roles=(),
    uses_scores=uses_scores,
    ingredients=_ingredients,
    load=_load,
    plan=_plan,
)
