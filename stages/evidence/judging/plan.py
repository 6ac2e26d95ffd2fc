"""What would be asked: `gather_evidence --dry-run`. Nothing is asked, no model is loaded and no file is written."""

import logging
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from stages.core.records import Video
from stages.core.run.cli import Job
from stages.core.run.runner import shard, stamp_of
from stages.core.state.cache import CacheError, State, inspect
from stages.core.state.evidence_file import asked_path
from stages.core.state.graph import GATHER_EVIDENCE
from stages.core.tables import EVIDENCE
from stages.evidence.asked import kept_in, key_of, replies_in
from stages.evidence.backends.loading import backend_weights
from stages.evidence.judging.asker import Subject
from stages.evidence.judging.model import identity
from stages.evidence.judging.tokens import Counter, counter_for
from stages.evidence.questions import Question

MILLION = 1_000_000

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Most:
    """What a video may take; None = no limit."""

    questions: int | None = None
    tokens: int | None = None
    money: float | None = None


@dataclass(frozen=True, eq=False)
class Plan:
    """What is asked about a video, questions with the same context side by side.

    Attributes:
        perhaps: what is asked only after some answers.
        later: questions like others that may follow and cannot be known yet, each with how many at most.
        most: the budget.
    """

    questions: Sequence[Question]
    perhaps: Sequence[Question] = ()
    later: Sequence[tuple[Question, int]] = ()
    most: Most = Most()


@dataclass
class Bill:
    """What is still to ask of a job.

    Attributes:
        videos, finished: how many are to be done, and how many are complete.
        unready: video → why nothing can be said of it yet.
        questions, perhaps: how many; and how many more at most, which depend on answers.
        known: replies that an interrupted job or an older file has.
        images: pictures in all questions, each as often as it is sent.
        tokens: of all questions, as a server counts them.
        encoded: the same with a shared context counted once.
        answered: tokens of all answers, each at its longest.
        counted_by: what the tokens were counted by, in words.
        prices: per million tokens of questions and of answers; None = not known.
        cost: of everything at these prices, what depends on answers counted as asked.
    """

    counted_by: str = ""
    prices: tuple[float, float] | None = None
    videos: int = 0
    finished: int = 0
    unready: dict[str, str] = field(default_factory=dict)
    questions: int = 0
    perhaps: int = 0
    known: int = 0
    images: int = 0
    tokens: int = 0
    encoded: int = 0
    answered: int = 0
    cost: float | None = None

    def __post_init__(self) -> None:
        self.cost = None if self.prices is None else 0.0

    def lines(self) -> list[str]:
        """The bill in words."""
        many = f", and at most {self.perhaps:,} more that depend on answers" if self.perhaps else ""
        lines = [
            f"videos     {self.videos:,} to do, {self.finished:,} finished",
            f"questions  {self.questions:,}{many}; {self.known:,} replies are known and not asked for",
            f"images     {self.images:,}",
            f"tokens     {self.tokens:,}; {self.encoded:,} where a shared context is encoded once ({self.counted_by})",
        ]
        if self.cost is not None and self.prices is not None:
            lines.append(f"cost       {self.cost:,.2f} at {self.prices[0]} and {self.prices[1]} per million tokens")
        if self.unready:
            video, reason = next(iter(self.unready.items()))
            lines.append(f"not ready  {len(self.unready):,} videos, first {video}: {reason}")
        return lines


def draw_up(job: Job, videos: Sequence[Video], ingredients: Callable[[Video], Mapping[str, Any]]) -> Bill:
    """The bill of a job's shard for one name of evidence, `job.evidence`.

    Args:
        ingredients: of a video's evidence file, without a side effect.
    """
    assert job.evidence is not None
    settings = job.settings.evidence[job.evidence]
    plan_of = EVIDENCE[settings.kind].plan
    if plan_of is None:
        return Bill(counted_by="this kind asks nothing")
    who, folder = _asked(job, settings)
    counter = counter_for(folder)
    bill = Bill(counter.name, _prices(settings))
    for video in shard(videos[: job.limit], job.pid, job.n_pids):
        try:
            known = _known(job, video, ingredients)
            if known is None:
                bill.finished += 1
                continue
            plan = plan_of(settings, Subject.of(job, settings, video), video)
        except (ValueError, OSError) as error:
            bill.unready[video.id] = str(error)
            continue
        bill.videos += 1
        _add(bill, plan, {} if who is None else known, who or {}, counter)
    return bill


