"""Makes the embedded data set: generated clips of moving shapes, in the layout of MeViS v2.

Reads:  nothing but the config, for the place (datasets.<dataset>.root).
Writes: <root>/{train,valid_u,valid}/…, at once when all is made. What is there already, made with the same
        flags, is left alone.

Why: the whole pipeline runs, is tested and is shown on a machine that holds no data set.
"""

import argparse
import logging
import sys
from collections.abc import Sequence
from pathlib import Path

from stages.core.cli import set_up_logging
from stages.core.config import dataset_of, load_config

log = logging.getLogger(__name__)


def run(root: Path, seed: int, counts: dict[str, int]) -> None:
    from stages.datasets.shapes.write import Parameters, make_data_set

    made = make_data_set(root, Parameters(seed, counts))
    log.info("%s: %s (%s)", root, "made" if made else "is there already", counts)


def main(argv: Sequence[str] | None = None) -> int:
    arguments = _build_parser().parse_args(argv)
    set_up_logging()
    try:
        entry = dataset_of(load_config(*(arguments.config or [Path("config.yaml")])), arguments.dataset)
        if not entry.generate:
            raise ValueError(
                f"datasets.{arguments.dataset}.generate is false: its root {entry.root} is not ours to write"
            )
        counts = {"train": arguments.train, "valid_u": arguments.valid_u, "valid": arguments.valid}
        if min(counts.values()) < 1:
            raise ValueError(f"every split needs a video or more; got {counts}")
        run(Path(entry.root), arguments.seed, counts)
    except (ValueError, OSError) as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    return 0


def _build_parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    add = parser.add_argument
    add("--config", action="append", type=Path, metavar="FILE", help="config file (default: config.yaml); repeatable")
    add("--dataset", default="shapes", help="a data set of the config with generate: true (default: shapes)")
    add("--train", type=int, default=12, metavar="N", help="videos to train on (default: 12)")
    add("--valid-u", type=int, default=4, metavar="N", help="videos to evaluate on, with ground truth (default: 4)")
    add("--valid", type=int, default=2, metavar="N", help="videos without ground truth (default: 2)")
    add("--seed", type=int, default=0, help="of everything random (default: 0)")
    return parser


if __name__ == "__main__":
    raise SystemExit(main())
