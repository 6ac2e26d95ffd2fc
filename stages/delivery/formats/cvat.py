"""Masks in the format "CVAT for images 1.1", which CVAT imports into a task of the same video or pictures.

Source: https://docs.cvat.ai/docs/dataset_management/formats/format-cvat (XML: image, mask with rle, left, top, width,
height). Its run lengths go along rows of the mask's box, from the background on.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from xml.etree import ElementTree as xml

import numpy as np

from stages.core.media import masks
from stages.core.media.captions import printable
from stages.delivery.format import Format, Order, Take
from stages.delivery.segmented import Source
from stages.delivery.shots import Bool, Shot
from stages.delivery.tracks import tracks_of


@contextmanager
def write_cvat(path: Path, order: Order) -> Iterator[Take]:
    """An XML file: an image per processed frame, a mask per visible object, its label the sentence."""
    source, tracks = order.segmented.source, tracks_of(order.sentences)
    root = xml.Element("annotations")
    xml.SubElement(root, "version").text = "1.1"
    labels = xml.SubElement(xml.SubElement(xml.SubElement(root, "meta"), "task"), "labels")
    for sentence in order.sentences:
        label = xml.SubElement(labels, "label")
        xml.SubElement(label, "name").text = printable(sentence.text)
        xml.SubElement(label, "type").text = "mask"

    def take(shot: Shot) -> None:
        if not shot.processed:
            return
        image = xml.SubElement(root, "image", _image(source, shot.index))
        for order_z, track in enumerate(tracks):
            mask_HW = shot.mask(track.found)
            if mask_HW.any():
                facts = {"label": printable(track.sentence.text), "source": "auto", "occluded": "0"}
                xml.SubElement(image, "mask", facts | _mask(mask_HW) | {"z_order": str(order_z)})

    yield take
    xml.indent(root)
    xml.ElementTree(root).write(path, encoding="utf-8", xml_declaration=True)


def _image(source: Source, index: int) -> dict[str, str]:
    """Frames of a video file go by the names that CVAT gives them."""
    name = source.pictures[index].name if source.pictures else f"frame_{index:06d}"
    return {"id": str(index), "name": name, "width": str(source.size[1]), "height": str(source.size[0])}


def _mask(mask_HW: Bool) -> dict[str, str]:
    x0, y0, x1, y1 = (int(value) for value in masks.boxes([masks.encode(mask_HW)])[0])
    box = {"left": x0, "top": y0, "width": x1 - x0, "height": y1 - y0}
    runs = ", ".join(str(run) for run in row_runs(mask_HW[y0:y1, x0:x1]))
    return {"rle": runs, **{key: str(value) for key, value in box.items()}}


def row_runs(mask_HW: Bool) -> list[int]:
    """Lengths of the runs of background and object in turn along the rows, from the background on."""
    from stages.core.media.run_lengths import row_turns

    return [int(run) for run in np.diff([0, *row_turns(mask_HW), mask_HW.size])]


CVAT = Format(
    "cvat", "masks for a CVAT task, CVAT for images 1.1", ".cvat.xml", write_cvat, together=True, pixels=False
)
