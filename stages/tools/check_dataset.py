"""Compares a data set with what was published, and lists every defect with its file and video.

Reads:  the data set: all of its index and mask files, the names of its frames, the header of each video's first frame.
Writes: nothing.

Without --split, every split of the config is checked. Defects of one kind share one line, with the first as the
example. Exit status: 0 sound, 1 with errors (with --strict: or warnings), 2 for a config that cannot be used.
--json prints the same for scripts.

Why: a stage stops at the first defect it meets, hours after the data was copied; it is better to check a copy once.
"""

import argparse
import json
import sys
from collections.abc import Sequence
from dataclasses import asdict
from functools import partial
from typing import Any

from stages.core.config.file import Config
from stages.core.config.loading import check_split, dataset_of
from stages.core.notes import Notes, shape
from stages.core.run.cli import (
    add_config_flag,
    add_dataset_flag,
    add_limit_flag,
    build_parser,
    config_of,
    execute,
)
from stages.core.tables import FORMATS
from stages.datasets import open_split
from stages.datasets.check import Report
from stages.datasets.check import check_split as look_over

COUNTS = {
    "videos": "videos",
    "expressions": "expressions",
    "no_target": "no-target expressions",
    "frames": "frames",
    "annotations": "annotated objects",
    "masks": "masks",
    "scored": "scored frames",
}

KINDS = ("errors", "warnings")


def run(config: Config, arguments: argparse.Namespace) -> int:
    """Checks the splits and prints the outcome; returns the exit status."""
    dataset = arguments.dataset
    names = list(dataset_of(config, dataset).splits) if arguments.split is None else [arguments.split]
    outcomes = []
    for name in names:
        check_split(config, dataset, name)
        report = look_over(partial(open_split, config, dataset, name), arguments.limit, decode=arguments.decode)
        outcomes.append(outcome(config, dataset, name, report))
        if not arguments.json:
            print(render(outcomes[-1]))
    if arguments.json:
        json.dump(outcomes, sys.stdout, indent=1)
        print()
    return int(any(result["errors"] or (arguments.strict and result["warnings"]) for result in outcomes))


def outcome(config: Config, dataset: str, split: str, report: Report) -> dict[str, Any]:
    """A report as plain values, for --json."""
    return {
        "dataset": dataset,
        "split": split,
        "format": dataset_of(config, dataset).format,
        "limit": dataset_of(config, dataset).splits[split].limit,
        "counts": {key: getattr(report, key) for key in COUNTS},
        "published": published(config, dataset, split),
        "errors": report.count("error"),
        "warnings": report.count("warning"),
        "findings": [asdict(finding) for finding in report.findings],
    }


def published(config: Config, dataset: str, split: str) -> list[dict[str, int | None]]:
    """The counts of each published version of a split; empty for a user's own data."""
    entry = dataset_of(config, dataset)
    versions = FORMATS[entry.format].counts.get(split, ()) if entry.published else ()
    return [{"videos": videos, "expressions": expressions} for videos, expressions in versions]


def render(result: dict[str, Any]) -> str:
    """The outcome as a table and a list."""
    limit = "" if result["limit"] is None else f", first {result['limit']} videos"
    lines = [f"{result['dataset']}/{result['split']} (format {result['format']}{limit})"]
    if result["counts"]["videos"]:
        lines.append(f"  {'':24}{'found':>10}  published")
        lines += [_count(result, key, title) for key, title in COUNTS.items()]
    lines += _kinds(result["findings"])
    lines.append("  " + ", ".join(f"{result[kind]} {kind if result[kind] != 1 else kind[:-1]}" for kind in KINDS))
    return "\n".join(lines)


def _count(result: dict[str, Any], key: str, title: str) -> str:
    versions = dict.fromkeys(version[key] for version in result["published"] if version.get(key) is not None)
    return f"  {title:24}{result['counts'][key]:>10}  {' or '.join(map(str, versions)) or '-'}"


def _kinds(findings: Sequence[dict[str, str]]) -> list[str]:
    """A line per kind of finding: its first, and how many there are."""
    notes = Notes()
    for finding in findings:
        notes.add(_line(finding), f"{finding['level']}: {shape(finding['message'])}")
    lines = notes.lines()
    return [*lines, "  (--json lists each of them)"] if len(lines) < len(findings) else lines


def _line(finding: dict[str, str]) -> str:
    video = f" video {finding['video']}:" if finding["video"] else ""
    return f"  {finding['level']}:{video} {finding['message']}"


def main(argv: Sequence[str] | None = None) -> int:
    parser = build_parser(__doc__)
    add = parser.add_argument
    add_config_flag(parser)
    add_dataset_flag(parser)
    add("--split", help="one of its splits (default: all)")
    add_limit_flag(parser)
    add("--decode", action="store_true", help="read the pixels of every frame too")
    add("--strict", action="store_true", help="exit with 1 on warnings too")
    add("--json", action="store_true", help="print JSON")
    return execute(parser, argv, lambda arguments: run(config_of(arguments), arguments))


if __name__ == "__main__":
    raise SystemExit(main())
