"""Trains the micro text encoder against what sentences say, or probes an encoder.

    python -m stages.micro.training.text --out DIR [--steps N | --minutes M] [--seed 0] [--resume]
    python -m stages.micro.training.text --evaluate FOLDER [--scenes N]

Training writes checkpoint.pt (to resume from, exactly), curve.jsonl and tensorboard/, the model's folder (config.json,
tokenizer, model.safetensors in float16), scores.json (of the trained encoder and of the untrained one) and card.md.
With --steps, equal seeds give equal weights on one machine.
"""

from argparse import Namespace
from collections.abc import Sequence
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING

from stages.training.clock import Clock, Length
from stages.training.command import Command, build_parser

if TYPE_CHECKING:
    from stages.micro.training.text.training import TextTraining

DEFAULT = Length(steps=800)


def main(argv: Sequence[str] | None = None) -> int:
    """Returns 0, or 2 for wrong input."""
    parser = build_parser("stages.micro.training.text", __doc__, "FOLDER", DEFAULT)
    parser.add_argument("--scenes", type=int, default=600, help="held-out scenes to probe on (default: 600)")
    return Command(DEFAULT, _make, _finish, _evaluate).run(parser.parse_args(argv))


def _make(seed: int) -> "TextTraining":
    from stages.micro.training.text.recipe import Recipe
    from stages.micro.training.text.training import TextTraining

    return TextTraining(Recipe(), seed)


def _finish(training: "TextTraining", clock: Clock, arguments: Namespace) -> dict[str, dict[str, float]]:
    from stages.micro.training.card import write_card
    from stages.micro.training.text.probes import probe_figures, rows_of
    from stages.micro.training.text.training import save_model

    with TemporaryDirectory() as temporary:
        save_model(_make(arguments.seed), Path(temporary))
        untrained = probe_figures(Path(temporary), arguments.scenes)
    save_model(training, arguments.out)
    figures = probe_figures(arguments.out, arguments.scenes)
    rows = rows_of(figures, untrained)
    write_card(arguments.out, Path(__file__).with_name("card.md"), training, clock, rows)
    return {"trained": figures, "untrained": untrained}


def _evaluate(arguments: Namespace) -> dict[str, float]:
    from stages.micro.training.text.probes import probe_figures

    return probe_figures(arguments.evaluate, arguments.scenes)


if __name__ == "__main__":
    raise SystemExit(main())
