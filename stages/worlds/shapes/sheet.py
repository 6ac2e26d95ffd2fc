"""Draws a picture sheet of the embedded data set: a row per video, with its sentences and what they refer to.

    referee draw-sheet --out sheet.png

Legend: T frames, H height, W width.
"""

from collections.abc import Sequence
from pathlib import Path

import numpy as np
from PIL import Image, ImageDraw

from stages.core.run.cli import at_least, build_parser, execute
from stages.core.state.cache import atomic_path
from stages.core.state.marks import refuse_output
from stages.worlds.shapes.clip import draw_clip
from stages.worlds.shapes.grammar import Sentence
from stages.worlds.shapes.outlines import Bool
from stages.worlds.shapes.write import make_scene, stream

GAP, LINE = 3, 13  # pixels between pictures; of a line of text
TINTS = ((255, 80, 80), (80, 220, 90), (90, 150, 255), (250, 210, 60), (240, 100, 240), (80, 230, 230), (255, 160, 70))


def run(split: str, numbers: Sequence[int], seed: int, out: Path) -> None:
    """Draws the videos of these numbers into `out`."""
    if out.suffix.lower() != ".png":
        raise ValueError(f"{out}: give a name that ends in .png")
    refuse_output(out)
    with atomic_path(out) as temporary:
        draw_sheet([f"{split}_{n:04d}" for n in numbers], seed).save(temporary, "PNG")
    print(out)


def draw_sheet(videos: Sequence[str], seed: int = 0, n_columns: int = 8) -> Image.Image:
    """Rows of frames, evenly chosen, with outlines in the colour of the first sentence that refers to the object."""
    rows = [_row(video, seed, n_columns) for video in videos]
    sheet = Image.new("RGB", (max(row.width for row in rows), sum(row.height + GAP for row in rows)))
    y = 0
    for row in rows:
        sheet.paste(row, (0, y))
        y += row.height + GAP
    return sheet


def _row(video: str, seed: int, n_columns: int) -> Image.Image:
    scene, sentences = make_scene(seed, video)
    clip = draw_clip(stream(seed, f"{video}/pixels"), scene)
    frames_THW3 = clip.frames_THW3.copy()
    tints = _tints(sentences)
    for masks_THW, tint in zip(clip.masks_NTHW, (tints.get(i) for i in range(len(scene.things)))):
        if tint is not None:
            frames_THW3[_outlines(masks_THW)] = TINTS[tint % len(TINTS)]
    height, width = scene.size
    row = Image.new("RGB", (n_columns * (width + GAP), height + LINE * (len(sentences) + 1)), (24, 24, 24))
    for column, t in enumerate(np.linspace(0, scene.n_frames - 1, n_columns).round().astype(int)):
        row.paste(Image.fromarray(frames_THW3[t]), (column * (width + GAP), 0))
    pen = ImageDraw.Draw(row)
    pen.text((2, height), f"{video}, {scene.n_frames} frames", (160, 160, 160))
    for i, sentence in enumerate(sentences):
        who = ", ".join(f"{scene.things[j].colour} {scene.things[j].shape}" for j in sentence.referred) or "nothing"
        text = f"{sentence.text}   [{sentence.kind}: {who}]"
        pen.text((2, height + LINE * (i + 1)), text, TINTS[i % len(TINTS)] if sentence.referred else (130, 130, 130))
    return row


def _tints(sentences: Sequence[Sentence]) -> dict[int, int]:
    """Object → the first sentence that refers to it; sentences about one object come first."""
    tints: dict[int, int] = {}
    for i, sentence in sorted(enumerate(sentences), key=lambda pair: len(pair[1].referred)):
        for j in sentence.referred:
            tints.setdefault(j, i)
    return tints


def _outlines(masks_THW: Bool) -> Bool:
    """Pixels of the masks that touch a pixel outside."""
    padded_THW = np.pad(masks_THW, ((0, 0), (1, 1), (1, 1)))
    inner_THW = masks_THW.copy()
    for dy, dx in ((0, 1), (2, 1), (1, 0), (1, 2)):
        inner_THW &= padded_THW[:, dy : dy + masks_THW.shape[1], dx : dx + masks_THW.shape[2]]
    return masks_THW & ~inner_THW


def main(argv: Sequence[str] | None = None) -> int:
    parser = build_parser(__doc__)
    add = parser.add_argument
    add("--out", type=Path, default=Path("sheet.png"), metavar="FILE", help="PNG to write (default: sheet.png)")
    add("--split", default="valid_u", help="split to draw (default: valid_u)")
    add("--first", type=at_least(0), default=0, metavar="N", help="number of the first video (default: 0)")
    add("--videos", type=at_least(1), default=6, metavar="N", help="number of videos, one row each (default: 6)")
    add("--seed", type=int, default=0, help="seed of the data set (default: 0)")
    return execute(parser, argv, lambda a: run(a.split, range(a.first, a.first + a.videos), a.seed, a.out))


if __name__ == "__main__":
    raise SystemExit(main())
