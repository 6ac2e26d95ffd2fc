"""The one flag set of all stages, and how a stage is run from the command line."""

import argparse
import logging
import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

from stages.core.config.file import Config
from stages.core.config.loading import check_split, load_config, settings_of
from stages.core.config.sections import Settings
from stages.core.records import SOURCES, Source
from stages.core.state.graph import Layout


@dataclass(frozen=True)
class Job:
    """One invocation of a stage: which shard of which split, under which config."""

    config: Config
    dataset: str
    split: str
    source: Source | None
    pid: int
    n_pids: int
    overwrite: bool
    limit: int | None

    @property
    def settings(self) -> Settings:
        return settings_of(self.config, self.dataset)

    @property
    def layout(self) -> Layout:
        return Layout.of(self.config, self.dataset, self.split)


def execute(run: Callable[[Job], None], doc: str, argv: Sequence[str] | None = None, *, source: bool = False) -> int:
    """Parses the flags, runs the stage, and turns errors of input into one clear line.

    Returns:
        0, or 2 for wrong input (config, data, cache, arguments). Failed videos exit with 1.
    """
    arguments = build_parser(doc, source=source).parse_args(argv)
    return guarded(lambda: run(parse_job(arguments)))


def guarded(action: Callable[[], int | None]) -> int:
    """Runs `action` with logging set up; an error of input becomes one line and exit status 2.

    Returns:
        What `action` returns, None as 0; or 2.
    """
    set_up_logging()
    try:
        return action() or 0
    except (ValueError, OSError) as error:
        print(f"error: {error}", file=sys.stderr)
        return 2


def build_parser(doc: str, *, source: bool = False) -> argparse.ArgumentParser:
    """The parser of a stage; `doc` is the stage module's docstring."""
    parser = argparse.ArgumentParser(description=doc, formatter_class=argparse.RawDescriptionHelpFormatter)
    add = parser.add_argument
    add_config_flag(parser)
    add("--dataset", required=True, help="a data set of the config")
    add("--split", required=True, help="one of its splits")
    if source:
        add("--source", required=True, choices=SOURCES, help="where the prompts come from")
    add("--pid", type=int, default=0, help="this shard, from 0 (default: 0)")
    add("--n-pids", type=int, default=1, help="number of shards (default: 1)")
    add("--overwrite", action="store_true", help="make finished videos again")
    add("--limit", type=int, metavar="N", help="only the first N videos of the split")
    return parser


def add_config_flag(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--config",
        action="append",
        type=Path,
        metavar="FILE",
        help="config file; give it again to merge another over it (default: config.yaml)",
    )


def config_of(arguments: argparse.Namespace) -> Config:
    """The config of the --config flags."""
    return load_config(*(arguments.config or [Path("config.yaml")]))


def parse_job(arguments: argparse.Namespace) -> Job:
    config = config_of(arguments)
    check_split(config, arguments.dataset, arguments.split)
    return Job(
        config=config,
        dataset=arguments.dataset,
        split=arguments.split,
        source=getattr(arguments, "source", None),
        pid=arguments.pid,
        n_pids=arguments.n_pids,
        overwrite=arguments.overwrite,
        limit=arguments.limit,
    )


def set_up_logging() -> None:
    logging.basicConfig(
        level=logging.INFO,
        format="%(asctime)s %(levelname).1s %(name)s: %(message)s",
        datefmt="%H:%M:%S",
        stream=sys.stderr,
    )
