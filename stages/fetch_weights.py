"""Brings the model weights of a preset into place: the only stage that uses the network.

Reads: the preset's models in the config, weights.lock.json.
Writes: <weights>/<preset>/<role>/ with a record.json each (sizes and sha256 of the files), and new
entries of weights.lock.json.

A model comes from a local `path` (used where it is), from a `seed` (tiny random weights of the real
classes), or from the hub; HF_ENDPOINT names a mirror. What is there and whole is verified and left
alone. Without a network, put the files where the error says, or give --from.

--list prints every file with its origin, revision, licence, size and state; --verify hashes every file
again and exits with 1 where one is missing or has changed. Both leave the network and the files alone.
"""

import argparse
from collections.abc import Sequence
from pathlib import Path

from stages.core.config.file import Config
from stages.core.run.cli import add_config_flag, build_parser, config_of, execute


def run(config: Config, preset: str, role: str | None, overwrite: bool, source: Path | None) -> None:
    from stages.weights.fetch import fetch_preset

    fetch_preset(config, preset, role, overwrite=overwrite, source=source)


def show(config: Config, preset: str | None, *, verify: bool) -> int:
    """Prints the table of files; with `verify`, 1 where some are not what they must be, else 0."""
    from stages.weights.inventory import VERIFIED, inventory, render

    rows = inventory(config, preset, hashed=verify)
    if verify and preset is None:  # what was never fetched is not a defect, unless it is asked for by name
        present = {row.preset for row in rows if row.state == VERIFIED or row.state.startswith("wrong")}
        rows = [row for row in rows if row.preset in present]
    print(render(rows))
    return int(verify and (not rows or any(row.state != VERIFIED for row in rows)))


def main(argv: Sequence[str] | None = None) -> int:
    """Returns 0, 1 where --verify found a defect, or 2 where some weights are not in place."""
    parser = build_parser(__doc__)
    add = parser.add_argument
    add("--preset", help="a preset of the config (for --list and --verify: default all)")
    add("--role", help="fetch the model of this role alone (default: all of the preset)")
    add_config_flag(parser)
    add("--overwrite", action="store_true", help="fetch or build again what is already good")
    add(
        "--from",
        dest="source",
        type=Path,
        metavar="DIR",
        help="take files of the hub from DIR/<role>/ instead of the network",
    )
    add("--list", action="store_true", help="print the files of the presets and what is here, and fetch nothing")
    add("--verify", action="store_true", help="hash every file again; exit with 1 where one is missing or wrong")
    return execute(parser, argv, _fetch_or_show)


def _fetch_or_show(arguments: argparse.Namespace) -> int:
    if arguments.list or arguments.verify:
        return show(config_of(arguments), arguments.preset, verify=arguments.verify)
    if arguments.preset is None:
        raise ValueError("--preset is needed to fetch; --list names the presets")
    run(config_of(arguments), arguments.preset, arguments.role, arguments.overwrite, arguments.source)
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
