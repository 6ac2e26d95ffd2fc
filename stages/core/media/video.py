"""Video files in: frames with their times from MP4, MOV, MKV, WebM and GIF (out: `stages.core.media.video_writer`).

Legend: H height, W width, 3 RGB. Frames stream: memory holds a few, however long the video.
"""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import Any, NamedTuple

import av
import numpy as np
from av.container import InputContainer
from av.stream import Disposition
from av.video.codeccontext import VideoCodecContext
from av.video.stream import VideoStream
from numpy.typing import NDArray
from PIL import Image

from stages.core.media.container import check_complete

# Playlists and the like, which could name other files or hosts, are not opened whatever they are called.
OPEN_OPTIONS = {
    "protocol_whitelist": "file",
    "format_whitelist": "mov,mp4,m4a,3gp,3g2,mj2,matroska,webm,gif",
}
# Codecs where every packet is one frame, so that a missing frame can be told (VP8 has hidden packets).
FRAME_PER_PACKET = {"h264", "hevc", "vp9", "av1", "libdav1d"}
REENCODE = "replace the file, or re-encode it (ffmpeg -i in.mp4 -c:v libx264 out.mp4) and look at the result"


class TimedFrame(NamedTuple):
    """A frame (H, W, 3) RGB uint8 and its time in seconds after the video's first frame."""

    image_HW3: NDArray[np.uint8]
    time: float


def decode(
    path: Path,
    *,
    fps: float | None = None,
    max_side: int | None = None,
    max_frames: int | None = None,
    threads: int = 1,
) -> Iterator[TimedFrame]:
    """The frames of a video file in order of presentation, upright (the display matrix is applied).

    Pixels are taken as square. Transparency is laid over white. Colours follow the stream's own matrix and
    range; BT.601 where it names none, as in FFmpeg.

    Args:
        fps: keep, for every tick of 1/fps s, the frame nearest to it, once; null = every frame. Frames
            keep their own times, and a tick that no frame is nearest to gives none.
        max_side: longest side in pixels; larger frames shrink (Lanczos), smaller ones stay. null = native.
        max_frames: stop after that many; what lies behind is then not looked at.
        threads: of the decoder; any number gives the same frames.

    Raises:
        ValueError: while iterating: the file is missing, empty, no video, without a video stream, cut
            short, broken somewhere inside, or changes its size.
    """
    check_complete(path)
    with _open(path) as container:
        stream = _video_stream(container, path)
        _set_up(stream.codec_context, threads)
        frames: Iterator[_Decoded] = _decode_stream(container, stream, path)
        if fps is not None:
            frames = nearest_to_ticks(frames, fps)
        size = None
        for frame, time in islice(frames, max_frames):
            if size is None:
                size = (frame.width, frame.height)
            if (frame.width, frame.height) != size:
                now = f"{frame.width}x{frame.height}"
                raise ValueError(
                    f"{path}: changes its size from {size[0]}x{size[1]} to {now} at {time:.3f} s; {REENCODE}"
                )
            yield TimedFrame(shrink(_to_rgb(frame), max_side), time)


class Measure(NamedTuple):
    """Number of frames and (height, width) as a video file declares them, before any turn."""

    n_frames: int
    size: tuple[int, int]


def measure(path: Path) -> Measure:
    """Counts frames without decoding them: a packet that is shown is a frame.

    Raises:
        ValueError: the file is missing, empty, no video, without a video stream, or cut short.
    """
    check_complete(path)
    progress = _Progress()
    with _open(path) as container:
        stream = _video_stream(container, path)
        try:
            for packet in container.demux(stream):
                _count(progress, packet, stream)
        except av.FFmpegError as error:
            raise ValueError(
                f"{path}: broken after packet {progress.packets} ({error.strerror}); {REENCODE}"
            ) from error
        return Measure(progress.shown, (stream.height, stream.width))


class _Decoded(NamedTuple):
    frame: av.VideoFrame
    time: float


@dataclass
class _Progress:
    """What was met so far, to be held against what the container declares."""

    packets: int = 0
    shown: int = 0  # packets that an edit list does not hide
    frames: int = 0
    interlaced: bool = False
    end: float = 0.0  # seconds, over all streams


def nearest_to_ticks(frames: Iterable[_Decoded], fps: float) -> Iterator[_Decoded]:
    """Of all frames that are nearest to one tick of 1/fps s, the one closest to it.

    A tick behind the last frame by more than half a frame is past the video's end, and gives none.
    """
    best: _Decoded | None = None
    tick, last, gap = 0, 0.0, 0.0
    for decoded in frames:
        nearest = int(decoded.time * fps + 0.5)
        if best is not None and nearest != tick:
            yield best
            best = None
        if best is None or abs(decoded.time * fps - tick) < abs(best.time * fps - tick):
            best, tick = decoded, nearest
        last, gap = decoded.time, decoded.time - last
    if best is not None and tick / fps <= last + gap / 2:
        yield best


def shrink(image_HW3: NDArray[np.uint8], max_side: int | None) -> NDArray[np.uint8]:
    """The image with its longest side at most `max_side` pixels, aspect kept; never enlarged."""
    height, width = image_HW3.shape[:2]
    if max_side is None or max(height, width) <= max_side:
        return image_HW3
    scale = max_side / max(height, width)
    size = (max(1, round(width * scale)), max(1, round(height * scale)))
    return np.asarray(Image.fromarray(image_HW3).resize(size, Image.Resampling.LANCZOS))


