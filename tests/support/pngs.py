"""Folders of mask PNGs, as another system would leave them."""

from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from stages.core.records import Expression, Video
from stages.exchange.png import Runs

# (video, expression, frame index) → (H, W): bool, or grey values of 8 or 16 bits
Picture = Callable[[Video, Expression, int], NDArray[np.generic]]


def write_pngs(folder: Path, videos: Sequence[Video], picture: Picture, top: str = "") -> Path:
    """<folder>/[<top>/]<video>/<expression>/<frame>.png; bool masks become 0 and 255."""
    for video in videos:
        for expression in video.expressions:
            place = folder / top / video.id / expression.id
            place.mkdir(parents=True, exist_ok=True)
            for index, name in enumerate(video.frames):
                pixels_HW = picture(video, expression, index)
                if pixels_HW.dtype == bool:
                    pixels_HW = np.where(pixels_HW, np.uint8(255), np.uint8(0))
                Image.fromarray(pixels_HW).save(place / f"{name}.png")
    return folder


def runs_of(image_HW: NDArray[np.uint8]) -> Runs:
    """An image's runs, column by column."""
    flat = image_HW.ravel(order="F")
    ends_R = np.append(np.flatnonzero(flat[1:] != flat[:-1]) + 1, flat.size)
    return Runs(flat[ends_R - 1], ends_R, (image_HW.shape[0], image_HW.shape[1]))


def pixels_of(runs: Runs) -> NDArray[np.uint8]:
    """(H, W) of an image's runs."""
    return np.repeat(runs.values_R, np.diff(runs.ends_R, prepend=0)).reshape(runs.size, order="F")
