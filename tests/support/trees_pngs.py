"""Images for small trees in the layouts of the published data sets."""

from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image

SIZE = (12, 16)  # height, width

# The palette of DAVIS and YouTube-VOS: in gray, index 2 is 75.
PALETTE = [0, 0, 0, 128, 0, 0, 0, 128, 0, 128, 128, 0, 0, 0, 128]


def write_frames(folder: Path, names: list[str], size: tuple[int, int] = SIZE) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    for name in names:
        Image.new("RGB", (size[1], size[0]), (90, 120, 60)).save(folder / f"{name}.jpg")


def write_labels(path: Path, labels_HW: NDArray[np.uint8]) -> None:
    """A label image as the data sets ship it: mode P, palette indices."""
    path.parent.mkdir(parents=True, exist_ok=True)
    image = Image.fromarray(labels_HW, "L").copy()
    image.putpalette(PALETTE + [255, 255, 255] * (256 - len(PALETTE) // 3))
    assert image.mode == "P"
    image.save(path)


def labels(*boxes: tuple[int, slice, slice], size: tuple[int, int] = SIZE) -> NDArray[np.uint8]:
    """An (H, W) label map: (label, rows, columns), later ones over earlier ones."""
    labels_HW = np.zeros(size, np.uint8)
    for label, rows, columns in boxes:
        labels_HW[rows, columns] = label
    return labels_HW
