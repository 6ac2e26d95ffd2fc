"""A small animation of the overlay, for pages and chats."""

from collections.abc import Iterator
from contextlib import contextmanager
from fractions import Fraction
from pathlib import Path
from typing import Any

import av
import numpy as np
from PIL import Image

from stages.delivery.format import Format, Order, Take
from stages.delivery.formats.overlay import marked
from stages.delivery.shots import Image3, Shot

LONGEST = 480  # pixels of a side
FPS = 10  # at most: a GIF's times are hundredths of a second, and players slow down what is faster than 50 fps
HUNDREDTH = Fraction(1, 100)


@contextmanager
def write_gif(path: Path, order: Order) -> Iterator[Take]:
    """A GIF that repeats for ever, a palette of 256 colours per frame."""
    base = order.segmented.source.time_base
    with av.open(f"file:{path}", "w", format="gif", options={"fflags": "bitexact"}) as container:
        stream = container.add_stream("gif", options={"gifflags": "-offsetting"})
        shown = -1

        def take(shot: Shot) -> None:
            nonlocal shown
            tick = int(shot.start * base * FPS + Fraction(1, 2))
            if tick == shown:
                return
            image_HW3 = marked(shot, order, LONGEST)
            if shown < 0:
                codec = stream.codec_context
                codec.width, codec.height, codec.pix_fmt = image_HW3.shape[1], image_HW3.shape[0], "pal8"
                codec.time_base, codec.framerate, codec.thread_count = HUNDREDTH, Fraction(FPS), 1
            frame = with_palette(image_HW3)
            frame.pts, frame.time_base, shown = tick * 100 // FPS, HUNDREDTH, tick
            container.mux(stream.encode(frame))

        yield take
        container.mux(stream.encode(None))


def with_palette(image_HW3: Image3) -> av.VideoFrame:
    """A frame in its 256 most telling colours, found in every third row and column: in all it would take a second."""
    sample = Image.fromarray(np.ascontiguousarray(image_HW3[::3, ::3])).quantize(256, Image.Quantize.MEDIANCUT)
    image = Image.fromarray(image_HW3).quantize(palette=sample, dither=Image.Dither.FLOYDSTEINBERG)
    palette_N3 = np.asarray(image.getpalette() or [], np.uint8).reshape(-1, 3)
    palette_N4 = np.zeros((256, 4), np.uint8)
    palette_N4[:, 0] = 255  # opaque
    palette_N4[: len(palette_N3), 1:] = palette_N3
    picture: Any = (np.asarray(image), palette_N4)
    return av.VideoFrame.from_ndarray(picture, format="pal8")


GIF = Format("gif", "small animation (browsers, chats)", ".gif", write_gif, version=2)
