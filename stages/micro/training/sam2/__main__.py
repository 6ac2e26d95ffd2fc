"""Trains the micro SAM2 on the embedded world, or measures a weights file.

    python -m stages.micro.training.sam2 --out DIR [--minutes M | --steps N] [--seed 0] [--resume]
    python -m stages.micro.training.sam2 --evaluate FILE [--clips N]

Training writes checkpoint.pt (to resume from, exactly), curve.jsonl (losses, means over 20 steps),
model.safetensors (averaged weights, float16) and card.md. With --steps, equal seeds give equal weights on one
machine; with --minutes, the schedule follows the clock.
"""

import argparse
import json
from collections.abc import Sequence
from pathlib import Path

from stages.core.run.cli import guarded
from stages.micro.training.command import build_parser, length_of, load_or_refuse, set_threads
from stages.micro.training.schedule import Length

DEFAULT = Length(minutes=120)


def main(argv: Sequence[str] | None = None) -> int:
    """Returns 0, or 2 for wrong input."""
    arguments = _parser().parse_args(argv)
    return guarded(lambda: _evaluate(arguments) if arguments.evaluate else _train(arguments))


def _parser() -> argparse.ArgumentParser:
    parser = build_parser("stages.micro.training.sam2", __doc__, "FILE", DEFAULT)
    parser.add_argument("--clips", type=int, default=100, help="held-out clips to measure on (default: 100)")
    return parser


def _evaluate(arguments: argparse.Namespace) -> None:
    from stages.micro.training.sam2.evaluate import evaluate

    set_threads(arguments)
    print(json.dumps(evaluate(arguments.evaluate, arguments.clips), indent=2))


def _train(arguments: argparse.Namespace) -> None:
    from stages.micro.training.sam2.card import write_card
    from stages.micro.training.sam2.checkpoint import State, save_weights
    from stages.micro.training.sam2.evaluate import evaluate
    from stages.micro.training.sam2.loop import train
    from stages.micro.training.sam2.recipe import Recipe

    set_threads(arguments)
    folder: Path = arguments.out
    state = State(Recipe(), arguments.seed)
    load_or_refuse(state, arguments)
    train(state, length_of(arguments, DEFAULT), folder)
    save_weights(state.averaged.module, folder / "model.safetensors")
    figures = evaluate(folder / "model.safetensors", arguments.clips)
    write_card(folder / "card.md", state, figures)
    print(json.dumps(figures, indent=2))


if __name__ == "__main__":
    raise SystemExit(main())
