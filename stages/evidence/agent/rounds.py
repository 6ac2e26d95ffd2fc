"""Rounds of verdicts: every round shows the candidates that are still uncertain, and them alone.

After AgentRVOS: what is decided is neither shown nor asked again, so that later frames are chosen for what is left. All
sentences of a video take each round together, so that a budget that ends early ends all of them at the same depth. A round that
decides nothing is the last one, since the next would ask the same.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from stages.core.records import TrackId
from stages.evidence.agent.settings import AgentSettings
from stages.evidence.agent.verdicts import ACCEPT, REJECT, UNCERTAIN, Opinion, of_likelihood, read_verdicts
from stages.evidence.agent.voices import Voice
from stages.evidence.asked import Answer, Text
from stages.evidence.judging.asking import Item, about_each, flat, yes_log_odds
from stages.evidence.judging.candidates import Candidate, contexts_of
from stages.evidence.judging.showing import Showing, Shown
from stages.evidence.prompts import VERDICTS, ask_repair, ask_verdicts
from stages.evidence.questions import Question, Reply, Said, Written

LABELS, REPAIR = "verdicts", "repair"  # the ways of the questions that are answered with JSON
FAULT, SECOND_FAULT = "fault", "second_fault"
DECIDED, NOTHING = "all are decided", "there is no candidate"


@dataclass(frozen=True)
class Seen:
    """A candidate in a round.

    Attributes:
        number: what it was called there.
        answers: that its opinion was read in, where they are about it alone.
    """

    round: int
    number: int
    opinion: Opinion
    answers: Mapping[str, Answer] = field(default_factory=dict)

    def to_json(self) -> dict[str, Any]:
        about = {"round": self.round, "number": self.number, "verdict": self.opinion.verdict}
        reason = {"reason": self.opinion.reason} if self.opinion.reason else {}
        said = {way: answer.to_json() for way, answer in self.answers.items()}
        return {**about, "log_odds": self.opinion.log_odds, **reason, **said}


@dataclass(eq=False)
class Dialogue:
    """What is asked and answered for one expression.

    Attributes:
        open: the candidates that are still uncertain.
        seen: the track that stands for a candidate → its rounds.
        rounds: of the looks of every round, as JSON values.
        ended: why nothing more is asked; "" = something may be.
    """

    expression: str
    text: str
    candidates: Sequence[Candidate]
    open: list[Candidate] = field(default_factory=list)
    seen: dict[TrackId, list[Seen]] = field(default_factory=dict)
    rounds: list[dict[str, Any]] = field(default_factory=list)
    ended: str = ""

    def __post_init__(self) -> None:
        self.open = list(self.candidates)
        self.ended = "" if self.open else NOTHING

    def verdicts(self, verdict: str) -> int:
        """How many candidates have it by now."""
        return sum(seen[-1].opinion.verdict == verdict for seen in self.seen.values())

    def take(self, shown: Shown, seen: Seen) -> None:
        self.seen.setdefault(shown.candidates[seen.number - 1].shown, []).append(seen)

    def close(self, number: int, rounds: int) -> None:
        """The end of a round."""
        left = [c for c in self.open if c.shown not in self.seen or self.seen[c.shown][-1].opinion.verdict == UNCERTAIN]
        unchanged, self.open = len(left) == len(self.open), left
        if self.ended:
            return
        if not left:
            self.ended = DECIDED
        elif unchanged:
            self.ended = f"{len(left)} are uncertain, and another look would be the same"
        elif number == rounds:
            self.ended = f"{len(left)} are uncertain after {rounds} rounds"


@dataclass(eq=False)
class Look:
    """A set of questions about candidates that are shown together: about one of them, or all."""

    dialogue: Dialogue
    item: Item
    said: dict[str, Any] = field(default_factory=dict)  # as JSON values
    repair: Question | None = None

    @property
    def questions(self) -> list[Question]:
        return list(self.item.questions.values())

    def leave_uncertain(self, number: int) -> None:
        """What the answers cannot be used for: as uncertain as before the round."""
        for n, candidate in enumerate(self.item.shown.candidates):
            before = self.dialogue.seen.get(candidate.shown)
            log_odds = before[-1].opinion.log_odds if before else 0.0
            self.dialogue.take(self.item.shown, Seen(number, n + 1, Opinion(UNCERTAIN, log_odds)))


class Agent:
    """Looks at one video.

    Args:
        names: of the video's frames.
    """

    def __init__(self, settings: AgentSettings, showing: Showing, voice: Voice, names: Sequence[str]) -> None:
        self.settings, self.showing, self.voice, self.names = settings, showing, voice, names

    def run(self, dialogues: Sequence[Dialogue]) -> None:
        """All rounds; every dialogue ends, and says why."""
        for number in range(1, self.settings.rounds + 1):
            going = [dialogue for dialogue in dialogues if not dialogue.ended]
            looks = [look for dialogue in going for look in looks_of(self.settings, self.showing, dialogue)]
            admitted = list(self._admitted(looks))
            said = self.voice.ask(flat([look.item.questions for look in admitted]))
            if self.settings.verdicts == "json":
                self._read_json(number, admitted, said)
            else:
                self._read_likelihood(number, admitted, said)
            for dialogue in going:
                dialogue.rounds.append(self._round(number, [look for look in admitted if look.dialogue is dialogue]))
                dialogue.close(number, self.settings.rounds)

    def _admitted(self, looks: Sequence[Look]) -> Iterator[Look]:
        for look in looks:
            if reason := self.voice.admit(look.questions):
                look.dialogue.ended = reason
            else:
                yield look

    def _read_likelihood(self, number: int, looks: Sequence[Look], said: Mapping[str, Said]) -> None:
        for look in looks:
            answers = {}
            for way, question in look.item.questions.items():
                if isinstance(reply := said.get(key := self.voice.key(question)), Reply):
                    answers[way] = Answer(key, reply)
                else:
                    look.dialogue.ended = self.voice.why(question)
            n = look.item.n
            if n is not None and len(answers) == len(look.item.questions):
                opinion = of_likelihood(yes_log_odds(answers), self.settings.margin)
                look.dialogue.take(look.item.shown, Seen(number, n + 1, opinion, answers))

    def _read_json(self, number: int, looks: Sequence[Look], said: Mapping[str, Said]) -> None:
        """An answer that cannot be used is asked for once more; then all that it was about remain uncertain."""
        for look in looks:
            [question] = look.questions
            self._read(number, look, question, said, LABELS)
        broken = list(self._repairs(number, [look for look in looks if FAULT in look.said]))
        again = self.voice.ask([look.repair for look in broken if look.repair is not None])
        for look in broken:
            assert look.repair is not None
            self._read(number, look, look.repair, again, REPAIR)

    def _repairs(self, number: int, looks: Sequence[Look]) -> Iterator[Look]:
        for look in looks:
            [question] = look.questions
            look.repair = repair_of(question, look.said[LABELS]["text"], look.said[FAULT])
            if reason := self.voice.admit([look.repair]):
                look.dialogue.ended = reason
                look.leave_uncertain(number)
            else:
                yield look

    def _read(self, number: int, look: Look, question: Question, said: Mapping[str, Said], way: str) -> None:
        written, is_last = said.get(key := self.voice.key(question)), way == REPAIR
        if not isinstance(written, Written):
            look.dialogue.ended = look.said["unanswered"] = self.voice.why(question)
            if is_last:
                look.leave_uncertain(number)
            return
        look.said[way] = Text(key, written).to_json()
        try:
            opinions = read_verdicts(written, len(look.item.shown.candidates), self.settings.stated)
        except ValueError as error:
            look.said[SECOND_FAULT if is_last else FAULT] = str(error)
            if is_last:
                look.leave_uncertain(number)
            return
        for n, opinion in opinions.items():
            look.dialogue.take(look.item.shown, Seen(number, n + 1, opinion))

    def _round(self, number: int, looks: Sequence[Look]) -> dict[str, Any]:
        shown = {id(look.item.shown): look.item.shown.provenance(self.names) for look in looks}
        of_looks = [{**shown[id(look.item.shown)], **look.said} for look in looks if look.said]
        return {"round": number, "looks": of_looks or list(shown.values())}


def looks_of(settings: AgentSettings, showing: Showing, dialogue: Dialogue) -> list[Look]:
    """What is asked in a dialogue's next round."""
    return [
        Look(dialogue, item)
        for together in contexts_of(dialogue.open)
        for shown in showing.show(together)
        for item in items_of(settings, dialogue, shown)
    ]


def items_of(settings: AgentSettings, dialogue: Dialogue, shown: Shown) -> list[Item]:
    if settings.verdicts == "likelihood":
        return about_each(shown, dialogue.text, settings)
    before = dialogue.verdicts(ACCEPT), dialogue.verdicts(REJECT)
    words = ask_verdicts(dialogue.text, len(shown.candidates), *before)
    question = Question(shown.composition.context, (words,), VERDICTS, settings.answer_tokens)
    return [Item(shown, None, {LABELS: question})]


def repair_of(question: Question, answer: str, fault: str) -> Question:
    """The question again, with the answer that cannot be used and what is wrong with it."""
    asked = (*question.asked, ask_repair(answer, fault))
    return Question(question.context, asked, question.options, question.answer_tokens)
