"""The object alone as pictures with transparency, for compositing."""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from PIL import Image

from stages.delivery.format import Format, Order, Take
from stages.delivery.formats.transparent import cut_out
from stages.delivery.pictures import save_png
from stages.delivery.shots import Shot


@contextmanager
def write_rgba(folder: Path, order: Order) -> Iterator[Take]:
    """<folder>/<frame>.png per processed frame, RGBA: what is transparent holds no colour."""

    def take(shot: Shot) -> None:
        if shot.processed:
            picture = Image.fromarray(cut_out(shot.image_HW3, shot.union(order.sentence), 0))
            save_png(picture, folder / f"{order.segmented.source.names[shot.index]}.png")

    yield take


RGBA = Format("rgba", "the object as PNGs with transparency (Photoshop, GIMP, Nuke)", ".rgba", write_rgba, folder=True)
