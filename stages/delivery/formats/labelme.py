"""Pictures with a labelme file each, whose masks labelme 5.3 and newer opens and edits."""

import base64
import io
import json
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from stages.core.media import masks
from stages.delivery.format import Format, Order, Take
from stages.delivery.pictures import save_jpeg
from stages.delivery.shots import Bool, Shot
from stages.delivery.tracks import Track, tracks_of

VERSION = "5.5.0"  # of the layout, as labelme writes it


@contextmanager
def write_labelme(folder: Path, order: Order) -> Iterator[Take]:
    """<folder>/<frame>.jpg and <frame>.json: a shape of type "mask" per visible object, its label the sentence."""
    tracks = tracks_of(order.sentences)

    def take(shot: Shot) -> None:
        if not shot.processed:
            return
        name = order.segmented.source.names[shot.index]
        height, width = order.segmented.source.size
        shapes = [shape(track, shot.mask(track.found)) for track in tracks if shot.mask(track.found).any()]
        document: dict[str, Any] = {
            "version": VERSION,
            "flags": {},
            "shapes": shapes,
            "imagePath": f"{name}.jpg",
            "imageData": None,
        }
        document |= {"imageHeight": height, "imageWidth": width}
        text = json.dumps(document, ensure_ascii=False, allow_nan=False, indent=2)
        (folder / f"{name}.json").write_text(f"{text}\n", encoding="utf-8")
        save_jpeg(Image.fromarray(shot.image_HW3), folder / f"{name}.jpg")

    yield take


def shape(track: Track, mask_HW: Bool) -> dict[str, Any]:
    """A mask as labelme stores it: the corners of its box, both inside, and a PNG of the box, 1 where the object is."""
    x0, y0, x1, y1 = (int(value) for value in masks.boxes([masks.encode(mask_HW)])[0])
    png = io.BytesIO()
    Image.fromarray(mask_HW[y0:y1, x0:x1].astype(np.uint8)).save(png, "PNG")
    return {
        "label": track.sentence.text,
        "points": [[x0, y0], [x1 - 1, y1 - 1]],
        "group_id": track.number,
        "description": f"{track.found.name}, score {track.found.score:.4f}",
        "shape_type": "mask",
        "flags": {},
        "mask": base64.b64encode(png.getvalue()).decode(),
    }


LABELME = Format("labelme", "pictures and masks, labelme 5.3+", ".labelme", write_labelme, folder=True, together=True)
