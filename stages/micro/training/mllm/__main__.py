"""Trains the embedded MLLM to judge candidates, or measures one.

    python -m stages.micro.training.mllm --out DIR [--steps N | --minutes M] [--tracks CONFIG] [--seed 0] [--resume]
        [--device cuda] [--workers 12]
    python -m stages.micro.training.mllm --evaluate FOLDER [--tracks CONFIG] [--split valid_u]

Training writes checkpoint.pt (to resume from, exactly), curve.jsonl and tensorboard/, scenes/ (what was generated), the
model's folder (config, processor, model.safetensors in float16), scores.json and card.md. With --steps, equal seeds
give equal weights on one machine. With --tracks, half of the later steps use tracks of `shapes/train` from the cache of
that config (sources: selector.sources.train), and evaluation reads the tracks of a split beside generated scenes.

A CPU core is enough. On a GPU a step takes a small part of the time that its batch takes to make, so give --workers
most of the machine's cores. A checkpoint of either can be continued on the other, and a finished one measured there.
"""

from argparse import Namespace
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from stages.training.clock import Clock, Length
from stages.training.command import Command, add_device_flags, build_parser, length_of, start_device

if TYPE_CHECKING:
    from stages.micro.training.mllm.training import MllmTraining

DEFAULT = Length(steps=5000)
DATASET = "shapes"


def main(argv: Sequence[str] | None = None) -> int:
    """Returns 0, or 2 for wrong input."""
    parser = build_parser("stages.micro.training.mllm", __doc__, "FOLDER", DEFAULT)
    parser.add_argument("--tracks", metavar="CONFIG", help="config file whose cache holds tracks of shapes")
    add_device_flags(parser)
    parser.add_argument("--split", default="dev", help="split whose tracks are measured (default: dev)")
    parser.add_argument("--scenes", type=int, default=20, help="held-out scenes to measure on (default: 20)")
    arguments = parser.parse_args(argv)
    command = Command(DEFAULT, lambda seed: _make(seed, arguments), _finish, _evaluate)
    return command.run(arguments)


def _make(seed: int, arguments: Namespace) -> "MllmTraining":
    from stages.micro.training.mllm.recipe import Recipe
    from stages.micro.training.mllm.tracked import Tracked
    from stages.micro.training.mllm.training import MllmTraining

    start_device(arguments.device)
    tracks = Tracked.of(arguments.tracks, DATASET, "train") if arguments.tracks else None
    return MllmTraining(
        Recipe(),
        seed,
        arguments.out,
        tracks,
        length=length_of(arguments, DEFAULT),
        workers=arguments.workers,
        device=arguments.device,
    )


def _finish(training: "MllmTraining", clock: Clock, arguments: Namespace) -> dict[str, Any]:
    from stages.micro.training.card import write_card
    from stages.micro.training.mllm.evaluate import measure, rows_of
    from stages.micro.training.mllm.training import save_model

    assert training.averaged is not None
    save_model(training.averaged.module, training.processor, arguments.out)
    figures = measure(arguments.out, arguments.scenes, arguments.tracks, arguments.split)
    write_card(arguments.out, Path(__file__).with_name("card.md"), training, clock, rows_of(figures))
    return figures


def _evaluate(arguments: Namespace) -> dict[str, Any]:
    from stages.micro.training.mllm.evaluate import measure

    return measure(arguments.evaluate, arguments.scenes, arguments.tracks, arguments.split)


if __name__ == "__main__":
    raise SystemExit(main())
