"""Makes the embedded data set: generated clips of moving shapes, in the layout of MeViS v2.

With --dataset shapes_long a few long videos in the layout of Long-RVOS.

Reads:  nothing but the config, for the place (datasets.<dataset>.root) and the layout (format: long_rvos = long videos).
Writes: <root>/<split>/…, at once when all is made. What is there already is left alone, whatever its size, unless --size or
        --seed ask for another.

Why: the whole pipeline runs, is tested and is measured on a machine that holds no data set.
"""

import argparse
import logging
import os
from collections.abc import Sequence
from pathlib import Path

from stages.core.config.loading import dataset_of
from stages.core.run.cli import add_config_flag, add_dataset_flag, at_least, build_parser, config_of, execute

log = logging.getLogger(__name__)

# Videos per split. The smaller one is how the larger one begins: the same videos, byte for byte.
SIZES = {
    "demo": {"train": 12, "dev": 3, "valid_u": 8, "valid": 2},
    "full": {"train": 1000, "dev": 60, "valid_u": 80, "valid": 40},
}
# The same of long videos, and how many frames they have in turn: 24 to 48 s of 25 frames.
LONG_SIZES = {"demo": {"valid": 3}, "full": {"valid": 12}}
LONG_FRAMES = (600, 900, 1200)


def run(root: Path, seed: int | None, counts: dict[str, int] | None, n_jobs: int | None, long: bool = False) -> None:
    """Makes the data set; None = as the existing one was made, or else seed 0, the demo's size, and all cores."""
    from stages.worlds.shapes.long import LongParameters
    from stages.worlds.shapes.write import Parameters, make_data_set, read_stamp

    existing = read_stamp(root) or {"seed": 0, "counts": (LONG_SIZES if long else SIZES)["demo"]}
    counts, seed = counts or existing["counts"], existing["seed"] if seed is None else seed
    few = sum(counts.values()) // 25 + 1  # a process takes a second to start
    parameters = LongParameters(seed, counts, LONG_FRAMES) if long else Parameters(seed, counts)
    is_new = make_data_set(root, parameters, n_jobs or min(few, os.cpu_count() or 1))
    log.info("%s: %s (seed %d, %s)", root, "made" if is_new else "is there already", parameters.seed, counts)


def main(argv: Sequence[str] | None = None) -> int:
    parser = build_parser(__doc__)
    add = parser.add_argument
    add_config_flag(parser)
    add_dataset_flag(parser, "shapes", " with generate: true")
    sizes = "; ".join(f"{name}: {', '.join(map(str, counts.values()))} videos" for name, counts in SIZES.items())
    add(
        "--size",
        choices=SIZES,
        help=f"{sizes} of train, dev, valid_u, valid; of long videos 3 or 12 (default: what is there, or else demo)",
    )
    add("--seed", type=int, help="of everything random (default: that of what is there, or else 0)")
    add("--jobs", type=at_least(1), metavar="N", help="processes (default: one per core)")
    add("--statistics", action="store_true", help="makes nothing: prints what the data set at the root holds")
    return execute(parser, argv, _make)


def _make(arguments: argparse.Namespace) -> None:
    entry = dataset_of(config_of(arguments), arguments.dataset)
    if not entry.generate:
        raise ValueError(f"datasets.{arguments.dataset}.generate is false: its root {entry.root} is not ours to write")
    if not arguments.statistics:
        long = entry.format == "long_rvos"
        counts = (LONG_SIZES if long else SIZES).get(arguments.size)
        run(Path(entry.root), arguments.seed, counts, arguments.jobs, long)
    else:
        from stages.worlds.shapes.statistics import statistics

        print(statistics(Path(entry.root)))


if __name__ == "__main__":
    raise SystemExit(main())
