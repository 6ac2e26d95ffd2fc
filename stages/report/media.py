"""What a page shows of a video: the video itself, and one picture per expression."""

import io
from collections.abc import Sequence
from itertools import pairwise
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from stages.core.media import masks
from stages.core.media.drawing import COLOURS, WHITE, outline, resize_mask, resize_picture, tint, viewing_size
from stages.core.media.video_writer import times_at, write_h264
from stages.core.records import Rle
from stages.core.state.frames import FrameFolder

CRF, FPS = 28, 10.0
THUMB, QUALITY = 240, 72  # longest side of a picture, in pixels, and its quality
LINES = 1 / 120  # width of an outline on it, as a share of that side: tables show it at less than half its size
Image3 = NDArray[np.uint8]


def times_of(frames: FrameFolder) -> list[float]:
    """Seconds of every frame from the first."""
    times = frames.timestamps or times_at(FPS, len(frames))
    return [round(time - times[0], 6) for time in times]


def end_of(frames: FrameFolder) -> float:
    """When the last frame ends, in seconds from the first."""
    times = times_of(frames)
    last = next((b - a for a, b in pairwise(times[-2:])), 1 / FPS)
    start = (frames.timestamps or (0.0,))[0]
    return round(max(frames.end - start if frames.end else 0.0, times[-1] + last), 6)


def write_video(path: Path, frames: FrameFolder, images: Sequence[Image3]) -> None:
    """The frames as a small video without sound; masks are drawn over it by the page."""
    path.parent.mkdir(parents=True, exist_ok=True)
    write_h264(path, images, times_of(frames), crf=CRF, end=end_of(frames))


def write_thumb(path: Path, image_HW3: Image3, pred: Rle | None, truth: Rle | None) -> None:
    """A frame with the answer tinted and the truth outlined in white, as a small JPEG."""
    size = viewing_size(image_HW3.shape[:2], THUMB)  # drawn on at the size of the page, so that lines stay lines
    drawn, line = resize_picture(image_HW3, size), max(1, round(max(size) * LINES))
    pred_HW, truth_HW = (None if rle is None else resize_mask(masks.decode(rle), size) for rle in (pred, truth))
    if pred_HW is not None:
        drawn = outline(tint(drawn, pred_HW, COLOURS[0], 0.4), pred_HW, COLOURS[0], line)
    if truth_HW is not None:
        drawn = outline(drawn, truth_HW, WHITE, line)
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(jpeg(Image.fromarray(drawn)))


def jpeg(picture: Image.Image) -> bytes:
    content = io.BytesIO()
    picture.save(content, "JPEG", quality=QUALITY, optimize=True)
    return content.getvalue()
