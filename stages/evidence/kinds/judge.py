"""Kind `judge`: a multimodal LLM says of each candidate whether the expression refers to it, or which of them it is.

What it is shown, in which frames, and how its replies become log-odds is in stages/evidence/judging; the words are in
stages/evidence/prompts.py. Near-duplicate tracks are one candidate and get the same number.
"""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from stages.core.records import TrackId, Video
from stages.core.run.cli import Job
from stages.core.state.cache import Stamp
from stages.core.state.evidence_file import ExpressionEvidence, TrackEvidence, VideoEvidence
from stages.core.tables import EvidenceKind, Gather
from stages.evidence.asked import Answer
from stages.evidence.judging.asker import Asker, Subject, uses_scores
from stages.evidence.judging.asking import (
    CHOICE,
    Item,
    about_each,
    calibrated,
    flat,
    pooled,
    which_of,
    yes_log_odds,
)
from stages.evidence.judging.candidates import Candidate, contexts_of
from stages.evidence.judging.model import how_asked
from stages.evidence.judging.plan import Plan
from stages.evidence.judging.settings import JudgeSettings

# Item → the answers to its questions.
Answered = Sequence[tuple[Item, Mapping[str, Answer]]]


def items_of(settings: JudgeSettings, subject: Subject, video: Video) -> dict[str, list[Item]]:
    """Expression id → what is asked for it."""
    about = about_each if settings.ask == "yes_no" else which_of
    return {
        expression.id: [
            item
            for together in contexts_of(subject.candidates[expression.id])
            for shown in subject.showing.show(together)
            for item in about(shown, expression.text, settings)
        ]
        for expression in video.expressions
        if expression.has_word
    }


def evidence_of(candidates: Sequence[Candidate], answered: Answered, names: Sequence[str]) -> ExpressionEvidence:
    """The evidence on one expression; candidates about which nothing was asked have none.

    Args:
        names: of the video's frames.
    """
    if not answered:
        return ExpressionEvidence(())
    judged: dict[TrackId, list[tuple[float, dict[str, Any]]]] = {}
    for item, answers in answered:
        said = {way: answer.to_json() for way, answer in answers.items()} if item.n is not None else {}
        for n, log_odds in values_of(item, answers).items():
            entry = {"number": n + 1, "log_odds": log_odds, **said}
            judged.setdefault(item.shown.candidates[n].shown, []).append((log_odds, entry))
    tracks = [_track_evidence(c, judged[c.shown]) for c in candidates if c.shown in judged]
    shown = {id(item.shown): item.shown.provenance(names) for item, _ in answered}
    return ExpressionEvidence(
        tuple(entry for group in tracks for entry in group), _existence(answered), _provenance(answered, shown)
    )


def values_of(item: Item, answers: Mapping[str, Answer]) -> dict[int, float]:
    """Candidate → log-odds: of yes, or of its number against all other answers."""
    if item.n is not None:
        return {item.n: yes_log_odds(answers)}
    reply = calibrated(answers, CHOICE)
    return {n: reply.odds_of(n) for n in range(len(item.shown.candidates))}


def _track_evidence(candidate: Candidate, judged: Sequence[tuple[float, dict[str, Any]]]) -> list[TrackEvidence]:
    """The same number for all tracks of a candidate; that of the track that was shown says where it comes from."""
    log_odds = pooled([value for value, _ in judged])
    own = {"judged": [entry for _, entry in judged]}
    copied = {"same_as": candidate.shown._asdict()}
    return [TrackEvidence(t, log_odds, own if t == candidate.shown else copied) for t in candidate.members]


def _existence(answered: Answered) -> float | None:
    """A choice also says whether it is any of the candidates; the most certain of several lists counts."""
    choices = [(item, calibrated(answers, CHOICE)) for item, answers in answered if item.n is None]
    odds = [-reply.odds_of(len(item.shown.candidates)) for item, reply in choices]
    return max(odds) if odds else None


def _provenance(answered: Answered, shown: Mapping[int, dict[str, Any]]) -> dict[str, Any]:
    choices = [{w: answer.to_json() for w, answer in answers.items()} for item, answers in answered if item.n is None]
    return {"shown": list(shown.values()), **({"choices": choices} if choices else {})}


class Judging:
    """Gathers a video's evidence; `stages.core.tables.Gather`."""

    def __init__(self, job: Job, settings: JudgeSettings, device: str) -> None:
        self.job, self.settings = job, settings
        self.asker = Asker(job, settings, device)

    def __call__(self, video: Video, path: Path, stamp: Stamp) -> VideoEvidence:
        subject, asked = Subject.of(self.job, self.settings, video), self.asker.begin(path, stamp)
        items = items_of(self.settings, subject, video)
        every = [item for of_expression in items.values() for item in of_expression]
        answers = dict(
            zip(map(id, every), self.asker.ask(asked, video, [item.questions for item in every]), strict=True)
        )
        names = subject.showing.view.frames.names
        return {
            e: evidence_of(subject.candidates[e], [(item, answers[id(item)]) for item in of_expression], names)
            for e, of_expression in items.items()
        }


def _ingredients(job: Job, settings: JudgeSettings, video: Video) -> Mapping[str, Any]:
    return how_asked()


def _load(job: Job, settings: JudgeSettings, device: str) -> Gather:
    return Judging(job, settings, device)


def _plan(settings: JudgeSettings, subject: Subject, video: Video) -> Plan:
    items = items_of(settings, subject, video)
    return Plan(flat([item.questions for of_expression in items.values() for item in of_expression]))


KIND = EvidenceKind(
    name="judge",
    settings=JudgeSettings,
    roles=(),
    uses_scores=uses_scores,
    ingredients=_ingredients,
    load=_load,
    plan=_plan,
)
