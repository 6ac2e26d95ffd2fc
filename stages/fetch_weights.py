"""Brings the model weights of a preset into place: the only stage that uses the network.

Reads: the preset's models in the config, weights.lock.json.
Writes: <weights>/<preset>/<role>/ with a record.json each (sizes and sha256 of the files), and new
entries of weights.lock.json.

A model comes from a local `path` (used where it lies), from a `seed` (tiny random weights of the real
classes), or from the hub; HF_ENDPOINT names a mirror. What is there and whole is verified and left
alone. Without a network, put the files where the error says, or give --from.
"""

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path

from stages.core.cli import set_up_logging
from stages.core.config import load_config


def run(files: Sequence[Path], preset: str, overwrite: bool, source: Path | None) -> None:
    from stages.weights.fetch import fetch_preset

    fetch_preset(load_config(*files), preset, overwrite=overwrite, source=source)


def main(argv: Sequence[str] | None = None) -> int:
    """Returns 0, or 2 where some weights are not in place."""
    arguments = build_parser().parse_args(argv)
    set_up_logging()
    try:
        run(arguments.config or [Path("config.yaml")], arguments.preset, arguments.overwrite, arguments.source)
    except (ValueError, OSError) as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    return 0


def build_parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    add = parser.add_argument
    add("--preset", required=True, help="a preset of the config")
    add(
        "--config",
        action="append",
        type=Path,
        metavar="FILE",
        help="config file; give it again to merge another over it (default: config.yaml)",
    )
    add("--overwrite", action="store_true", help="fetch or build again what is already good")
    add(
        "--from",
        dest="source",
        type=Path,
        metavar="DIR",
        help="take files of the hub from DIR/<role>/ instead of the network",
    )
    return parser


if __name__ == "__main__":
    raise SystemExit(main())
