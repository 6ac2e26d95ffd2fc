"""Trains the micro GroundingDINO on the embedded world, or measures a model's folder.

    python -m stages.micro.training.grounding_dino --out DIR [--minutes M | --steps N] [--seed 0] [--resume]
    python -m stages.micro.training.grounding_dino --evaluate FOLDER [--clips N] [--backend transformers]

Training writes checkpoint.pt (to resume from, exactly), curve.jsonl (losses, means over 20 steps), the model's folder
(config.json, tokenizer, preprocessor, model.safetensors with averaged weights in float16), scores.json and card.md.
With --steps, equal seeds give equal weights on one machine; with --minutes, the schedule follows the clock.
"""

import argparse
import json
from collections.abc import Sequence
from pathlib import Path

from stages.core.run.cli import guarded
from stages.micro.training.command import build_parser, length_of, load_or_refuse, set_threads
from stages.micro.training.schedule import Length

DEFAULT = Length(minutes=90)


def main(argv: Sequence[str] | None = None) -> int:
    """Returns 0, or 2 for wrong input."""
    arguments = _parser().parse_args(argv)
    return guarded(lambda: _evaluate(arguments) if arguments.evaluate else _train(arguments))


def _parser() -> argparse.ArgumentParser:
    parser = build_parser("stages.micro.training.grounding_dino", __doc__, "FOLDER", DEFAULT)
    parser.add_argument("--clips", type=int, default=60, help="held-out clips to measure on (default: 60)")
    parser.add_argument("--backend", choices=("transformers", "groundingdino"), default="transformers")
    return parser


def _evaluate(arguments: argparse.Namespace) -> None:
    from stages.micro.training.grounding_dino.evaluate import evaluate

    set_threads(arguments)
    print(json.dumps(evaluate(arguments.evaluate, arguments.clips, arguments.backend), indent=2))


def _train(arguments: argparse.Namespace) -> None:
    from stages.core.state.cache import atomic_path
    from stages.micro.training.grounding_dino.card import write_card
    from stages.micro.training.grounding_dino.evaluate import evaluate
    from stages.micro.training.grounding_dino.recipe import Recipe
    from stages.micro.training.grounding_dino.training import State, save_model, train

    set_threads(arguments)
    folder: Path = arguments.out
    state = State(Recipe(), arguments.seed)
    load_or_refuse(state, arguments)
    train(state, length_of(arguments, DEFAULT), folder)
    save_model(state, folder)
    figures = evaluate(folder, arguments.clips)
    write_card(folder / "card.md", state, figures)
    with atomic_path(folder / "scores.json") as file:
        file.write_text(json.dumps(figures, indent=2), encoding="utf-8")
    print(json.dumps(figures, indent=2))


if __name__ == "__main__":
    raise SystemExit(main())
