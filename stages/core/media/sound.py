"""The sound of a video, for the overlays that are made from it.

Legend: C channels, N samples.
"""

import logging
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

import av
import numpy as np
from av.audio.resampler import AudioResampler
from numpy.typing import NDArray

from stages.core.media.container import check_complete

RATES = (8000, 11025, 12000, 16000, 22050, 24000, 32000, 44100, 48000)  # that every player takes as AAC
GAP = 0.05  # seconds that sound may come too late or too early before silence is put in, or samples are left out

log = logging.getLogger(__name__)


class Sound(NamedTuple):
    """Sound from a video's first frame on.

    Attributes:
        rate: samples per second.
        layout: "mono" or "stereo".
        chunks: (C, N) float32 each, one after the other without a gap; reading them reads the file.
    """

    rate: int
    layout: str
    chunks: Iterator[NDArray[np.float32]]


def open_sound(path: Path, start: float, length: float) -> Sound | None:
    """The sound of a video file between two times; None where it has none. Broken sound ends early, with a warning.

    Args:
        start: time of the video's first frame in the file's own clock, in seconds.
        length: seconds of sound that are wanted.
    """
    try:
        check_complete(path)
        with av.open(f"file:{path}") as container:
            if not container.streams.audio:
                return None
            stream = container.streams.audio[0]
            rate = stream.rate if stream.rate in RATES else 48_000
            layout = "mono" if stream.channels == 1 else "stereo"
    except (av.FFmpegError, ValueError, OSError) as error:
        log.info("%s: overlays are without its sound (%s)", path, error)
        return None
    return Sound(rate, layout, _chunks(path, rate, layout, start, round(length * rate)))


def _chunks(path: Path, rate: int, layout: str, start: float, n_samples: int) -> Iterator[NDArray[np.float32]]:
    position = 0
    try:
        for time, samples_CN in _decoded(path, rate, layout):
            offset = round((time - start) * rate)
            if offset > position + GAP * rate:
                yield np.zeros((len(samples_CN), min(offset, n_samples) - position), np.float32)
                position = min(offset, n_samples)
            elif offset < position - GAP * rate:
                samples_CN = samples_CN[:, position - offset :]
            samples_CN = samples_CN[:, : n_samples - position]
            if samples_CN.shape[1]:
                yield samples_CN
                position += samples_CN.shape[1]
            if position >= n_samples:
                return
    except av.FFmpegError as error:
        log.warning(
            "%s: its sound is broken after %.1f s (%s): overlays go on without it", path, position / rate, error
        )


def _decoded(path: Path, rate: int, layout: str) -> Iterator[tuple[float, NDArray[np.float32]]]:
    """Time in the file's own clock and samples (C, N) of every decoded piece."""
    resampler = AudioResampler("fltp", layout, rate)
    with av.open(f"file:{path}") as container:
        for frame in container.decode(container.streams.audio[0]):
            time = frame.time or 0.0
            for piece in resampler.resample(frame):
                yield time, np.asarray(piece.to_ndarray(), np.float32)
                time += piece.samples / rate
