"""COCO annotations of a video: images, videos, tracks, masks as RLE."""

import json
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from stages.core.media import masks
from stages.delivery.format import Format, Order, Take
from stages.delivery.shots import Shot
from stages.delivery.tracks import Track, tracks_of


@contextmanager
def write_coco(path: Path, order: Order) -> Iterator[Take]:
    """A JSON file: an image per processed frame, an annotation per visible object in it, a category per sentence.

    Beside COCO's own keys are those of its extensions to video: `videos`; `video_id`, `frame_id` (its place among the
    images, from 0), `frame` (its index in the source) and `seconds` of images; `tracks`; `track_id` and
    `instance_id` of annotations. `score` is the object's.
    """
    source, tracks = order.segmented.source, tracks_of(order.sentences)
    height, width = source.size
    images: list[Any] = []
    annotations: list[Any] = []

    def take(shot: Shot) -> None:
        if not shot.processed:
            return
        name = f"{source.names[shot.index]}.jpg"
        image: dict[str, Any] = {"id": len(images) + 1, "file_name": name, "width": width, "height": height}
        image |= {"video_id": 1, "frame_id": len(images), "frame": shot.index, "seconds": source.seconds(shot.index)}
        images.append(image)
        annotations.extend(_annotations(shot, tracks, image["id"], len(annotations) + 1))

    yield take
    document = {
        "info": {"description": "Masks that Referee found for the sentences in `categories`"},
        "licenses": [],
        "videos": [{"id": 1, "name": source.path.name, "width": width, "height": height, "length": len(images)}],
        "categories": [
            {"id": number, "name": sentence.text, "supercategory": "sentence"}
            for number, sentence in enumerate(order.sentences, 1)
        ],
        "tracks": [
            {"id": t.number, "video_id": 1, "category_id": t.category, "name": t.found.name, "score": t.found.score}
            for t in tracks
        ],
        "images": images,
        "annotations": annotations,
    }
    path.write_text(json.dumps(document, ensure_ascii=False, allow_nan=False) + "\n", encoding="utf-8")


def _annotations(shot: Shot, tracks: list[Track], image: int, first: int) -> Iterator[dict[str, Any]]:
    number = first
    for track in tracks:
        rle = masks.encode(shot.mask(track.found))
        area = int(masks.area([rle])[0])
        if area:
            x0, y0, x1, y1 = (int(value) for value in masks.boxes([rle])[0])
            yield {
                "id": number,
                "image_id": image,
                "video_id": 1,
                "category_id": track.category,
                "track_id": track.number,
                "instance_id": track.number,
                "segmentation": {"size": list(rle["size"]), "counts": rle["counts"]},
                "area": area,
                "bbox": [x0, y0, x1 - x0, y1 - y0],
                "iscrowd": 0,
                "score": track.found.score,
            }
            number += 1


COCO = Format(
    "coco",
    "annotations, COCO (pycocotools, FiftyOne, Detectron2)",
    ".coco.json",
    write_coco,
    together=True,
    pixels=False,
)
