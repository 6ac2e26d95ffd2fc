"""The command line of everything: one parser builder, groups of flags, and the one form of a `main`.

    def main(argv: Sequence[str] | None = None) -> int:
        parser = split_parser(__doc__)
        parser.add_argument("--out", type=Path, required=True, metavar="FILE", help="the file to write")
        return execute(parser, argv, lambda arguments: run(parse_job(arguments), arguments.out))

A stage without flags of its own: `return run_stage(run, __doc__, argv)`.
"""

import argparse
import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from stages.core.config.file import Config
from stages.core.config.loading import check_split, load_config, settings_of
from stages.core.config.sections import Settings
from stages.core.notes import once_per_kind
from stages.core.records import Source
from stages.core.run.batches import Batches
from stages.core.run.logs import printing_loggers, set_up_logging
from stages.core.run.stopping import INTERRUPTED, TERMINATED, Terminated, terminable
from stages.core.state.graph import Layout
from stages.core.tables import SOURCES

WRONG_INPUT = 2  # an exit status


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
    evidence: str | None = None
    # Key of run.batches → what the stage cuts by it: batches may have halved.
    batches: dict[str, Batches] = field(default_factory=dict, compare=False, repr=False)

    @property
    def branch(self) -> str | None:
        """The branch of a stage that has several: a prompt source, or a name of evidence."""
        return self.source if self.evidence is None else self.evidence

    @property
    def history(self) -> dict[str, Any]:
        """What a file was made with beside its stamp: it changes no result, except for rounding."""
        effective = {name: batches.limit for name, batches in self.batches.items()}
        return {"batches": {**self.settings.run.batches.model_dump(mode="json"), **effective}}

    @property
    def settings(self) -> Settings:
        return settings_of(self.config, self.dataset)

    @property
    def layout(self) -> Layout:
        return Layout.of(self.config, self.dataset, self.split)


# ---------------------------------------------------------------- running


def run_stage(
    run: Callable[[Job], None], doc: str | None, argv: Sequence[str] | None = None, *, source: bool = False
) -> int:
    """The `main` of a stage that has the common flags alone."""
    return execute(stage_parser(doc, source=source), argv, lambda arguments: run(parse_job(arguments)))


def execute(
    parser: argparse.ArgumentParser,
    argv: Sequence[str] | None,
    action: Callable[[argparse.Namespace], int | None],
) -> int:
    """Parses the flags and runs `action` on them.

    Returns:
        What `action` returns, None as 0; 2 for wrong input (config, data, cache, arguments), reported in one line; 130
        after Ctrl-C, 143 after SIGTERM. A stage with failed videos exits with 1, unless `run.on_failure` is "leave_out".
    """
    arguments = parser.parse_args(argv)
    n_pids = getattr(arguments, "n_pids", 1)
    if getattr(arguments, "pid", 0) >= n_pids:
        parser.error(f"--pid {arguments.pid} with --n-pids {n_pids}: shards are numbered 0 to {n_pids - 1}")
    return guarded(lambda: action(arguments))


def guarded(action: Callable[[], int | None]) -> int:
    """Runs `action` with logging set up; an error of input, Ctrl-C or SIGTERM becomes one line and an exit status."""
    set_up_logging()
    handlers = [handler for logger in printing_loggers() for handler in logger.handlers]
    try:
        with terminable(), once_per_kind(handlers, "stages.datasets"):
            return action() or 0
    except (ValueError, OSError) as error:
        print(f"error: {error}", file=sys.stderr)
        return WRONG_INPUT
    except Terminated:
        print("terminated", file=sys.stderr)
        return TERMINATED
    except KeyboardInterrupt:
        print("interrupted", file=sys.stderr)
        return INTERRUPTED


# ---------------------------------------------------------------- parsers


def build_parser(doc: str | None) -> argparse.ArgumentParser:
    """A parser without flags; `doc` is the docstring of its module. Every command begins with it."""
    formatter = argparse.RawDescriptionHelpFormatter
    return argparse.ArgumentParser(prog=program(), description=doc, formatter_class=formatter)


def split_parser(doc: str | None) -> argparse.ArgumentParser:
    """The flags of a command about one split, for `parse_job`."""
    parser = build_parser(doc)
    add_config_flag(parser)
    add_dataset_flag(parser)
    parser.add_argument("--split", required=True, help="one of its splits")
    add_limit_flag(parser)
    return parser


def stage_parser(doc: str | None, *, source: bool = False) -> argparse.ArgumentParser:
    """The flags of a stage, for `parse_job`; `source`: the stage runs once per prompt source."""
    parser = split_parser(doc)
    if source:
        add_source_flag(parser)
    add_shard_flags(parser)
    return parser


def program() -> str:
    """What was typed: "referee <verb>", which stages/__main__.py leaves in sys.argv, or "python -m <module>"."""
    if sys.argv[0].startswith("referee "):
        return sys.argv[0]
    spec = getattr(sys.modules["__main__"], "__spec__", None)
    return Path(sys.argv[0]).name if spec is None else f"python -m {spec.name.removesuffix('.__main__')}"


# ---------------------------------------------------------------- groups of flags


def add_config_flag(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--config",
        action="append",
        type=Path,
        metavar="FILE",
        help="config file; give it again to merge another over it (default: config.yaml)",
    )


def add_dataset_flag(parser: argparse.ArgumentParser, default: str | None = None, which: str = "") -> None:
    """Required unless there is a default; `which` says what kind of data set is meant."""
    text = f"a data set of the config{which}" + (f" (default: {default})" if default else "")
    parser.add_argument("--dataset", required=default is None, default=default, help=text)


def add_limit_flag(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--limit", type=at_least(1), metavar="N", help="only the first N videos of the split")


def add_source_flag(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--source", required=True, choices=tuple(SOURCES), help="where the prompts come from")


def add_shard_flags(parser: argparse.ArgumentParser) -> None:
    add = parser.add_argument
    add("--pid", type=at_least(0), default=0, metavar="N", help="this shard, from 0 (default: 0)")
    add("--n-pids", type=at_least(1), default=1, metavar="N", help="number of shards (default: 1)")
    add("--overwrite", action="store_true", help="make finished videos again")


def at_least(minimum: int) -> Callable[[str], int]:
    """The type of a flag that takes a whole number of at least `minimum`."""

    def parse(text: str) -> int:
        try:
            value = int(text)
        except ValueError:
            value = minimum - 1
        if value < minimum:
            raise argparse.ArgumentTypeError(f"needs a whole number of at least {minimum}; got {text!r}")
        return value

    return parse


# ---------------------------------------------------------------- what flags mean


def config_of(arguments: argparse.Namespace) -> Config:
    """The config of the --config flags."""
    return load_config(*(arguments.config or [Path("config.yaml")]))


def parse_job(arguments: argparse.Namespace) -> Job:
    """The job of a parser's flags; a command without shards is one shard."""
    config = config_of(arguments)
    check_split(config, arguments.dataset, arguments.split)
    return Job(
        config=config,
        dataset=arguments.dataset,
        split=arguments.split,
        source=getattr(arguments, "source", None),
        pid=getattr(arguments, "pid", 0),
        n_pids=getattr(arguments, "n_pids", 1),
        overwrite=getattr(arguments, "overwrite", False),
        limit=arguments.limit,
    )
