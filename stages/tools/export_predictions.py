"""Exports the answers of the cache in formats that other tools read.

Reads:  decisions, the tracks they chose, and the frames' names and sizes.
Writes: --out: one JSON file (coco, ytvis), or PNGs (png, palette) as a zip where its name ends in .zip, else
        as a folder. png: binary masks per expression, as the data set's server takes them; palette: with the
        DAVIS palette, a label map per annotator for Ref-DAVIS17, else number 1 for the object.

Why: evaluation and annotation tools read these; docs/exchange.md describes every format.
"""

import logging
from collections.abc import Sequence
from pathlib import Path

from stages.core.config.places import check_output
from stages.core.run.cli import Job, execute, parse_job, split_parser
from stages.core.state.marks import refuse_output
from stages.datasets import open_split
from stages.exchange.json_export import RESULTS, write_results
from stages.exchange.layouts import layouts_of
from stages.exchange.submission import cached_items, write_folder, write_zip

FORMATS = (*RESULTS, "png", "palette")

log = logging.getLogger(__name__)


def run(job: Job, kind: str, out: Path) -> None:
    """Writes `out`.

    Raises:
        ValueError: decisions are missing, the target is a folder that holds something, or is where the config's
            own folders are.
    """
    check_output(job.config, out)
    if kind in RESULTS or out.suffix == ".zip":
        refuse_output(out)
    split = open_split(job.config, job.dataset, job.split)
    videos = split.videos()[: job.limit]
    if kind in RESULTS:
        count = write_results(out, RESULTS[kind](job.layout, split, videos))
    else:
        layouts = layouts_of(split.protocol)
        zip_layout = layouts[0] if kind == "palette" else layouts[-1]
        items = cached_items(job.layout, zip_layout, split, videos, palette=kind == "palette")
        count = write_zip(out, items) if out.suffix == ".zip" else write_folder(out, items)
    log.info("%s: %d %s", out, count, "entries" if kind in RESULTS else "PNGs")


def main(argv: Sequence[str] | None = None) -> int:
    parser = split_parser(__doc__)
    parser.add_argument("--format", required=True, choices=FORMATS, help="what to write")
    parser.add_argument("--out", required=True, type=Path, metavar="PATH", help="the file or folder to write")
    return execute(parser, argv, lambda arguments: run(parse_job(arguments), arguments.format, arguments.out))


if __name__ == "__main__":
    raise SystemExit(main())
