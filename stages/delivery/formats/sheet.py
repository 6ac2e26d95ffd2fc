"""A contact sheet: a sentence's answer at a glance."""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np
from PIL import Image

from stages.core.media.captions import add_caption, add_heading
from stages.delivery.format import Format, Order, Take
from stages.delivery.formats.overlay import marked
from stages.delivery.pictures import save_jpeg
from stages.delivery.shots import Image3, Shot

TILES = 12
COLUMNS = 4
TILE_SIDE = 480  # pixels of a tile's longest side at most
GAP = 4  # pixels
GROUND = 24  # grey of the sheet


@contextmanager
def write_sheet(path: Path, order: Order) -> Iterator[Take]:
    """A JPEG of up to 12 frames, evenly spread over the span, each below its time, and the sentence below them all."""
    span = order.segmented.span
    chosen = {span[round(place)] for place in np.linspace(0, len(span) - 1, min(TILES, len(span)))}
    tiles: list[Image3] = []

    def take(shot: Shot) -> None:
        if shot.index in chosen:
            time = order.segmented.source.seconds(shot.index)
            tiles.append(add_heading(marked(shot, order, TILE_SIDE, words=False), clock(time)))

    yield take
    sentence = order.sentence
    words = f"{sentence.text}: nothing ({sentence.note})" if sentence.note else sentence.text
    sheet_HW3 = add_caption(arranged(tiles), words, order.render.font)
    save_jpeg(Image.fromarray(sheet_HW3), path)


def arranged(tiles: list[Image3]) -> Image3:
    """Tiles of one size in rows of four."""
    height, width = tiles[0].shape[:2]
    columns = min(COLUMNS, len(tiles))
    rows = -(-len(tiles) // columns)
    sheet_HW3 = np.full((rows * (height + GAP) + GAP, columns * (width + GAP) + GAP, 3), GROUND, np.uint8)
    for number, tile_HW3 in enumerate(tiles):
        y, x = (GAP + place * (side + GAP) for place, side in zip(divmod(number, columns), (height, width)))
        sheet_HW3[y : y + height, x : x + width] = tile_HW3
    return sheet_HW3


def clock(seconds: float) -> str:
    """Minutes, seconds and hundredths: 1:02.50."""
    hundredths = round(seconds * 100)
    return f"{hundredths // 6000}:{hundredths // 100 % 60:02d}.{hundredths % 100:02d}"


SHEET = Format("sheet", "contact sheet, JPEG (any picture viewer)", ".sheet.jpg", write_sheet, version=2)