def _open(path: Path) -> InputContainer:
    try:
        return av.open(f"file:{path}", mode="r", options=OPEN_OPTIONS)
    except av.FFmpegError as error:
        raise ValueError(f"{path}: not readable as a video ({error.strerror}); {REENCODE}") from error


def _video_stream(container: InputContainer, path: Path) -> VideoStream:
    for stream in container.streams.video:
        if not stream.disposition & Disposition.attached_pic:  # the cover of a song is no video
            return stream
    kinds = ", ".join(sorted({stream.type for stream in container.streams})) or "nothing"
    raise ValueError(f"{path}: holds no video stream (it has: {kinds}); give a file with pictures")


def _set_up(codec: VideoCodecContext | None, threads: int) -> None:
    if codec is None:  # FFmpeg has no decoder; the first packet says so
        return
    codec.thread_count = threads
    codec.thread_type = "AUTO"
    # Damage is an error: by default decoders paint over it and go on.
    codec.options = {"err_detect": "explode"}


def _decode_stream(container: InputContainer, stream: VideoStream, path: Path) -> Iterator[_Decoded]:
    progress = _Progress()
    period = float(1 / stream.average_rate) if stream.average_rate else 0.04
    start = time = None
    try:
        for packet in container.demux():  # all streams: their ends tell whether the file goes on to its end
            _count(progress, packet, stream)
            for frame in packet.decode() if packet.stream.index == stream.index else ():
                assert isinstance(frame, av.VideoFrame)
                _note(progress, frame, path)
                now = frame.time if frame.pts is not None else None
                if time is not None and (now is None or now <= time):  # no time of its own: one period later
                    now = time + period
                time = now if now is not None else 0.0
                start = time if start is None else start
                yield _Decoded(frame, time - start)
    except av.FFmpegError as error:
        raise ValueError(f"{path}: broken after frame {progress.frames} ({error.strerror}); {REENCODE}") from error
    _check_progress(progress, container, stream, path)


def _count(progress: _Progress, packet: av.Packet, stream: VideoStream) -> None:
    if packet.stream.index == stream.index:
        progress.packets += packet.size > 0
        progress.shown += packet.size > 0 and not packet.is_discard
    if packet.pts is not None and packet.time_base:
        progress.end = max(progress.end, float((packet.pts + (packet.duration or 0)) * packet.time_base))


def _note(progress: _Progress, frame: av.VideoFrame, path: Path) -> None:
    if frame.is_corrupt:
        raise ValueError(f"{path}: frame {progress.frames} is damaged; {REENCODE}")
    progress.frames += 1
    progress.interlaced |= frame.interlaced_frame


def _check_progress(progress: _Progress, container: InputContainer, stream: VideoStream, path: Path) -> None:
    """Raises where fewer frames came out than the container declares."""
    if not progress.frames:
        raise ValueError(f"{path}: no frame can be decoded; {REENCODE}")
    declared = progress.shown if stream.codec_context.name in FRAME_PER_PACKET and not progress.interlaced else 0
    if progress.frames < declared:
        raise ValueError(f"{path}: only {progress.frames} of {declared} frames can be decoded; {REENCODE}")
    # MOV's index lists every packet, once edit lists are applied; Matroska's only points to some.
    if "mov" in container.format.name and progress.packets < stream.frames == len(stream.index_entries):
        raise ValueError(
            f"{path}: holds only {progress.packets} of the {stream.frames} frames in its index; {REENCODE}"
        )
    length = (container.duration or 0) / av.time_base
    if "matroska" in container.format.name and progress.end < length - 1:
        raise ValueError(f"{path}: ends at {progress.end:.1f} s of the {length:.1f} s it declares; {REENCODE}")


def _to_rgb(frame: av.VideoFrame) -> NDArray[np.uint8]:
    """The frame as displayed, (H, W, 3) uint8."""
    if frame.format.has_palette or any(component.is_alpha for component in frame.format.components):
        rgba_HW4 = frame.to_ndarray(format="rgba").astype(np.uint16)
        alpha_HW1 = rgba_HW4[..., 3:]
        image_HW3 = ((rgba_HW4[..., :3] * alpha_HW1 + 255 * (255 - alpha_HW1) + 127) // 255).astype(np.uint8)
    else:
        image_HW3 = np.asarray(frame.to_ndarray(format="rgb24"), np.uint8)
    matrix: Any = frame.side_data.get("DISPLAYMATRIX")
    return image_HW3 if matrix is None else turn_upright(image_HW3, np.frombuffer(bytes(matrix), np.int32))


def turn_upright(image_HW3: NDArray[np.uint8], matrix: NDArray[np.int32]) -> NDArray[np.uint8]:
    """Applies a display matrix (9 numbers a b u c d v x y w): x' = a·x + c·y, y' = b·x + d·y.

    Quarter turns and mirrors are exact; any other angle counts as the nearest of these.
    """
    a, b, _, c, d = (int(value) for value in matrix[:5])
    if abs(a) + abs(d) >= abs(b) + abs(c):
        to_right, to_bottom = a, d
    else:
        image_HW3 = image_HW3.transpose(1, 0, 2)
        to_right, to_bottom = c, b
    return np.ascontiguousarray(image_HW3[:: -1 if to_bottom < 0 else 1, :: -1 if to_right < 0 else 1])
