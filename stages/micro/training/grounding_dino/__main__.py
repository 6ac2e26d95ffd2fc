"""Trains the micro GroundingDINO on the embedded world, or measures a model's folder.

    python -m stages.micro.training.grounding_dino --out DIR [--minutes M | --steps N] [--seed 0] [--resume]
    python -m stages.micro.training.grounding_dino --evaluate FOLDER [--clips N] [--backend transformers]

Training writes checkpoint.pt (to resume from, exactly), curve.jsonl and tensorboard/ (losses, means over 20 steps), the
model's folder (config.json, tokenizer, preprocessor, model.safetensors with averaged weights in float16), scores.json
and card.md. With --steps, equal seeds give equal weights on one machine; with --minutes, the schedule follows the clock.
"""

from argparse import Namespace
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from stages.training.clock import Clock, Length
from stages.training.command import Command, build_parser

if TYPE_CHECKING:
    from stages.micro.training.grounding_dino.training import GroundingDinoTraining

DEFAULT = Length(minutes=90)


def main(argv: Sequence[str] | None = None) -> int:
    """Returns 0, or 2 for wrong input."""
    parser = build_parser("stages.micro.training.grounding_dino", __doc__, "FOLDER", DEFAULT)
    parser.add_argument("--clips", type=int, default=60, help="held-out clips to measure on (default: 60)")
    parser.add_argument("--backend", choices=("transformers", "groundingdino"), default="transformers")
    return Command(DEFAULT, _make, _finish, _evaluate).run(parser.parse_args(argv))


def _make(seed: int) -> "GroundingDinoTraining":
    from stages.micro.training.grounding_dino.recipe import Recipe
    from stages.micro.training.grounding_dino.training import GroundingDinoTraining

    return GroundingDinoTraining(Recipe(), seed)


def _finish(training: "GroundingDinoTraining", clock: Clock, arguments: Namespace) -> dict[str, float]:
    from stages.micro.training.card import rows_of, write_card
    from stages.micro.training.grounding_dino.evaluate import evaluate
    from stages.micro.training.grounding_dino.training import save_model

    save_model(training, arguments.out)
    figures = evaluate(arguments.out, arguments.clips)
    write_card(arguments.out, Path(__file__).with_name("card.md"), training, clock, rows_of(figures))
    return figures


def _evaluate(arguments: Namespace) -> dict[str, float]:
    from stages.micro.training.grounding_dino.evaluate import evaluate

    return evaluate(arguments.evaluate, arguments.clips, arguments.backend)


if __name__ == "__main__":
    raise SystemExit(main())
