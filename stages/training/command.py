"""The command line of a training run: its flags and the order of its steps.

Imports no torch: `--help` is quick.
"""

import argparse
import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from stages.core.run import cli
from stages.core.run.cli import guarded, program
from stages.core.trackers import TRACKERS
from stages.training.clock import Clock, Length
from stages.training.experiment import require_installed

if TYPE_CHECKING:
    from stages.training.task import Task

Figures = Mapping[str, Any]


@dataclass(frozen=True)
class Command:
    """A training run as a command; each function imports what it needs when it is called.

    Attributes:
        default: length, if neither --steps nor --minutes is given.
        make: the task for a seed.
        finish: writes the trained model and its card into --out, and measures it; scores.json gets the figures.
        evaluate: measures what --evaluate is given.
    """

    default: Length
    make: "Callable[[int], Task]"
    finish: "Callable[[Any, Clock, argparse.Namespace], Figures]"
    evaluate: Callable[[argparse.Namespace], Figures]

    def run(self, arguments: argparse.Namespace) -> int:
        """Prints figures as JSON; returns 0, or 2 for wrong input."""
        return guarded(lambda: print(json.dumps(self._figures(arguments), indent=2)))

    def _figures(self, arguments: argparse.Namespace) -> Figures:
        _set_threads(arguments.threads)
        if arguments.evaluate:
            return self.evaluate(arguments)
        from stages.core.state.cache import atomic_path
        from stages.core.state.marks import mark, refuse_foreign
        from stages.training.loop import train

        require_installed(arguments.trackers)
        length = length_of(arguments, self.default)
        task = self.make(arguments.seed)
        if not arguments.resume and not (arguments.out / "checkpoint.pt").exists():  # which `train` reports itself
            refuse_foreign(arguments.out)
            arguments.out.mkdir(parents=True, exist_ok=True)
            mark(arguments.out, f"training by {program()}")
        clock = train(task, length, arguments.out, resume=arguments.resume, trackers=arguments.trackers)
        figures = self.finish(task, clock, arguments)
        with atomic_path(arguments.out / "scores.json") as file:
            file.write_text(json.dumps(figures, indent=2), encoding="utf-8")
        return figures


def build_parser(module: str, doc: str | None, evaluated: str, default: Length) -> argparse.ArgumentParser:
    """The parser of a training command, with the flags that all of them share.

    Args:
        module: run by `python -m`; `doc` is its docstring.
        evaluated: what --evaluate takes, FILE or FOLDER.
        default: length, if neither --steps nor --minutes is given.
    """
    parser = cli.build_parser(doc)
    action = parser.add_mutually_exclusive_group(required=True)
    action.add_argument("--out", type=Path, metavar="DIR", help="train, and write everything here")
    action.add_argument("--evaluate", type=Path, metavar=evaluated, help="print a JSON of held-out figures")
    length = parser.add_mutually_exclusive_group()
    length.add_argument("--steps", type=int, help=f"steps of training (default: {default})")
    length.add_argument("--minutes", type=float, help="minutes of training, instead of steps")
    parser.add_argument("--seed", type=int, default=0, help="seed of weights and data (default: 0)")
    parser.add_argument("--resume", action="store_true", help="continue from DIR/checkpoint.pt")
    parser.add_argument(
        "--trackers",
        nargs="*",
        choices=list(TRACKERS),
        default=["tensorboard"],
        metavar="NAME",
        help=f"experiment trackers: {', '.join(TRACKERS)} (default: tensorboard)",
    )
    parser.add_argument("--threads", type=int, help="threads of torch (default: torch's own choice)")
    return parser


def length_of(arguments: argparse.Namespace, default: Length) -> Length:
    """What --steps or --minutes says."""
    given = arguments.steps is not None or arguments.minutes is not None
    return Length(arguments.steps, arguments.minutes) if given else default


def add_device_flags(parser: argparse.ArgumentParser) -> None:
    """Of trainings that also run on a GPU; their tasks make batches ahead."""
    add = parser.add_argument
    add("--device", choices=["cpu", "cuda"], default="cpu", help="where the model is trained (default: cpu)")
    add("--workers", type=int, default=1, help="processes that make scenes and batches ahead (default: 1)")


def start_device(device: str) -> None:
    """Raises ValueError where --device asks for a device that is not there; on CUDA float32 is full float32."""
    import torch

    from stages.core.run.devices import full_float32

    if device == "cpu":
        return
    if not torch.cuda.is_available():
        raise ValueError("--device cuda: torch finds no CUDA device; train with --device cpu")
    full_float32()


def _set_threads(threads: int | None) -> None:
    if threads:
        import torch

        torch.set_num_threads(threads)
