"""The flags of the exchange commands: one split of the config, no shards."""

import argparse
from pathlib import Path


def build_parser(doc: str | None) -> argparse.ArgumentParser:
    """The parser of a command, for `stages.core.run.cli.parse_job`; `doc` is its module's docstring."""
    parser = argparse.ArgumentParser(description=doc, formatter_class=argparse.RawDescriptionHelpFormatter)
    add = parser.add_argument
    add("--config", action="append", type=Path, metavar="FILE", help="config file (default: config.yaml); repeatable")
    add("--dataset", required=True, help="a data set of the config")
    add("--split", required=True, help="one of its splits")
    add("--limit", type=int, metavar="N", help="only the first N videos of the split")
    parser.set_defaults(pid=0, n_pids=1, overwrite=False)
    return parser
