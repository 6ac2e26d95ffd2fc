"""Label PNGs: one image per frame, each pixel the number of its object. Read frame by frame, kept as RLE.

Labels are the indices of the palette, never colours: `cv2` gray turns index 2 into 75, and `convert("P")` of
an RGB image makes up a palette of its own.

Legend: H height, W width, T frames.
"""

import io
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from stages.core.media import masks
from stages.core.records import Rle
from stages.core.text_files import read_content


def read_labels(path: Path) -> NDArray[np.uint8]:
    """The labels of an image in mode P (palette indices), L or 1, as (H, W) uint8.

    Raises:
        ValueError: the file is missing, cannot be decoded to its end, or is of a mode that holds no labels.
    """
    from stages.core.media.pictures import BROKEN, why_unreadable  # late: `--help` need not wait for PyAV

    content = read_content(path, "label image")
    try:
        with Image.open(io.BytesIO(content)) as image:
            image.load()
            if image.mode not in ("P", "L", "1"):
                raise ValueError(f"is of mode {image.mode}; labels are palette indices (mode P) or gray (mode L)")
            return np.asarray(image).astype(np.uint8)
    except BROKEN as error:
        reason = why_unreadable(len(content), error)
        raise ValueError(f"{path}: label image is not readable ({reason}); restore it") from error


def label_masks(files: Sequence[Path]) -> dict[int, list[Rle | None]]:
    """Label → T RLEs, None in the frames without it; labels in ascending order, 0 (background) left out.

    Args:
        files: one image per frame.

    Raises:
        ValueError: an image is missing or damaged, or differs in size from the first.
    """
    by_label: dict[int, list[Rle | None]] = {}
    size: tuple[int, ...] | None = None
    for t, file in enumerate(files):
        labels_HW = read_labels(file)
        size = size or labels_HW.shape
        if labels_HW.shape != size:
            raise ValueError(f"{file}: is of size {labels_HW.shape} (height, width), {files[0]} of {size}; restore it")
        for label in np.flatnonzero(np.bincount(labels_HW.ravel(), minlength=1)).tolist():
            if label:
                by_label.setdefault(label, [None] * len(files))[t] = masks.encode(labels_HW == label)
    return dict(sorted(by_label.items()))
