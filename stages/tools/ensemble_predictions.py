"""Averages the predictions of several runs or systems, pixel by pixel, and reports each of them beside the mean.

Reads:  --run: what import_predictions reads (a submission zip, a folder of mask PNGs, a JSON file of YouTube-VIS results),
        or a config file that is laid over --config, for the decisions in its cache: of an import, or of other settings.
        --own: the decisions of the config itself. And the frame folders of the cache (extract_frames).
Writes: <results>/imports/<name>/: the mean as an import, with its overlay config.yaml; and below ensemble/<dataset>/<split>
        the submission, ensemble.json (weights, what they were fitted to, all figures) and ensemble.md (the table).

Why: a mean of good systems is often better than the best of them, and a single figure does not say so. Masks vote; grey
PNGs (--soft) are probabilities. Weights are equal, given (--weight), or fitted (--fit-on) on a split whose truth is
known, which is never the one that is averaged. A video that is finished is not read again.
"""

import argparse
import logging
from collections.abc import Mapping, Sequence
from contextlib import ExitStack
from pathlib import Path
from typing import Any

from stages.core.config.file import check_name
from stages.core.run.cli import Job, at_least, execute, parse_job, split_parser
from stages.exchange.ensemble.asked import Asked, Opened, complete, fitting_split, mixed, open_runs, place_of
from stages.exchange.ensemble.fitting import FOLDER
from stages.exchange.ensemble.making import average, document_of, table_of, write_documents, write_zips
from stages.exchange.ensemble.mean import Mean
from stages.exchange.importing import Import, imported_record, prepare, write_record

OWN = "own"  # name of the run of --own
STAGES_AFTER = ("evaluate", "render_predictions", "assemble")  # what runs on an import

log = logging.getLogger(__name__)


def run(job: Job, asked: Asked) -> None:
    """Averages one split.

    Raises:
        ValueError: predictions, split, frames, weights or the split to fit to cannot be used; what is made by then stays.
    """
    target = Import.of(job.config, asked.name, job.dataset, job.split)
    refuse_other(target)
    opened = Opened.of(job)
    fitting = None if asked.fit_on is None else fitting_split(opened, asked)
    with ExitStack() as stack:
        runs = open_runs(stack, opened, asked, {name: place_of(job, asked, p) for name, p in asked.runs.items()})
        lacking = complete(runs, opened.videos, asked)
        prepare(target, job.layout)
        mixture, report = mixed(stack, target, runs, fitting, asked)
        mean = Mean(runs, mixture)
        mean.notes += lacking
        outcomes = average(target, opened, runs, mean)
    origin = [{"run": r.name, "from": r.origin, "weight": mixture.weights[r.name]} for r in runs]
    counts = {"videos": len(opened.videos), "expressions": sum(len(video.expressions) for video in opened.videos)}
    write_record(target, origin, counts, [], mean)
    folder = target.root / FOLDER / job.dataset / job.split
    write_zips(target, opened, folder)
    document = document_of(target, opened, runs, mixture, report, outcomes)
    write_documents(folder, document)
    tell(target, folder, document, lacking, asked.configs)


def refuse_other(target: Import) -> None:
    """Raises ValueError where the name is that of an import, or a data set has the name of the folder of ensembles."""
    record = imported_record(target.layout)
    if record is not None and isinstance(record["from"], str):
        raise ValueError(f"{target.root}: is an import of {record['from']}; give another --name")
    if target.dataset == FOLDER:
        raise ValueError(
            f"a data set is called {FOLDER!r}, which is where ensembles are written; rename it in the config"
        )


def tell(
    target: Import, folder: Path, document: Mapping[str, Any], lacking: Sequence[str], configs: Sequence[Path]
) -> None:
    for note in lacking:
        log.warning("%s", note)
    if document["metric"] is None:
        log.info("%s/%s has no ground truth: runs are not scored", target.dataset, target.split)
    print(table_of(document), end="")
    log.info("%s: submission, figures; threshold %g", folder, document["threshold"])
    flags = " ".join(f"--config {path}" for path in (*configs, target.overlay))
    flags += f" --dataset {target.dataset} --split {target.split}"
    log.info("for overlays, go on with:\n%s", "\n".join(f"  python -m stages.{s} {flags}" for s in STAGES_AFTER))


# ---------------------------------------------------------------- the command line


def main(argv: Sequence[str] | None = None) -> int:
    parser = split_parser(__doc__)
    add = parser.add_argument
    add("--name", required=True, help="of the ensemble, a folder below <results>/imports")
    add(
        "--run", action="append", default=[], metavar="NAME=PATH", help="predictions, or a config file; once per system"
    )
    add("--own", action="store_true", help=f"the config's own decisions too, as the run {OWN!r}")
    add("--soft", action="append", default=[], metavar="NAME", help="the run's grey PNGs are probabilities")
    add("--weight", action="append", default=[], metavar="NAME=W", help="of a run (default: 1)")
    add(
        "--threshold", type=float, metavar="SHARE", help="of the mean, above which a pixel is the object (default: 0.5)"
    )
    add("--fit-on", metavar="SPLIT", help="[dataset/]split with ground truth to fit weights and threshold to")
    add("--fit-run", action="append", default=[], metavar="NAME=PATH", help="the run's predictions of that split")
    add("--fit-limit", type=at_least(1), metavar="N", help="only the first N videos of that split")
    add(
        "--missing",
        choices=("stop", "empty"),
        default="stop",
        help="what a run lacks is an error, or empty (default: stop)",
    )
    add("--overwrite", action="store_true", help="average again what is there already")
    return execute(parser, argv, lambda arguments: run(parse_job(arguments), asked_of(arguments)))


def asked_of(arguments: argparse.Namespace) -> Asked:
    """Raises ValueError where a flag cannot be read, or flags do not fit together."""
    runs: dict[str, Path | None] = {name: Path(text) for name, text in pairs("--run", arguments.run).items()}
    if arguments.own:
        if OWN in runs:
            raise ValueError(f"--own: there is a run {OWN!r} already; give it another name")
        runs[OWN] = None
    for name in runs:
        check_name(name, "run")
    return Asked(
        arguments.name,
        runs,
        arguments.soft,
        {name: number(name, text) for name, text in pairs("--weight", arguments.weight).items()} or None,
        arguments.threshold,
        arguments.fit_on,
        {name: Path(text) for name, text in pairs("--fit-run", arguments.fit_run).items()},
        arguments.fit_limit,
        arguments.missing == "empty",
        arguments.config or (Path("config.yaml"),),
    )


def pairs(flag: str, given: Sequence[str]) -> dict[str, str]:
    """NAME=VALUE flags by name."""
    values: dict[str, str] = {}
    for text in given:
        name, sign, value = text.partition("=")
        if not (name and sign and value):
            raise ValueError(f"{flag} {text}: needs NAME=VALUE")
        if name in values:
            raise ValueError(f"{flag} {name}: given twice")
        values[name] = value
    return values


def number(name: str, text: str) -> float:
    try:
        return float(text)
    except ValueError:
        raise ValueError(f"--weight {name}={text}: needs a number") from None


if __name__ == "__main__":
    raise SystemExit(main())
