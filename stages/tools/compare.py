"""Compares ways to choose tracks on one split: selectors, thresholds, track sources, baselines and the oracle.

Reads:  track, prompt and text files of the split, its annotations, and what --selector names: score files,
        decisions, or selectors' weights, which are scored in place; evidence of this split and of the one that fusions
        are fitted to. No frame is opened, no other model loaded.
Writes: <results>/compare/<dataset>/<split>/ (or --out): table.md and table.csv, a line per method; sweep.csv, every
        scored method at all thresholds; recall.csv, recall of tracks by their number; compare.png, compare.svg;
        compare.json, what was compared, and what fusions were fitted; existence.csv and its plot, figures of decisions
        by the weight of existence, where they look at it. --write puts the table into a document too, between its markers.
Why:    a figure says little by itself: here it stands beside what the tracks allow and what chance gives.

Without flags it compares what the config's section `compare` says; with --selector or --decisions, of both only what they
name. The metrics are those of stages.evaluate.
"""

import argparse
import logging
import shlex
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from stages.core.records import Source, Split, Video
from stages.core.run.cli import Job, execute, parse_job, split_parser
from stages.core.state.marks import refuse_foreign
from stages.core.tables import SOURCES
from stages.datasets import open_split

if TYPE_CHECKING:
    from stages.comparison.contenders import Contender
    from stages.comparison.measure import Measurer
    from stages.comparison.outputs import Result

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Request:
    """What is compared with what; see the section `compare` of the config.

    Attributes:
        command: how to ask for it again.
        out: the folder that is written.
        document: what the table is written into too; None = nothing.
    """

    selectors: Sequence[str]
    decisions: Sequence[str]
    baselines: Sequence[str]
    mixes: Sequence[tuple[Source, ...]]
    thresholds: Sequence[str]
    seeds: Sequence[int]
    command: str
    out: Path
    document: Path | None


def run(job: Job, request: Request) -> None:
    """Compares, prints the table and writes the files.

    Raises:
        ValueError: the split has no ground truth; a selector, baseline or threshold is unknown; a file is missing,
            damaged, or made from files that have changed since.
    """
    from stages.comparison.document import rewrite
    from stages.comparison.outputs import document_block, write_result

    refuse_foreign(request.out)  # before the work, not after it
    split = open_split(job.config, job.dataset, job.split)
    result = compare(job, request, split, sound_videos(job, split))
    write_result(result, request.out)
    if request.document is not None:
        rewrite(request.document, f"{job.dataset}/{job.split}", document_block(result))
    print(document_block(result))
    log.info("%s/%s: tables and plot are in %s", job.dataset, job.split, request.out)


def compare(job: Job, request: Request, split: Split, videos: Sequence[Video]) -> "Result":
    """Measures everything on the videos."""
    from stages.comparison.measure import Measurer
    from stages.core.run.devices import lease_device
    from stages.core.run.progress import Progress

    settings = job.settings
    ratio, positive_iou = settings.evaluate.boundary_ratio, settings.selector.training.positive_iou
    with lease_device(settings.run) as device:
        contenders = contenders_of(job, request, device)
        measurer = Measurer(job.layout, split, contenders, request.mixes, ratio, positive_iou)
        with Progress(f"compare {job.dataset}/{job.split}", len(videos)) as progress:
            for video in videos:
                measurer.add(video)
                progress.more(1)
    return result_of(job, request, split, videos, measurer)


def contenders_of(job: Job, request: Request, device: str) -> "list[Contender]":
    """Baselines, selectors and decisions, in the order they were asked for.

    Raises:
        ValueError: one of them cannot choose from any of the sources, two would be one line, or there is none.
    """
    from stages.comparison.baselines import baselines
    from stages.comparison.decisions import open_decisions
    from stages.comparison.measure import BEST
    from stages.comparison.selectors import open_selectors, parse_asked

    labels = [label for label in request.thresholds if label != BEST]
    asked = [parse_asked(text) for text in request.selectors]
    plain = baselines(request.baselines, request.seeds)
    if same := {contender.name for contender in plain}.intersection(request.decisions):
        raise ValueError(f"compare.decisions: {sorted(same)[0]!r} is the name of a baseline; give the line another")
    contenders = plain + open_selectors(job, asked, request.seeds, labels, device)
    contenders += open_decisions(job, request.decisions, request.seeds, device)
    for contender in contenders:
        if not any(contender.fits(mix) for mix in request.mixes):
            names = ", ".join("+".join(mix) for mix in request.mixes)
            raise ValueError(f"{contender.name} needs tracks of {contender.wanted()}; --sources has {names}")
    if not contenders:
        raise ValueError("nothing to compare: give --selector, --decisions or --baselines")
    return contenders


def sound_videos(job: Job, split: Split) -> list[Video]:
    """The split's videos that can be used, at most --limit; defects are logged.

    Raises:
        ValueError: there is nothing to compare with: no ground truth, or no sound video.
    """
    if not split.has_truth:
        raise ValueError(f"{job.dataset}/{job.split} has no ground truth: compare on a split that has it")
    videos = split.videos()[: job.limit]
    for video in videos:
        if video.defect:
            log.error("%s/%s: video %s is left out: %s", job.dataset, job.split, video.id, video.defect)
    sound = [video for video in videos if not video.defect]
    if not any(expression.annotations is not None for video in sound for expression in video.expressions):
        raise ValueError(f"{job.dataset}/{job.split}: no expression of known truth in {len(sound)} sound videos")
    return sound


