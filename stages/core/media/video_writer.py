"""Video files out: deterministic files from frames, with the sound of their source, for people to look at and to edit.

Legend: H height, W width, 3 RGB, 4 RGBA.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from fractions import Fraction
from itertools import pairwise
from pathlib import Path
from types import TracebackType
from typing import Any, Protocol

import av
import numpy as np
from av.container import OutputContainer
from av.video.reformatter import ColorPrimaries, ColorRange, Colorspace, ColorTrc
from numpy.typing import NDArray

from stages.core.media.sound import Sound

TICKS = 120_000  # per second: frames at 23.976, 24, 25, 29.97, 30, 50 or 60 fps last whole numbers of them


@dataclass(frozen=True)
class Encoding:
    """How pictures become a video.

    Attributes:
        container: FFmpeg's name of the muxer.
        codec: FFmpeg's name of the encoder.
        pixels: FFmpeg's name of the pixel format; an "a" after "yuv" keeps transparency.
        options: of the encoder. Packets come out in the order of presentation: no B-frames.
        muxer: options of the container.
        metadata: of the stream.
        sounds: codecs of sound that the container takes, and players play, as they are.
        sound: the encoder for any other sound.
    """

    container: str
    codec: str
    pixels: str
    options: Mapping[str, str] = field(hash=False)
    muxer: Mapping[str, str] = field(default_factory=dict, hash=False)
    metadata: Mapping[str, str] = field(default_factory=dict, hash=False)
    sounds: frozenset[str] = frozenset()
    sound: str = "aac"

    @property
    def halves(self) -> bool:
        """Whether colours have half the resolution, so that sides are even."""
        return "420" in self.pixels

    @property
    def transparent(self) -> bool:
        return self.pixels.startswith("yuva")


# Found by encoding one clip 80 times: with mbtree on, x264 wrote up to nine different files on one machine.
# Without B-frames packets are in the order of presentation, and so the last one's duration is the last frame's.
X264 = {"preset": "veryfast", "x264-params": "mbtree=0:cpu-independent=1:bframes=0"}
H264 = Encoding(
    container="mp4",
    codec="libx264",
    pixels="yuv420p",
    options=X264,
    muxer={"movflags": "faststart"},
    sounds=frozenset(("aac", "mp3", "ac3", "eac3", "alac", "opus")),
)


class SoundTrack(Protocol):
    """The sound beside the frames."""

    def write_until(self, seconds: float) -> None: ...

    def close(self) -> None: ...


class VideoWriter:
    """A video file that frames are written into one by one.

    One encoder thread and no date: the same frames give the same bytes. Where colours have half the resolution, odd
    sides grow by a repeated row or column.

    Args:
        base: seconds per tick; its numerator is 1.
        crf: quality for encoders that have it, lower is better.
        rate: frames per second as players show it; None = as the first frame lasts. Times are exact in either case.
    """

    def __init__(
        self, path: Path, encoding: Encoding, base: Fraction, *, crf: int | None = None, rate: Fraction | None = None
    ) -> None:
        self.path, self.encoding, self._base, self._rate = path, encoding, base, rate
        self.container = av.open(
            f"file:{path}", "w", format=encoding.container, options={**encoding.muxer, "fflags": "bitexact"}
        )
        quality = {} if crf is None else {"crf": str(crf)}
        self._stream: Any = self.container.add_stream(encoding.codec, options={**quality, **encoding.options})
        self._stream.metadata.update(encoding.metadata)
        self._durations: dict[int, int] = {}
        self._n_frames = 0
        self._tracks: list[SoundTrack] = []

    def add_sound(self, track: SoundTrack) -> None:
        """Sound that is written as far as the frames are; to be added before the first frame."""
        self._tracks.append(track)

    def write(self, image: NDArray[np.uint8], start: int, end: int) -> None:
        """A frame, (H, W, 3), or (H, W, 4) in an encoding with transparency, shown from tick `start` to `end`.

        Raises:
            ValueError: its size is not that of the first one.
        """
        frame = _frame(image, self.encoding)
        if not self._n_frames:
            self._set_up(frame, end - start)
        elif (frame.width, frame.height) != (self._stream.width, self._stream.height):
            raise ValueError(
                f"{self.path}: frame {self._n_frames} is {frame.width}x{frame.height}, "
                f"not {self._stream.width}x{self._stream.height}"
            )
        frame.pts, frame.time_base, frame.duration = start, self._base, end - start
        self._durations[start] = end - start
        self._mux(frame)
        for track in self._tracks:
            track.write_until(float(end * self._base))
        self._n_frames += 1

    def __enter__(self) -> "VideoWriter":
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        try:
            if error is None and self._n_frames:
                self._mux(None)
                for track in self._tracks:
                    track.close()
        finally:
            self.container.close()

    def _mux(self, frame: av.VideoFrame | None) -> None:
        for packet in self._stream.encode(frame):
            assert packet.pts is not None
            packet.duration = self._durations.pop(packet.pts)
            self.container.mux(packet)

    def _set_up(self, frame: av.VideoFrame, duration: int) -> None:
        codec = self._stream.codec_context
        codec.width, codec.height, codec.pix_fmt = frame.width, frame.height, self.encoding.pixels
        codec.framerate = (self._rate or 1 / (duration * self._base)).limit_denominator(1001)
        codec.time_base = self._stream.time_base = self._base
        codec.thread_count = 1
        codec.colorspace, codec.color_range = frame.colorspace, frame.color_range
        codec.color_primaries, codec.color_trc = ColorPrimaries.BT709, ColorTrc.BT709


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
    rate = Fraction(TICKS * (len(ticks) - 1), ticks[-1])
    with VideoWriter(path, H264, Fraction(1, TICKS), crf=crf, rate=rate) as video:
        if sound is not None:
            video.add_sound(EncodedSound(video.container, sound))
        for index, image_HW3 in enumerate(images_HW3):
            if index == len(times):
                raise ValueError(f"{path}: more frames than the {len(times)} times given")
            video.write(image_HW3, ticks[index], ticks[index + 1])
            n_frames = index + 1
        if n_frames != len(times):
            raise ValueError(f"{path}: {len(times)} times given for {n_frames} frames")


class EncodedSound:
    """Sound as a new stream, AAC unless another encoder is named."""

    def __init__(self, container: OutputContainer, sound: Sound, codec: str = "aac") -> None:
        self._container, self._sound = container, sound
        self._stream: Any = container.add_stream(codec, rate=sound.rate, layout=sound.layout)
        self._stream.codec_context.thread_count = 1
        self._position = 0  # samples

    def write_until(self, seconds: float) -> None:
        while self._position < seconds * self._sound.rate:
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


def _frame(image: NDArray[np.uint8], encoding: Encoding) -> av.VideoFrame:
    if encoding.halves:
        height, width = image.shape[:2]
        image = np.pad(image, ((0, height % 2), (0, width % 2), (0, 0)), mode="edge")
    layout = "rgba" if encoding.transparent else "rgb24"
    frame = av.VideoFrame.from_ndarray(np.ascontiguousarray(image), format=layout)
    return frame.reformat(format=encoding.pixels, dst_colorspace=Colorspace.ITU709, dst_color_range=ColorRange.MPEG)
