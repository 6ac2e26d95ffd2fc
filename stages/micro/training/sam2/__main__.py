"""Trains the micro SAM2 on the embedded world, or measures a weights file.

    python -m stages.micro.training.sam2 --out DIR [--minutes M | --steps N] [--seed 0] [--resume]
    python -m stages.micro.training.sam2 --evaluate FILE [--clips N]

Training writes checkpoint.pt (to resume from, exactly), curve.jsonl and tensorboard/ (losses, means over 20 steps),
model.safetensors (averaged weights, float16), scores.json and card.md. With --steps, equal seeds give equal weights
on one machine; with --minutes, the schedule follows the clock.
"""

from argparse import Namespace
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from stages.training.clock import Clock, Length
from stages.training.command import Command, build_parser

if TYPE_CHECKING:
    from stages.micro.training.sam2.training import Sam2Training

DEFAULT = Length(minutes=120)


def main(argv: Sequence[str] | None = None) -> int:
    """Returns 0, or 2 for wrong input."""
    parser = build_parser("stages.micro.training.sam2", __doc__, "FILE", DEFAULT)
    parser.add_argument("--clips", type=int, default=100, help="held-out clips to measure on (default: 100)")
    return Command(DEFAULT, _make, _finish, _evaluate).run(parser.parse_args(argv))


def _make(seed: int) -> "Sam2Training":
    from stages.micro.training.sam2.recipe import Recipe
    from stages.micro.training.sam2.training import Sam2Training

    return Sam2Training(Recipe(), seed)


def _finish(training: "Sam2Training", clock: Clock, arguments: Namespace) -> dict[str, float]:
    from stages.micro.training.card import rows_of, write_card
    from stages.micro.training.sam2.training import save_weights

    assert training.averaged is not None
    weights: Path = arguments.out / "model.safetensors"
    save_weights(training.averaged.module, weights)
    figures = measure(weights, arguments.clips)
    write_card(arguments.out, Path(__file__).with_name("card.md"), training, clock, rows_of(figures))
    return figures


def _evaluate(arguments: Namespace) -> dict[str, float]:
    return measure(arguments.evaluate, arguments.clips)


def measure(file: Path, n_clips: int) -> dict[str, float]:
    """Tracking, prompts and pointer probes on the first `n_clips` held-out clips, through the pipeline's engines.

    Raises:
        ValueError: `file` holds no weights of the micro SAM2.
    """
    import torch
    from sam2.modeling.sam2_base import SAM2Base

    from stages.core.config.file import Sam2Model
    from stages.core.state.weights import Weights
    from stages.micro.training.sam2.probes import probe_figures
    from stages.micro.training.sam2.prompted import prompted_figures
    from stages.micro.training.sam2.tracked import track_clips, tracking_figures
    from stages.micro.training.sam2.training import CONFIG
    from stages.tracking.sam2_model import load_sam2
    from stages.tracking.stock import StockTracker

    model = Sam2Model(hub=None, revision=None, files=[], seed=0, path=None, license=None, size_gb=None, config=CONFIG)
    weights = Weights(file, "evaluated", model)
    with torch.inference_mode():
        tracks = track_clips(StockTracker.load(weights, "cpu", "float32"), n_clips)
        figures = tracking_figures(tracks) | probe_figures(tracks)
        return figures | prompted_figures(load_sam2(weights, "cpu", SAM2Base), n_clips, max(1, n_clips // 4))


if __name__ == "__main__":
    raise SystemExit(main())