def result_of(job: Job, request: Request, split: Split, videos: Sequence[Video], measurer: "Measurer") -> "Result":
    from stages.comparison.lines import curve_lines, lines_of, swept_lines
    from stages.comparison.measure import BEST
    from stages.comparison.outputs import Result
    from stages.metrics.protocols import protocol_of

    metric, measurements = protocol_of(split.protocol).metric, measurer.measurements()
    n_expressions = sum(len(video.expressions) for video in videos)
    part = f"the first {len(videos)} videos" if job.limit else f"{len(videos)} videos"
    return Result(
        dataset=job.dataset,
        split=job.split,
        metric=metric,
        protocol=measurer.title(),
        lines=lines_of(measurements, metric, best=BEST in request.thresholds),
        swept=swept_lines(measurements, metric),
        curves=curve_lines(measurements, metric),
        ranks=measurer.ranks,
        notes=[f"{job.dataset}/{job.split}: {part}, {n_expressions} expressions.", *measurer.notes()],
        command=request.command,
        facts=facts_of(job, request, videos, measurer.contenders),
    )


def facts_of(job: Job, request: Request, videos: Sequence[Video], contenders: "Sequence[Contender]") -> dict[str, Any]:
    """What was compared, by which code."""
    from stages.core.state.provenance import commit

    reports: dict[str, list[Any]] = {name: [] for name in request.decisions}
    for contender in contenders:
        if contender.report is not None:
            reports[contender.name].append(contender.report)
    return {
        "dataset": job.dataset,
        "split": job.split,
        "videos": [video.id for video in videos],
        "selectors": list(request.selectors),
        "decisions": reports,
        "baselines": list(request.baselines),
        "sources": ["+".join(mix) for mix in request.mixes],
        "thresholds": list(request.thresholds),
        "seeds": list(request.seeds),
        "boundary_ratio": job.settings.evaluate.boundary_ratio,
        "positive_iou": job.settings.selector.training.positive_iou,
        "command": request.command,
        "commit": commit(),
    }


def parse_mix(text: str) -> tuple[Source, ...]:
    """ "grid+gdino" → its sources; raises ValueError where one is unknown."""
    parts = text.split("+")
    sources = tuple(source for part in parts for source in SOURCES if source == part)
    if len(sources) != len(parts) or len(set(sources)) != len(sources):
        raise ValueError(f"sources {text!r}: join some of {', '.join(SOURCES)} by '+', as grid+gdino")
    return sources


def request_parser() -> argparse.ArgumentParser:
    parser = split_parser(__doc__)
    add = parser.add_argument
    places = "scores, decisions, pipeline, trained, a folder or a file; again for more, of one NAME for runs of one"
    add("--selector", action="append", metavar="NAME=PLACE", help=f"PLACE: {places}")
    add("--decisions", nargs="*", metavar="LINE", help="lines of compare.decisions")
    add("--baselines", nargs="*", metavar="NAME", help="oracle, gdino-best, gdino, seg, largest, random, all, none")
    add("--sources", nargs="+", metavar="MIX", help="track sources to choose from, as grid gdino grid+gdino")
    add("--thresholds", nargs="+", metavar="T", help="numbers, config, calibrated, best")
    add("--seeds", nargs="+", type=int, metavar="N", help="of trained selectors and of the random baseline")
    add("--out", type=Path, metavar="DIR", help="folder to write (default: <results>/compare/<dataset>/<split>)")
    add("--write", type=Path, metavar="FILE", help="write the table into this document too, between its markers")
    return parser


def parse_request(arguments: argparse.Namespace, argv: Sequence[str]) -> tuple[Job, Request]:
    """Flags win over the config's section."""
    job = parse_job(arguments)
    defaults = job.settings.compare
    unasked = arguments.selector is None and arguments.decisions is None
    out = Path(job.config.paths.results) / "compare" / arguments.dataset / arguments.split
    return job, Request(
        selectors=defaults.selectors if unasked else arguments.selector or [],
        decisions=list(dict.fromkeys(defaults.decisions if unasked else arguments.decisions or [])),
        baselines=defaults.baselines if arguments.baselines is None else arguments.baselines,
        mixes=list(dict.fromkeys(parse_mix(text) for text in arguments.sources or defaults.sources)),
        thresholds=list(dict.fromkeys(map(str, arguments.thresholds or defaults.thresholds))),
        seeds=list(dict.fromkeys(arguments.seeds or defaults.seeds)),
        command=shlex.join(["referee", "compare", *argv]),
        out=arguments.out or out,
        document=arguments.write,
    )


def main(argv: Sequence[str] | None = None) -> int:
    given = sys.argv[1:] if argv is None else argv
    return execute(request_parser(), given, lambda arguments: run(*parse_request(arguments, given)))


if __name__ == "__main__":
    raise SystemExit(main())
