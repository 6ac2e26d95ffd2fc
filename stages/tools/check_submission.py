"""Checks a submission zip, ours or another system's, before a server sees it.

Reads:  the zip, the split's index, and the sizes of its frames (cache or data set).
Writes: a report on standard output: counts, then the first defects of every kind. Exit status 0 = sound,
        1 = has defects, 2 = could not be checked.

Why: servers score a missing or mis-sized mask as zero, or drop it silently.
"""

import argparse
import json
import sys
from collections.abc import Sequence
from pathlib import Path

from stages.core.run.cli import Job, at_least, execute, parse_job, split_parser
from stages.datasets import open_split
from stages.exchange.check import KINDS, Report, check_zip, choose_layout
from stages.exchange.geometry import expected_files
from stages.exchange.layouts import layout_named, layouts_of


def run(job: Job, archive: Path, layout_name: str | None) -> Report:
    """The report of one zip.

    Raises:
        ValueError: the split cannot be read, or has no layout of that name.
        OSError: the zip cannot be opened.
    """
    split = open_split(job.config, job.dataset, job.split)
    chosen = layout_named(split.protocol, layout_name)
    layouts = [chosen] if chosen else list(layouts_of(split.protocol))
    videos = split.videos()[: job.limit]
    candidates = [(layout, expected_files(job.layout, layout, split, videos)) for layout in layouts]
    index = choose_layout(archive, candidates) if len(candidates) > 1 else 0
    return check_zip(archive, *candidates[index])


def print_report(report: Report, show: int) -> None:
    print(f"{report.archive}: layout {report.layout}")
    print(f"  {report.expected} masks expected, {report.found} found, {report.sound} sound")
    if report.unknown_sizes:
        print(f"  the size of {report.unknown_sizes} masks was not checked: their frames are not here")
    for kind in KINDS:
        lines = report.defects.get(kind, [])
        if lines:
            print(f"  {kind}: {len(lines)}")
            for line in lines[:show]:
                print(f"    {line}")
            if len(lines) > show:
                print(f"    … and {len(lines) - show} more")
    print("  sound" if report.ok else "  NOT a valid submission")


def main(argv: Sequence[str] | None = None) -> int:
    parser = split_parser(__doc__)
    parser.add_argument("archive", type=Path, metavar="ZIP", help="the submission")
    parser.add_argument("--layout", help="which of the set's layouts it has (default: the one its names fit)")
    parser.add_argument("--json", action="store_true", help="print the report as JSON")
    parser.add_argument(
        "--show", type=at_least(0), default=10, metavar="N", help="defects shown per kind (default: 10)"
    )
    return execute(parser, argv, _check)


def _check(arguments: argparse.Namespace) -> int:
    report = run(parse_job(arguments), arguments.archive, arguments.layout)
    if arguments.json:
        json.dump(report.as_json(arguments.show), sys.stdout, indent=1, ensure_ascii=False)
        print()
    else:
        print_report(report, arguments.show)
    return int(not report.ok)


if __name__ == "__main__":
    raise SystemExit(main())
