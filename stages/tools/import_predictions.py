"""Imports the predictions of another system, so that they are scored and drawn as our own.

Reads:  --from: a submission zip, a folder of mask PNGs in the layout of the data set, or a JSON file of
        YouTube-VIS results; and the frame folders of the cache (extract_frames).
Writes: <results>/imports/<name>/: an overlay config.yaml and a cache with decisions, see
        stages/exchange/importing.py. The commands to go on with are printed.

Why: figures are comparable only if the same code computes them. What is not predicted counts as empty and is
listed in import.json; a mask of another size than its frame is an error. So is an ambiguous one:
grey values, a palette whose 0 is not the background, a label map in place of a binary mask. For grey
masks (mode L, 8 or 16 bits), --threshold says from which shade on they are the object.
"""

import argparse
import logging
from collections.abc import Sequence
from pathlib import Path

from stages.core.records import Video
from stages.core.run.cli import Job, execute, parse_job, split_parser
from stages.core.state.frames import open_frames
from stages.datasets import open_split
from stages.exchange.importing import RECORD, Import, import_video, prepare, write_record
from stages.exchange.incoming import Incoming, open_incoming

STAGES_AFTER = ("evaluate", "render_predictions", "assemble")  # what runs on an import

log = logging.getLogger(__name__)


def run(job: Job, origin: Path, name: str | None, threshold: float | None = None) -> None:
    """Imports one split.

    Args:
        threshold: share of white from which on a grey pixel is the object; None = grey is an error.

    Raises:
        ValueError: the predictions, the split or the frames cannot be used; what is imported by then stays.
    """
    target = Import.of(job.config, name or origin.stem, job.dataset, job.split)
    split = open_split(job.config, job.dataset, job.split)
    videos = [_sound(video) for video in split.videos()[: job.limit]]
    folders = {video.id: open_frames(job.layout, video.id) for video in videos}
    with open_incoming(origin, split, videos, folders, threshold) as incoming:
        prepare(target, job.layout)
        missing = [line for video in videos for line in incoming.missing(video)]
        done = sum(
            import_video(target, video, folders[video.id], incoming, overwrite=job.overwrite) for video in videos
        )
        counts = {"videos": len(videos), "expressions": sum(len(video.expressions) for video in videos)}
        write_record(target, str(origin), counts, missing, incoming)
        _report(target, incoming, missing, done, len(videos))


def _sound(video: Video) -> Video:
    if video.defect:
        raise ValueError(video.defect)
    return video


def _report(target: Import, incoming: Incoming, missing: Sequence[str], done: int, n_videos: int) -> None:
    log.info("%s: %d of %d videos imported, the others were there already", target.root, done, n_videos)
    for note in incoming.notes:
        log.warning("%s", note)
    for what, lines in (("missing: they count as empty", missing), ("of no use here", incoming.surplus)):
        if lines:
            log.warning("%d predictions are %s; first: %s; all: %s", len(lines), what, lines[0], RECORD)
    flags = f"--config config.yaml --config {target.overlay} --dataset {target.dataset} --split {target.split}"
    log.info("go on with:\n%s", "\n".join(f"  python -m stages.{s} {flags}" for s in STAGES_AFTER))


def main(argv: Sequence[str] | None = None) -> int:
    parser = split_parser(__doc__)
    parser.add_argument("--from", required=True, type=Path, dest="origin", metavar="PATH", help="what to import")
    parser.add_argument("--name", help="of the import, a folder (default: the name of PATH without its suffix)")
    parser.add_argument("--overwrite", action="store_true", help="import again what is there already")
    parser.add_argument(
        "--threshold", type=_share, metavar="SHARE", help="of white, 0 to 1: grey from there on is object"
    )
    return execute(parser, argv, lambda a: run(parse_job(a), a.origin, a.name, a.threshold))


def _share(text: str) -> float:
    try:
        share = float(text)
    except ValueError:
        share = 0.0
    if not 0 < share <= 1:
        raise argparse.ArgumentTypeError(f"needs a number above 0, at most 1; got {text!r}")
    return share


if __name__ == "__main__":
    raise SystemExit(main())
