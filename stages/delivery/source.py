"""A video file or a folder of pictures as the source of outputs: when each frame is shown, and the frames themselves.

Legend: H height, W width, 3 RGB.
"""

from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from stages.core.media.display import Account
from stages.core.media.frame_times import FINE, frame_times
from stages.core.media.pictures import show_picture
from stages.core.media.video import decode
from stages.delivery.segmented import Source

Image3 = NDArray[np.uint8]


def open_source(path: Path, pictures: Sequence[Path] = (), fps: float = 24.0) -> Source:
    """What is known of a video before its frames are read.

    Args:
        path: the video file, or the folder of the pictures.
        pictures: the frames' files in order, where `path` is a folder.
        fps: frames per second of pictures, which carry no times.

    Raises:
        ValueError: it cannot be read (the words of `stages.core.media.video.decode`).
    """
    if pictures:
        size = show_picture(pictures[0], upright=True).shape[:2]
        ticks = tuple(round(index / fps / FINE) for index in range(len(pictures) + 1))
        return Source(path, tuple(pictures), (size[0], size[1]), ticks[:-1], ticks[-1], FINE)
    account = Account()
    first_HW3 = next(decode(path, account=account, max_frames=1)).image_HW3
    times = frame_times(path)
    return Source(path, (), (first_HW3.shape[0], first_HW3.shape[1]), times.ticks, times.end, times.base, account.start)


def read_frames(source: Source, span: range) -> Iterator[tuple[int, Image3]]:
    """(index, (H, W, 3) RGB uint8) of the frames in `span`, in order, one at a time.

    Raises:
        ValueError: a frame cannot be read, has another size, or the file has other frames than it had.
    """
    if source.pictures:
        for index in span:
            yield index, _of_size(source, show_picture(source.pictures[index], upright=True), index)
        return
    for index, frame in enumerate(decode(source.path, max_frames=span.stop)):
        if index >= span.start:
            yield index, _of_size(source, frame.image_HW3, index)
    if index + 1 < span.stop:
        raise ValueError(
            f"{source.path}: {index + 1} frames can be read, {span.stop} were there before; run this again"
        )


def _of_size(source: Source, image_HW3: Image3, index: int) -> Image3:
    if image_HW3.shape[:2] != source.size:
        height, width = image_HW3.shape[:2]
        raise ValueError(
            f"{source.path}: frame {index} is {width}x{height}, the first {source.size[1]}x{source.size[0]}; "
            "make all frames of one size"
        )
    return image_HW3
