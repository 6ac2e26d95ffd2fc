"""Makes small real video files for tests. Frame i is grey of level 20 + 8·i with a red top-left corner."""

from collections.abc import Mapping, Sequence
from fractions import Fraction
from pathlib import Path

import av
import numpy as np

CODECS = {".mp4": "libx264", ".mov": "libx264", ".mkv": "libx264", ".webm": "libvpx-vp9", ".gif": "gif"}
OPTIONS = {"libvpx-vp9": {"deadline": "realtime", "cpu-used": "8"}, "libx264": {"preset": "veryfast"}}
NO_CLIPS = "the real clips are not there (../shared/clips beside the project)"


def picture(index: int, size: tuple[int, int]) -> np.ndarray:
    """Frame `index` of `size` = (width, height) as (H, W, 3)."""
    image_HW3 = np.full((size[1], size[0], 3), 20 + 8 * index, np.uint8)
    image_HW3[: size[1] // 4, : size[0] // 4] = (250, 0, 0)
    return image_HW3


def noise(index: int, size: tuple[int, int]) -> np.ndarray:
    """A frame that compresses badly, so that damage to the file hits pictures."""
    return np.random.default_rng(index).integers(0, 256, (size[1], size[0], 3), dtype=np.uint8)


def make_video(
    path: Path,
    n_frames: int = 12,
    size: tuple[int, int] = (64, 48),
    *,
    times_ms: Sequence[int] | None = None,
    draw=picture,
    turn: Mapping[str, object] | None = None,
    pixels: str | None = None,
    container: Mapping[str, str] | None = None,
) -> Path:
    """Writes a video with PyAV; 10 frames a second unless `times_ms` says otherwise."""
    codec = CODECS[path.suffix]
    with av.open(str(path), "w", options=dict(container or {})) as file:
        stream = file.add_stream(codec, rate=10, options=OPTIONS.get(codec, {}))
        stream.width, stream.height = size
        stream.pix_fmt = pixels or ("rgb8" if codec == "gif" else "yuv420p")
        stream.thread_count = 1
        if times_ms is not None:
            stream.codec_context.time_base = Fraction(1, 1000)
        if turn is not None:
            stream.set_display_rotation(**turn)
        for index in range(n_frames):
            frame = av.VideoFrame.from_ndarray(draw(index, size), "rgb24")
            if times_ms is not None:
                frame.pts, frame.time_base = times_ms[index], Fraction(1, 1000)
            file.mux(stream.encode(frame))
        file.mux(stream.encode(None))
    return path


def make_audio(path: Path) -> Path:
    """A file that holds sound alone."""
    with av.open(str(path), "w") as file:
        stream = file.add_stream("aac", rate=16_000, layout="mono")
        for index in range(4):
            frame = av.AudioFrame.from_ndarray(np.zeros((1, 1024), np.float32), "fltp", "mono")
            frame.sample_rate, frame.pts = 16_000, index * 1024
            file.mux(stream.encode(frame))
        file.mux(stream.encode(None))
    return path


def add_sound(pictures: Path, path: Path, seconds: float) -> Path:
    """The pictures of one file with a tone, in another."""
    with av.open(str(pictures)) as source, av.open(str(path), "w") as file:
        copy = file.add_stream_from_template(source.streams.video[0])
        tone = file.add_stream("aac", rate=16_000, layout="mono")
        for index in range(round(seconds * 16_000 / 1024)):
            samples_CN = 0.5 * np.sin(np.arange(index * 1024, (index + 1) * 1024) / 8)[None]
            frame = av.AudioFrame.from_ndarray(samples_CN.astype(np.float32), "fltp", "mono")
            frame.sample_rate, frame.pts = 16_000, index * 1024
            file.mux(tone.encode(frame))
        file.mux(tone.encode(None))
        for packet in source.demux(video=0):
            if packet.size:
                packet.stream = copy
                file.mux(packet)
    return path
