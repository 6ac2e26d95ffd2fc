"""Draws a strip of pictures: a row per expression, frames from left to right, the answer tinted.

    referee draw-strip --dataset shapes --split valid_u --show valid_u_0003/0 --show valid_u_0005/2

Reads:  decisions, the tracks they chose, frames, and ground truth where there is any (outlined in white).
Writes: --out, a JPEG or PNG, for a paper, a page or a pull request. Without --show: the first expression
        that has an answer, of the first videos that have one; with --random SEED some expression of some videos,
        right or wrong, so that nobody chose them: of those that have a target or an answer.

Legend: T frames, H height, W width, 3 RGB.
"""

import logging
from collections.abc import Iterator, Sequence
from difflib import get_close_matches
from itertools import islice
from pathlib import Path
from random import Random
from typing import TYPE_CHECKING

from stages.core.config.places import check_output
from stages.core.records import Expression, Split, Video
from stages.core.run.cli import Job, at_least, execute, parse_job, split_parser
from stages.core.state.cache import atomic_path
from stages.core.state.marks import refuse_output
from stages.datasets import open_split

if TYPE_CHECKING:
    from stages.core.media.drawing import Image3

GAP = 4  # pixels between frames and between rows
ROWS = 4  # if --show names none
QUALITY = 90

log = logging.getLogger(__name__)

Row = tuple[Video, Expression]


def run(job: Job, shown: Sequence[str], seed: int | None, columns: int, side: int, out: Path) -> None:
    """Writes `out`.

    Raises:
        ValueError: --show names no expression of the split, nothing is decided yet, or `out` is not a picture.
    """
    import numpy as np
    from PIL import Image

    if out.suffix.lower() not in (".jpg", ".jpeg", ".png"):
        raise ValueError(f"{out}: give a name that ends in .jpg or .png")
    check_output(job.config, out)
    refuse_output(out)
    split = open_split(job.config, job.dataset, job.split)
    if shown:
        rows = [_named(split, name) for name in shown]
    else:
        rows = list(islice(_answered(job, split), ROWS)) if seed is None else _drawn(job, split, seed)
    if not rows:
        raise ValueError(
            f"no expression of {job.dataset}/{job.split} has an answer; name some with --show VIDEO/EXPRESSION"
        )
    drawn = [draw_row(job, split, *row, columns, side) for row in rows]
    width = max(image_HW3.shape[1] for image_HW3 in drawn)
    padded = [np.pad(i, ((0, GAP), (0, width - i.shape[1]), (0, 0)), constant_values=255) for i in drawn]
    with atomic_path(out) as temporary:
        kind = "PNG" if out.suffix.lower() == ".png" else "JPEG"
        Image.fromarray(np.concatenate(padded)[:-GAP]).save(temporary, kind, quality=QUALITY)
    log.info("%s: %d rows of %d frames", out, len(rows), columns)


def draw_row(job: Job, split: Split, video: Video, expression: Expression, columns: int, side: int) -> "Image3":
    """`columns` frames of the video, evenly spaced, with the answer; the sentence below: (H, W, 3)."""
    import numpy as np

    from stages.core.media import masks
    from stages.core.media.captions import add_caption
    from stages.core.media.drawing import WHITE, draw_answer, outline
    from stages.core.state.choices import predicted_masks, read_answers
    from stages.core.state.frames import open_frames
    from stages.core.state.graph import RERANK_TRACKS

    frames = open_frames(job.layout, video.id)
    chosen = read_answers(job.layout.file(RERANK_TRACKS, video.id), video)[expression.id]
    rles_T = predicted_masks(job.layout, video.id, chosen or (), frames.size, len(frames))
    truth = split.annotations(video) if split.has_truth else {}
    pictures: list[Image3] = []
    for t in np.linspace(0, len(frames) - 1, columns).round().astype(int):
        image_HW3 = frames.load(t)
        referred = [rle for key in expression.annotations or () if (rle := truth[key][t]) is not None]
        if referred:
            image_HW3 = outline(image_HW3, masks.decode(masks.union(referred, frames.size)), WHITE, 1)
        picture_HW3 = draw_answer(image_HW3, rles_T[t], side, job.settings.render.opacity)
        pictures.append(np.pad(picture_HW3, ((0, 0), (0, GAP), (0, 0)), constant_values=255))
    return add_caption(np.concatenate(pictures, 1)[:, :-GAP], expression.raw, job.settings.render.font)


def _named(split: Split, name: str) -> Row:
    """ "VIDEO/EXPRESSION" → both; ids of videos may hold slashes."""
    video_id, _, expression_id = name.rpartition("/")
    for video in split.videos():
        if video.id == video_id:
            for expression in video.expressions:
                if expression.id == expression_id:
                    return video, expression
            known = ", ".join(expression.id for expression in video.expressions)
            raise ValueError(f"--show {name}: video {video_id!r} has no expression {expression_id!r}; it has {known}")
    close = get_close_matches(video_id, [video.id for video in split.videos()], 1)
    hint = f"did you mean {close[0]!r}?" if close else "give VIDEO/EXPRESSION"
    raise ValueError(f"--show {name}: no video {video_id!r} in this split; {hint}")


def _answered(job: Job, split: Split) -> Iterator[Row]:
    """The first expression of each video for which a track was chosen."""
    from stages.core.state.choices import read_answers
    from stages.core.state.graph import RERANK_TRACKS

    for video in split.videos()[: job.limit]:
        answers = read_answers(job.layout.file(RERANK_TRACKS, video.id), video)
        for expression in video.expressions:
            if any(candidate.chosen for candidate in answers[expression.id] or ()):
                yield video, expression
                break


def _drawn(job: Job, split: Split, seed: int) -> list[Row]:
    """An expression each of some videos; the same ones for the same seed, split and answers."""
    from stages.core.state.choices import read_answers
    from stages.core.state.graph import RERANK_TRACKS

    rng, rows = Random(seed), list[Row]()
    for video in rng.sample(videos := split.videos()[: job.limit], len(videos)):
        answers = read_answers(job.layout.file(RERANK_TRACKS, video.id), video)
        shown = [e for e in video.expressions if e.annotations or any(c.chosen for c in answers[e.id] or ())]
        rows += [(video, rng.choice(shown))] if shown and len(rows) < ROWS else []
    return rows


def main(argv: Sequence[str] | None = None) -> int:
    parser = split_parser(__doc__)
    add = parser.add_argument
    add("--show", action="append", default=[], metavar="VIDEO/EXPRESSION", help="a row; repeatable")
    add("--random", type=int, metavar="SEED", help="rows that are drawn at random, equal for equal seeds")
    add("--columns", type=at_least(1), default=6, metavar="N", help="frames per row (default: 6)")
    add("--side", type=at_least(1), default=192, metavar="N", help="longest side of a frame, pixels (default: 192)")
    add("--out", type=Path, default=Path("strip.jpg"), metavar="FILE", help="default: strip.jpg")
    return execute(parser, argv, lambda a: run(parse_job(a), a.show, a.random, a.columns, a.side, a.out))


if __name__ == "__main__":
    raise SystemExit(main())