def bill_of(settings: Any, plans: Iterable[Sequence[Plan]]) -> Bill:
    """The bill of several videos, none of which was asked about yet.

    Args:
        plans: of each video those of its expressions, which share no context.
    """
    counter = counter_for(None)
    bill = Bill(counter.name, _prices(settings))
    for of_video in plans:
        taken = _Taken()
        for plan in of_video:
            _take(taken, plan, {}, {}, counter)
        bill.videos += 1
        _count(bill, taken, of_video[0].most if of_video else Most())
    return bill


def _asked(job: Job, settings: Any) -> tuple[dict[str, Any] | None, Path | None]:
    """Who is asked, None where its weights are not there yet; and the folder of the model, where it runs here."""
    try:
        weights = backend_weights(job.config, job.dataset, settings)
    except ValueError as error:
        log.warning("%s; tokens are estimated", error)
        return None, None
    return identity(settings, weights), next((found.path for found in weights.values()), None)


def _known(job: Job, video: Video, ingredients: Callable[[Video], Mapping[str, Any]]) -> dict[str, Any] | None:
    """Replies by key that a job would find; None where the video is finished."""
    if video.defect:
        raise ValueError(video.defect)
    path = job.layout.file(GATHER_EVIDENCE, video.id, job.evidence)
    try:
        state, _ = inspect(path, stamp_of(job, GATHER_EVIDENCE, ingredients(video)))
    except CacheError:
        raise
    except ValueError:  # no weights: nothing is finished
        state = State.MISSING
    if job.overwrite:
        return kept_in(asked_path(path))
    return None if state is State.COMPLETE else {**replies_in(path), **kept_in(asked_path(path))}


@dataclass
class _Taken:
    """What a video takes."""

    questions: int = 0
    perhaps: int = 0
    images: int = 0
    tokens: int = 0
    encoded: int = 0
    answered: int = 0

    def add(self, question: Question, times: int, tokens: int, encoded: int) -> None:
        self.images += times * len(question.pictures)
        self.tokens += times * tokens
        self.encoded += times * encoded
        self.answered += times * max(question.answer_tokens, 1)


def _add(bill: Bill, plan: Plan, known: Mapping[str, Any], who: Mapping[str, Any], counter: Counter) -> None:
    taken = _Taken()
    bill.known += _take(taken, plan, known, who, counter)
    _count(bill, taken, plan.most)


def _take(taken: _Taken, plan: Plan, known: Mapping[str, Any], who: Mapping[str, Any], counter: Counter) -> int:
    """Adds what a plan takes; returns how many of its replies are known."""
    keys = {key_of(question, who): question for question in (*plan.questions, *plan.perhaps)}
    first = {key_of(question, who) for question in plan.questions}
    missing = {key: question for key, question in keys.items() if key not in known}
    taken.questions += len(missing.keys() & first)
    taken.perhaps += len(missing.keys() - first) + sum(times for _, times in plan.later)
    for questions in ([(question, 1) for question in missing.values()], plan.later):
        contexts: dict[int, int] = {}
        for question, times in questions:
            shared, n_tokens = id(question.context), counter.count(question.parts)
            taken.add(question, times, n_tokens, n_tokens - contexts.get(shared, 0))
            if shared not in contexts:
                contexts[shared] = counter.count(question.context) if question.context else 0
    return len(keys) - len(missing)


def _count(bill: Bill, taken: _Taken, most: Most) -> None:
    """A video's part of the bill, as far as its budget goes."""
    asked = _least(taken.questions, most.questions)
    bill.questions += asked
    bill.perhaps += _least(taken.questions + taken.perhaps, most.questions) - asked
    bill.images += taken.images
    bill.tokens += _least(taken.tokens, most.tokens)
    bill.encoded += _least(taken.encoded, most.tokens)
    bill.answered += _least(taken.answered, most.tokens)
    if bill.cost is not None and bill.prices is not None:
        cost = (taken.tokens * bill.prices[0] + taken.answered * bill.prices[1]) / MILLION
        bill.cost += cost if most.money is None else min(cost, most.money)


def _least(value: int, limit: int | None) -> int:
    return value if limit is None else min(value, limit)


def _prices(settings: Any) -> tuple[float, float] | None:
    server = getattr(settings.own, "server", None)
    if server is None or server.prices is None:
        return None
    return server.prices.input, server.prices.output
