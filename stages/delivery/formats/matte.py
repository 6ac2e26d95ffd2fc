"""A black and white video of what a sentence refers to: a track matte for editors."""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np

from stages.core.media.video_writer import H264, VideoWriter
from stages.delivery.clip import rate_of
from stages.delivery.format import Format, Order, Take
from stages.delivery.shots import Shot

CRF = 1  # nearly lossless, and still a profile that every player decodes


@contextmanager
def write_matte(path: Path, order: Order) -> Iterator[Take]:
    """H.264 in MP4 at the source's size and times: white where the object is."""
    with VideoWriter(path, H264, order.segmented.source.time_base, crf=CRF, rate=rate_of(order.segmented)) as video:

        def take(shot: Shot) -> None:
            grey_HW = shot.union(order.sentence).view(np.uint8) * np.uint8(255)
            video.write(np.repeat(grey_HW[..., None], 3, axis=2), shot.start, shot.end)

        yield take


MATTE = Format("matte", "white object on black video (any editor)", ".matte.mp4", write_matte, pixels=False)
