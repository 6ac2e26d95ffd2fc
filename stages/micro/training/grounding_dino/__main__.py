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

from stages.core.cli import guarded


def main(argv: Sequence[str] | None = None) -> int:
    """Returns 0, or 2 for wrong input."""
    arguments = _parser().parse_args(argv)
    return guarded(lambda: _evaluate(arguments) if arguments.evaluate else _train(arguments))


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="python -m stages.micro.training.grounding_dino",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    task = parser.add_mutually_exclusive_group(required=True)
    task.add_argument("--out", type=Path, metavar="DIR", help="train, and write everything here")
    task.add_argument("--evaluate", type=Path, metavar="FOLDER", help="print a JSON of held-out figures")
    length = parser.add_mutually_exclusive_group()
    length.add_argument("--minutes", type=float, default=90.0, help="of training (default: 90)")
    length.add_argument("--steps", type=int, help="of training, instead of minutes")
    parser.add_argument("--seed", type=int, default=0, help="of weights and data (default: 0)")
    parser.add_argument("--resume", action="store_true", help="go on from DIR/checkpoint.pt")
    parser.add_argument("--clips", type=int, default=60, help="held-out clips to measure on (default: 60)")
    parser.add_argument("--backend", choices=("transformers", "groundingdino"), default="transformers")
    parser.add_argument("--threads", type=int, help="of torch (default: torch's own choice)")
    return parser


def _evaluate(arguments: argparse.Namespace) -> None:
    from stages.micro.training.grounding_dino.evaluate import evaluate

    _set_threads(arguments)
    print(json.dumps(evaluate(arguments.evaluate, arguments.clips, arguments.backend), indent=2))


def _train(arguments: argparse.Namespace) -> None:
    from stages.core.cache import atomic_path
    from stages.micro.training.grounding_dino.card import write_card
    from stages.micro.training.grounding_dino.evaluate import evaluate
    from stages.micro.training.grounding_dino.recipe import Recipe
    from stages.micro.training.grounding_dino.training import State, save_model, train
    from stages.micro.training.resume import refuse_to_overwrite
    from stages.micro.training.schedule import Length

    _set_threads(arguments)
    folder: Path = arguments.out
    state = State(Recipe(), arguments.seed)
    if arguments.resume:
        state.load(folder)
    else:
        refuse_to_overwrite(folder)
    train(state, Length(arguments.steps, None if arguments.steps else arguments.minutes), folder)
    save_model(state, folder)
    figures = evaluate(folder, arguments.clips)
    write_card(folder / "card.md", state, figures)
    with atomic_path(folder / "scores.json") as file:
        file.write_text(json.dumps(figures, indent=2), encoding="utf-8")
    print(json.dumps(figures, indent=2))


def _set_threads(arguments: argparse.Namespace) -> None:
    import torch

    if arguments.threads:
        torch.set_num_threads(arguments.threads)


if __name__ == "__main__":
    raise SystemExit(main())
