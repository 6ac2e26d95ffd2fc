"""Masks as pictures: 0 and 255, one PNG per processed frame, for each object and for all of a sentence."""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from PIL import Image

from stages.delivery.format import Format, Order, Take
from stages.delivery.names import slugs
from stages.delivery.pictures import save_png
from stages.delivery.shots import Shot

UNION = "union"


@contextmanager
def write_masks(folder: Path, order: Order) -> Iterator[Take]:
    """<folder>/union/<frame>.png and <folder>/<object>/<frame>.png, mode L, 0 = background, 255 = object."""
    objects = order.sentence.objects
    below = [UNION, *slugs([UNION, *(found.name for found in objects)])[1:]]
    for name in below:
        (folder / name).mkdir()

    def take(shot: Shot) -> None:
        if shot.processed:
            png = f"{order.segmented.source.names[shot.index]}.png"
            for name, mask_HW in zip(below, [shot.union(order.sentence), *map(shot.mask, objects)], strict=True):
                save_png(Image.fromarray(mask_HW.view("uint8") * 255), folder / name / png)

    yield take


MASKS = Format(
    "masks", "PNG masks per object and of all (any picture viewer)", ".masks", write_masks, folder=True, pixels=False
)
