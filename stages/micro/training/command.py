"""What the trainings' command lines share: their flags, and how a training begins."""

import argparse
from pathlib import Path
from typing import Protocol

from stages.micro.training.schedule import Length


class Resumable(Protocol):
    def load(self, folder: Path) -> None: ...


def build_parser(module: str, doc: str | None, evaluated: str, default: Length) -> argparse.ArgumentParser:
    """The flags of every training.

    Args:
        module: run by `python -m`; `doc` is its docstring.
        evaluated: what --evaluate takes, FILE or FOLDER.
        default: of --steps or --minutes, where neither is given.
    """
    parser = argparse.ArgumentParser(
        prog=f"python -m {module}", description=doc, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    task = parser.add_mutually_exclusive_group(required=True)
    task.add_argument("--out", type=Path, metavar="DIR", help="train, and write everything here")
    task.add_argument("--evaluate", type=Path, metavar=evaluated, help="print a JSON of held-out figures")
    length = parser.add_mutually_exclusive_group()
    usual = f"{default.steps} steps" if default.steps else f"{default.minutes:g} minutes"
    length.add_argument("--steps", type=int, help=f"of training (default: {usual})")
    length.add_argument("--minutes", type=float, help="of training, instead of steps")
    parser.add_argument("--seed", type=int, default=0, help="of weights and data (default: 0)")
    parser.add_argument("--resume", action="store_true", help="go on from DIR/checkpoint.pt")
    parser.add_argument("--threads", type=int, help="of torch (default: torch's own choice)")
    return parser


def length_of(arguments: argparse.Namespace, default: Length) -> Length:
    return Length(arguments.steps, arguments.minutes) if arguments.steps or arguments.minutes else default


def set_threads(arguments: argparse.Namespace) -> None:
    if arguments.threads:
        import torch

        torch.set_num_threads(arguments.threads)


def load_or_refuse(state: Resumable, arguments: argparse.Namespace) -> None:
    """Loads the checkpoint with --resume; raises ValueError where one lies in --out without it."""
    from stages.micro.training.resume import refuse_to_overwrite

    if arguments.resume:
        state.load(arguments.out)
    else:
        refuse_to_overwrite(arguments.out)
