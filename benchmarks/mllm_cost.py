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
from typing import Any

from stages.core.config.loading import load_config, settings_of
from stages.evidence.judging.asking import about_each, flat, which_of
from stages.evidence.judging.candidates import contexts_of
from stages.evidence.judging.drawn import DrawnSubject
from stages.evidence.judging.settings import JudgeSettings
from stages.evidence.judging.tokens import Estimate
from stages.evidence.questions import Question

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


def asked_of(settings: JudgeSettings, n_candidates: int, text: str = SENTENCE) -> Asked:
    """What is asked about one expression with so many candidates, at most 8 of which are shown together."""
    return counted(questions_of(settings, n_candidates, text))


def questions_of(settings: JudgeSettings, n_candidates: int, text: str = SENTENCE) -> list[Question]:
    """The questions themselves, about a drawn video."""
    subject = DrawnSubject(settings, n_candidates, SIZE, N_FRAMES)
    about = about_each if settings.ask == "yes_no" else which_of
    shown = [each for together in contexts_of(subject.candidates) for each in subject.showing.show(together)]
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
