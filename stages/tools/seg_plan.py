"""Prints what a variant of [SEG] models does to a video of some length, without a model and without a video.

    referee seg-plan --variant sasasa2va --mode wrap_around --frames 250

Reads:  prompts.seg of the config, for what no flag says.
Prints: JSON. slots: the frame of each slot; clips: of every frame, the clip whose token decodes it, or null; images: the
        frames of each image that the MLLM sees, in order, of which several are tiled row by row; propagate: whether masks
        of other frames come from tracking.
"""

import argparse
import json
from collections.abc import Sequence

from stages.core.config.file import Config
from stages.core.run.cli import add_config_flag, at_least, build_parser, config_of, execute
from stages.prompting.seg.variants import VARIANTS
from stages.prompting.seg.variants.clips import MODES
from stages.prompting.seg.variants.variant import Chosen


def run(config: Config, variant: str, n_frames: int, chosen: Chosen, changes: dict[str, object]) -> str:
    """One line per key.

    Args:
        chosen: frames that were chosen for the sentence; () = none were.
        changes: keys of prompts.seg.<variant>.

    Raises:
        ValueError: the variant has no such key, or a frame is not of the video.
    """
    kind, settings = VARIANTS[variant], config.prompts["seg"][variant]
    if unknown := changes.keys() - type(settings).model_fields.keys():
        raise ValueError(f"variant {variant} has no {', '.join(sorted(unknown))} to set")
    own = type(settings).model_validate({**settings.model_dump(), **changes})
    said = (kind.plan(n_frames, own, chosen) if chosen else kind.plan_unchosen(n_frames, own)).to_json()
    return "{\n" + ",\n".join(f" {json.dumps(key)}: {json.dumps(value)}" for key, value in said.items()) + "\n}"


def main(argv: Sequence[str] | None = None) -> int:
    parser = build_parser(__doc__)
    add = parser.add_argument
    add("--variant", required=True, metavar="NAME", help=f"one of {', '.join(VARIANTS)}")
    add("--frames", required=True, type=at_least(1), metavar="T", help="how many frames the video has")
    add("--mode", choices=MODES, help="sasasa2va: which frames fill the slots (default: as in the config)")
    add("--clips", type=at_least(1), metavar="N", help="svac, sasasa2va: clips (default: as in the config)")
    add("--grid", type=at_least(1), metavar="G", help="svac, sasasa2va: rows and columns of tiled frames")
    add(
        "--text-frame", type=at_least(0), metavar="F", help="vrs_hq: the frame that fits the sentence best (default: 0)"
    )
    add(
        "--chosen",
        type=int,
        nargs="+",
        metavar="F",
        help="mode q_frame: the frames that were chosen (default: as many, evenly over the video)",
    )
    add_config_flag(parser)
    return execute(parser, argv, _print)


def _print(arguments: argparse.Namespace) -> None:
    named = {name: getattr(arguments, name) for name in ("mode", "clips", "grid")}
    changes = {name: value for name, value in named.items() if value is not None}
    chosen = arguments.chosen or ([] if arguments.text_frame is None else [arguments.text_frame])
    print(run(config_of(arguments), arguments.variant, arguments.frames, tuple(chosen), changes))


if __name__ == "__main__":
    raise SystemExit(main())
