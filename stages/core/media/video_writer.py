"""Video files out: deterministic H.264 MP4s from frames, for people to look at.

Legend: H height, W width, 3 RGB.
"""

from bisect import bisect_left
from collections.abc import Iterable, Sequence
from fractions import Fraction
from itertools import pairwise
from pathlib import Path

import av
import numpy as np
from av.container import OutputContainer
from av.video.reformatter import ColorPrimaries, ColorRange, Colorspace, ColorTrc
from av.video.stream import VideoStream
from numpy.typing import NDArray

from stages.core.media.sound import Sound

TICKS = 120_000  # per second: frames at 23.976, 24, 25, 29.97, 30, 50 or 60 fps last whole numbers of them

# Found by encoding one clip 80 times: with mbtree on, x264 wrote up to nine different files on one machine.
# Without B-frames packets are in the order of presentation, and so the last one's duration is the last frame's.
X264_OPTIONS = {"preset": "veryfast", "x264-params": "mbtree=0:cpu-independent=1:bframes=0"}


def write_h264(
    path: Path,
    images_HW3: Iterable[NDArray[np.uint8]],
    times: Sequence[float],
    *,
    crf: int = 23,
    end: float | None = None,
    sound: Sound | None = None,
) -> None:
    """Writes an MP4 that plays everywhere: H.264, yuv420p, BT.709, index at the front, no metadata.

    One encoder thread and no date: the same frames give the same bytes. Odd sides grow by a repeated
    row or column, since yuv420p needs even ones.

    Args:
        images_HW3: (H, W, 3) RGB uint8, all of one size; consumed one at a time.
        times: seconds, rising, one per frame (see `times_at`).
        crf: H.264 quality, 0 to 51, lower is better.
        end: when the last frame ends, in seconds; None: it lasts as long as the one before.
        sound: is added as AAC; what is longer than the frames is left out.

    Raises:
        ValueError: no frame, frames of several sizes, or times that do not rise or do not match the frames.
    """
    ticks, n_frames = _ticks(path, times, end), 0
    with av.open(
        f"file:{path}", "w", format="mp4", options={"movflags": "faststart", "fflags": "bitexact"}
    ) as container:
        stream = container.add_stream("libx264", options={"crf": str(crf), **X264_OPTIONS})
        track = None if sound is None else _SoundTrack(container, sound)
        for index, image_HW3 in enumerate(images_HW3):
            if index == len(times):
                raise ValueError(f"{path}: more frames than the {len(times)} times given")
            frame = _frame(image_HW3)
            if index == 0:
                _set_up(stream, frame, ticks)
            elif (frame.width, frame.height) != (stream.width, stream.height):
                raise ValueError(
                    f"{path}: frame {index} is {frame.width}x{frame.height}, not {stream.width}x{stream.height}"
                )
            frame.pts, frame.time_base = ticks[index], Fraction(1, TICKS)
            frame.duration = ticks[index + 1] - ticks[index]
            _mux(container, stream, frame, ticks)
            if track is not None:
                track.write_until(ticks[index + 1] / TICKS)
            n_frames = index + 1
        if n_frames != len(times):
            raise ValueError(f"{path}: {len(times)} times given for {n_frames} frames")
        _mux(container, stream, None, ticks)
        if track is not None:
            track.close()


def _mux(container: OutputContainer, stream: VideoStream, frame: av.VideoFrame | None, ticks: Sequence[int]) -> None:
    for packet in stream.encode(frame):
        assert packet.pts is not None
        index = bisect_left(ticks, packet.pts)
        packet.duration = ticks[index + 1] - ticks[index]
        container.mux(packet)


class _SoundTrack:
    """The AAC stream beside the frames, written as far as they are."""

    def __init__(self, container: OutputContainer, sound: Sound) -> None:
        self._container, self._sound = container, sound
        self._stream = container.add_stream("aac", rate=sound.rate, layout=sound.layout)
        self._stream.codec_context.thread_count = 1
        self._position = 0  # samples

    def write_until(self, time: float) -> None:
        while self._position < time * self._sound.rate:
            samples_CN = next(self._sound.chunks, None)
            if samples_CN is None:
                return
            frame = av.AudioFrame.from_ndarray(np.ascontiguousarray(samples_CN), "fltp", self._sound.layout)
            frame.sample_rate, frame.pts = self._sound.rate, self._position
            frame.time_base = Fraction(1, self._sound.rate)
            self._container.mux(self._stream.encode(frame))
            self._position += samples_CN.shape[1]

    def close(self) -> None:
        if self._position:
            self._container.mux(self._stream.encode(None))


def times_at(fps: float, n_frames: int) -> list[float]:
    """The times of `n_frames` at a constant rate."""
    return [index / fps for index in range(n_frames)]


def _ticks(path: Path, times: Sequence[float], end: float | None) -> list[int]:
    """Start of every frame from 0, and the end of the last one."""
    if not times:
        raise ValueError(f"{path}: a video needs at least one frame")
    ticks = [round((time - times[0]) * TICKS) for time in times]
    if any(after <= before for before, after in pairwise(ticks)):
        raise ValueError(f"{path}: frame times must rise by at least 1/{TICKS} s from frame to frame")
    last = ticks[-1] - ticks[-2] if len(ticks) > 1 else TICKS // 25
    stop = ticks[-1] if end is None else round((end - times[0]) * TICKS)
    return [*ticks, stop if stop > ticks[-1] else ticks[-1] + last]


def _set_up(stream: VideoStream, frame: av.VideoFrame, ticks: Sequence[int]) -> None:
    codec = stream.codec_context
    codec.width, codec.height, codec.pix_fmt = frame.width, frame.height, "yuv420p"
    codec.framerate = Fraction(TICKS * (len(ticks) - 1), ticks[-1]).limit_denominator(1001)
    codec.time_base = Fraction(1, TICKS)
    codec.thread_count = 1
    codec.colorspace, codec.color_range = frame.colorspace, frame.color_range
    codec.color_primaries, codec.color_trc = ColorPrimaries.BT709, ColorTrc.BT709


def _frame(image_HW3: NDArray[np.uint8]) -> av.VideoFrame:
    height, width = image_HW3.shape[:2]
    even_HW3 = np.pad(image_HW3, ((0, height % 2), (0, width % 2), (0, 0)), mode="edge")
    rgb = av.VideoFrame.from_ndarray(np.ascontiguousarray(even_HW3), format="rgb24")
    return rgb.reformat(format="yuv420p", dst_colorspace=Colorspace.ITU709, dst_color_range=ColorRange.MPEG)
