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

from stages.core.cli import guarded


def main(argv: Sequence[str] | None = None) -> int:
    """Returns 0, or 2 for wrong input."""
    arguments = _parser().parse_args(argv)
    return guarded(lambda: _evaluate(arguments) if arguments.evaluate else _train(arguments))


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    task = parser.add_mutually_exclusive_group(required=True)
    task.add_argument("--out", type=Path, metavar="DIR", help="train, and write everything here")
    task.add_argument("--evaluate", type=Path, metavar="FILE", help="print a JSON of held-out figures")
    length = parser.add_mutually_exclusive_group()
    length.add_argument("--minutes", type=float, default=120.0, help="of training (default: 120)")
    length.add_argument("--steps", type=int, help="of training, instead of minutes")
    parser.add_argument("--seed", type=int, default=0, help="of weights and data (default: 0)")
    parser.add_argument("--resume", action="store_true", help="go on from DIR/checkpoint.pt")
    parser.add_argument("--clips", type=int, default=100, help="held-out clips to measure on (default: 100)")
    parser.add_argument("--threads", type=int, help="of torch (default: torch's own choice)")
    return parser


def _evaluate(arguments: argparse.Namespace) -> None:
    from stages.micro.training.evaluate import evaluate

    _set_threads(arguments)
    print(json.dumps(evaluate(arguments.evaluate, arguments.clips), indent=2))


def _train(arguments: argparse.Namespace) -> None:
    from stages.micro.training.card import write_card
    from stages.micro.training.checkpoint import State, save_weights
    from stages.micro.training.evaluate import evaluate
    from stages.micro.training.loop import train
    from stages.micro.training.recipe import Recipe
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
    save_weights(state.averaged.module, folder / "model.safetensors")
    figures = evaluate(folder / "model.safetensors", arguments.clips)
    write_card(folder / "card.md", state, figures)
    print(json.dumps(figures, indent=2))


def _set_threads(arguments: argparse.Namespace) -> None:
    if arguments.threads:
        import torch

        torch.set_num_threads(arguments.threads)


if __name__ == "__main__":
    raise SystemExit(main())
