"""A data set for training YOLO models: pictures, and polygons as text."""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import yaml
from PIL import Image

from stages.delivery.format import Format, Order, Take
from stages.delivery.pictures import save_jpeg
from stages.delivery.shots import Shot
from stages.delivery.tracks import tracks_of


@contextmanager
def write_yolo(folder: Path, order: Order) -> Iterator[Take]:
    """<folder>/data.yaml, images/<frame>.jpg and labels/<frame>.txt: a polygon per part of each object; a class per sentence.

    The polygons are whole contours; each hole is joined to its outer contour, since the format has none.
    """
    import supervision as sv  # late: it takes a second
    from supervision.dataset.formats.yolo import detections_to_yolo_annotations

    tracks = tracks_of(order.sentences)
    (folder / "data.yaml").write_text(yaml.safe_dump(described(order), sort_keys=False, allow_unicode=True), "utf-8")
    for name in ("images", "labels"):
        (folder / name).mkdir()

    def take(shot: Shot) -> None:
        if not shot.processed:
            return
        name, lines = order.segmented.source.names[shot.index], []
        visible = [track for track in tracks if shot.mask(track.found).any()]
        if visible:
            masks_NHW = np.stack([shot.mask(track.found) for track in visible])
            boxes_N4 = sv.mask_to_xyxy(masks_NHW).astype(np.float32)
            classes_N = np.asarray([track.category - 1 for track in visible])
            found = sv.Detections(xyxy=boxes_N4, mask=masks_NHW, class_id=classes_N)
            lines = detections_to_yolo_annotations(found, shot.image_HW3.shape, approximation_percentage=0.0)
        (folder / "labels" / f"{name}.txt").write_text("".join(f"{line}\n" for line in lines), encoding="utf-8")
        save_jpeg(Image.fromarray(shot.image_HW3), folder / "images" / f"{name}.jpg")

    yield take


def described(order: Order) -> dict[str, Any]:
    """What data.yaml says. Ultralytics wants pictures to train on and to validate on, beside the file: here, the same."""
    names = [sentence.text for sentence in order.sentences]
    return {"train": "images", "val": "images", "nc": len(names), "names": names}


YOLO = Format(
    "yolo", "pictures and polygons, YOLO-seg (Ultralytics)", ".yolo", write_yolo, folder=True, together=True, version=2
)
