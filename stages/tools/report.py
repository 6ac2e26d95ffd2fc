"""Makes the report of a run: one site to look at, which needs no server and no network.

    referee report results/shapes/valid_u
    referee report results/shapes/valid_u --compare elsewhere/results/shapes/valid_u --out compared

Reads:  decisions, tracks, frames, scores, evidence and ground truth of the split, as far as they are there; of the run that is
        compared, its folder of results alone. No model is loaded.
Writes: <results>/report/<dataset>/<split>/ (or --out): index.html, to be opened in a browser; figures and plots, a table of all
        expressions, a page per video with its masks, candidates, evidence, and what an MLLM saw and answered.
Why:    a figure says how often a method fails; where and why is seen by looking.

What is missing is said on the first page. docs/report.md explains the pages.
"""

import argparse
import logging
import shutil
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from stages.core.config.file import Config
from stages.core.config.loading import check_split
from stages.core.config.places import check_output
from stages.core.run.cli import Job, add_config_flag, add_limit_flag, build_parser, config_of, execute
from stages.core.state.cache import CacheError
from stages.core.state.marks import mark, refuse_foreign, remove_ours
from stages.core.state.temporary import disk_full, remove_leftovers, temporary_beside
from stages.datasets import open_split

if TYPE_CHECKING:
    from stages.report.build import Wanted

log = logging.getLogger(__name__)


def run(job: Job, compared: Path | None, out: Path, wanted: "Wanted") -> None:
    """Writes the site at `out`, as a whole or not at all.

    Raises:
        ValueError: nothing is decided yet, a file is damaged, or something that we did not make is at `out`.
    """
    from stages.report.build import open_report, write_videos
    from stages.report.other import open_other
    from stages.report.site import write_site

    refuse_foreign(out)  # before the work, not after it
    other = None if compared is None else open_other(compared)
    report = open_report(job, open_split(job.config, job.dataset, job.split), other, wanted)
    building = temporary_beside(out)
    remove_leftovers(out)
    try:
        make_folder(building)
        write_videos(report, building, wanted)
        write_site(report, building, wanted)
        mark(building, f"report of {job.dataset}/{job.split}")
        remove_ours(out)
        building.rename(out)
    except OSError as error:
        raise disk_full(error, out) or error from error
    finally:
        shutil.rmtree(building, ignore_errors=True)
    for notice in report.notices:
        log.warning("not in the report: %s: %s", notice.what, notice.why)
    log.info("%s/%s: open %s in a browser", job.dataset, job.split, out / "index.html")


def make_folder(folder: Path) -> None:
    try:
        folder.mkdir(parents=True)
    except OSError as error:
        raise CacheError(f"{folder.parent}: not writable ({error.strerror}); give another place with --out") from error


def parse_run(config: Config, run: Path) -> tuple[str, str]:
    """results/<dataset>/<split>, or the last two words of it, → data set and split.

    Raises:
        ValueError: the config has no such split, or the folder is not where this config's results are.
    """
    if len(run.parts) < 2:
        raise ValueError(f"{run}: give the results of a run, as {config.paths.results}/shapes/valid_u")
    dataset, split = run.parts[-2:]
    check_split(config, dataset, split)
    expected = Path(config.paths.results) / dataset / split
    if len(run.parts) > 2 and run.resolve() != expected.resolve():
        raise ValueError(
            f"{run}: is not {expected}, where results of this config are; run this in that project's folder, or give its "
            "config with --config (the other run of --compare may be anywhere)"
        )
    return dataset, split


def report_parser() -> argparse.ArgumentParser:
    parser = build_parser(__doc__)
    add_config_flag(parser)
    add_limit_flag(parser)
    add = parser.add_argument
    add("run", type=Path, metavar="RUN", help="results/<dataset>/<split>")
    add(
        "--compare", type=Path, metavar="RUN", help="results of another run of the same split, to stand beside this one"
    )
    add("--out", type=Path, metavar="DIR", help="folder to write (default: <results>/report/<dataset>/<split>)")
    add("--no-media", action="store_true", help="without videos and pictures: figures, tables and words alone")
    add("--quick", action="store_true", help="without oracle, baselines and threshold curves, which take longest")
    return parser


def parse(arguments: argparse.Namespace) -> tuple[Job, Path | None, Path, "Wanted"]:
    from stages.report.build import Wanted

    config = config_of(arguments)
    dataset, split = parse_run(config, arguments.run)
    usual = Path(config.paths.results) / "report" / dataset / split
    out = arguments.out or usual
    if out.resolve() != usual.resolve():
        check_output(config, out)
    job = Job(config, dataset, split, None, 0, 1, overwrite=False, limit=arguments.limit)
    return job, arguments.compare, out, Wanted(media=not arguments.no_media, bounds=not arguments.quick)


def main(argv: Sequence[str] | None = None) -> int:
    return execute(report_parser(), argv, lambda arguments: run(*parse(arguments)))


if __name__ == "__main__":
    raise SystemExit(main())
