"""What is where, by image tokens: a cell of 16 × 16 pixels each.

Legend: I images, H × W pixels, h × w cells, K = I · h · w cells, O objects.
"""

import numpy as np
from numpy.typing import NDArray

from stages.micro.mllm import MERGE, SEG

CELL = SEG.patch * MERGE
SHOWS, HARDLY = (
    0.2,
    0.03,
)  # share of a cell that an object covers, from which it is what the cell shows, and up to which not
UNCLEAR = -1


def shares_of(mask_IHW: NDArray[np.bool_]) -> NDArray[np.float32]:
    """(I, h, w) how much of each cell is covered."""
    i, height, width = mask_IHW.shape
    cut = mask_IHW.reshape(i, height // CELL, CELL, width // CELL, CELL)
    return cut.mean((2, 4), dtype=np.float32)


def shown_objects(labels_IHW: NDArray[np.uint8], count: int) -> NDArray[np.int64]:
    """(K,) 1 + index of the object that a cell shows most of; 0 = background, UNCLEAR = hardly one."""
    shares_OK = np.stack([shares_of(labels_IHW == o + 1).reshape(-1) for o in range(count)])
    best_K, most_K = shares_OK.argmax(0), shares_OK.max(0)
    return np.where(most_K >= SHOWS, best_K + 1, np.where(most_K <= HARDLY, 0, UNCLEAR))


def centres_of(mask_IHW: NDArray[np.bool_]) -> NDArray[np.float32]:
    """(I, 3) x and y of the centre and the square root of the area, in shares of the image; NaN where it is empty."""
    i, height, width = mask_IHW.shape
    area_I = mask_IHW.sum((1, 2))
    found = np.full((i, 3), np.nan, np.float32)
    for k in np.flatnonzero(area_I):
        y, x = np.nonzero(mask_IHW[k])
        found[k] = (x.mean() + 0.5) / width, (y.mean() + 0.5) / height, np.sqrt(area_I[k] / (height * width))
    return found


def middles_of(labels_IHW: NDArray[np.uint8], count: int) -> NDArray[np.float32]:
    """(I, O, 2) `middle_of` every object in every image; NaN where it cannot be seen."""
    middles = np.full((len(labels_IHW), count, 2), np.nan, np.float32)
    for own_O2, labels_HW in zip(middles, labels_IHW, strict=True):
        for label in np.unique(labels_HW[labels_HW > 0]):
            own_O2[label - 1] = middle_of(labels_HW == label)
    return middles


def middle_of(mask_HW: NDArray[np.bool_]) -> NDArray[np.float32]:
    """(2,) x and y, in shares of the image, of the mask's pixel that is nearest to its centre."""
    y, x = np.nonzero(mask_HW)
    nearest = int(((x - x.mean()) ** 2 + (y - y.mean()) ** 2).argmin())
    height, width = mask_HW.shape
    return np.array([(x[nearest] + 0.5) / width, (y[nearest] + 0.5) / height], np.float32)
