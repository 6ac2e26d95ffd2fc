"""Trains the embedded [SEG] model to find and segment from frames and a sentence, or measures one.

    python -m stages.micro.training.seg --out DIR [--steps N | --minutes M] [--seed 0] [--resume] [--start FOLDER]
        [--decoder frozen] [--device cuda] [--workers 12]
    python -m stages.micro.training.seg --evaluate FOLDER [--config config.yaml --split valid_u --limit 20]

Training writes checkpoint.pt (to resume from, exactly), curve.jsonl and tensorboard/, scenes/ (what was generated), the model's
folder (config, tokenizer, image processor, model.safetensors in float16), scores.json and card.md. With --steps, equal seeds give
equal weights on one machine. The model's entry in the config: family qwen3_vl, template published, state after_norm, decoder
sam_mask_decoder_attention (null with --decoder frozen), and prompts.seg.variant frame_tokens with 4 frames.

On a GPU a step takes a small part of the time that its batch takes to make, so give --workers most of the machine's cores.
"""

from argparse import Namespace
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from stages.training.clock import Clock, Length
from stages.training.command import Command, add_device_flags, build_parser, length_of, start_device

if TYPE_CHECKING:
    from stages.micro.training.seg.training import SegTraining

DEFAULT = Length(steps=3000)


def main(argv: Sequence[str] | None = None) -> int:
    """Returns 0, or 2 for wrong input."""
    parser = build_parser("stages.micro.training.seg", __doc__, "FOLDER", DEFAULT)
    add = parser.add_argument
    add(
        "--start",
        type=Path,
        metavar="FOLDER",
        help="a model of this training, which goes on from there with sentences alone (default: from nothing)",
    )
    add(
        "--decoder",
        choices=["trained", "frozen"],
        default="trained",
        help="whether the cross-attention of SAM2's mask decoder is trained too, and stored (default: trained)",
    )
    add_device_flags(parser)
    add("--scenes", type=int, default=20, help="held-out scenes to measure on (default: 20)")
    add("--config", metavar="FILE", help="config file that says where `shapes` is: a split of it is measured too")
    add("--split", default="dev", help="that split (default: dev)")
    add("--limit", type=int, help="only its first videos")
    add(
        "--mask-threshold",
        type=float,
        help="logits above it are in a mask (default: prompts.seg.mask_threshold of `shapes` in config.yaml)",
    )
    arguments = parser.parse_args(argv)
    return Command(DEFAULT, lambda seed: _make(seed, arguments), _finish, _evaluate).run(arguments)


def _make(seed: int, arguments: Namespace) -> "SegTraining":
    from stages.micro.training.seg.recipe import Recipe
    from stages.micro.training.seg.training import SegTraining

    start_device(arguments.device)
    return SegTraining(
        Recipe() if arguments.start is None else Recipe().further(),
        seed,
        arguments.out,
        start=arguments.start,
        tunes_decoder=arguments.decoder == "trained",
        length=length_of(arguments, DEFAULT),
        workers=arguments.workers,
        device=arguments.device,
    )


def _finish(training: "SegTraining", clock: Clock, arguments: Namespace) -> dict[str, Any]:
    from stages.micro.training.card import write_card
    from stages.micro.training.seg.evaluate import rows_of
    from stages.micro.training.seg.store import save_seg_model

    assert training.averaged is not None
    model: Any = training.averaged.module
    save_seg_model(model["mllm"], model["head"], training.attentions(model), training.processor, arguments.out)
    figures = _measure(arguments.out, arguments)
    write_card(arguments.out, Path(__file__).with_name("card.md"), training, clock, rows_of(figures))
    return figures


def _evaluate(arguments: Namespace) -> dict[str, Any]:
    return _measure(arguments.evaluate, arguments)


def _measure(folder: Path, arguments: Namespace) -> dict[str, Any]:
    from stages.core.config.loading import load_config, settings_of
    from stages.micro.training.seg.evaluate import measure

    threshold = arguments.mask_threshold
    if threshold is None:
        threshold = settings_of(load_config(arguments.config or "config.yaml"), "shapes").prompts["seg"].mask_threshold
    return measure(folder, arguments.scenes, arguments.config, arguments.split, arguments.limit, threshold)


if __name__ == "__main__":
    raise SystemExit(main())
