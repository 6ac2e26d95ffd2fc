"""Video files in: frames with their times, as a player shows them (out: `stages.core.media.video_writer`).

What can be read: MP4, MOV, M4V, 3GP, MKV, WebM, AVI, MPEG-TS, MPEG-PS, WMV, FLV and GIF through FFmpeg, animated WebP and
PNG through Pillow. The first bytes of a file say what it is, not its name.

Legend: H height, W width, 3 RGB. Frames stream: memory holds a few, however long the video.
"""

import logging
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import NamedTuple, TypeVar

import av
from av.container import InputContainer
from av.stream import Disposition
from av.video.codeccontext import VideoCodecContext
from av.video.stream import VideoStream

from stages.core.media.animation import ANIMATIONS, count_pictures, decode_animation
from stages.core.media.container import check_complete
from stages.core.media.display import Account, Decoded, Display, TimedFrame, shrink

# Playlists and the like, which could name other files or hosts, are not opened whatever they are called.
OPEN_OPTIONS = {
    "protocol_whitelist": "file",
    "format_whitelist": "mov,mp4,m4a,3gp,3g2,mj2,matroska,webm,gif,avi,mpegts,mpeg,flv,asf",
}
# Codecs where every packet is one frame, so that a missing frame can be told (VP8 has hidden packets).
FRAME_PER_PACKET = {"h264", "hevc", "vp9", "av1", "libdav1d"}
# FFmpeg's own decoders ignore the transparency of these, and show what is behind it as black.
TRANSPARENCY_DECODERS = {"vp8": "libvpx", "vp9": "libvpx-vp9"}
# Containers that say how long they are: a stream that ends before was cut short.
DECLARES_LENGTH = ("matroska", "flv", "asf")
REENCODE = "replace the file, or re-encode it (ffmpeg -i in.mp4 -c:v libx264 out.mp4) and look at the result"


log = logging.getLogger(__name__)


Timed = TypeVar("Timed", Decoded, TimedFrame)


def decode(
    path: Path,
    *,
    fps: float | None = None,
    max_side: int | None = None,
    max_frames: int | None = None,
    threads: int = 1,
    as_shown: bool = True,
    account: Account | None = None,
) -> Iterator[TimedFrame]:
    """The frames of a video file in order of presentation, as a player shows them (see `stages.core.media.display`).

    Colours follow the stream's own matrix and range; BT.601 where it names none, as in FFmpeg.

    Args:
        fps: keep, for every tick of 1/fps s, the frame nearest to it, once; None = every frame. Frames
            keep their own times, and a tick that no frame is nearest to gives none.
        max_side: longest side in pixels; larger frames shrink (Lanczos), smaller ones stay. None = native.
        max_frames: stop after that many; what follows is then not looked at.
        threads: of the decoder; any number gives the same frames.
        as_shown: False for data sets whose masks fit the stored pixels: frames are only turned upright.
        account: records what was done to the pixels, and when the video starts and ends.

    Raises:
        ValueError: while iterating: the file is missing, empty, no video, without a video stream, cut
            short, broken somewhere inside, changes its size, or its colours cannot be converted.
    """
    account = Account() if account is None else account
    kind = check_complete(path)
    if kind in ANIMATIONS:
        for image_HW3, time in islice(_thinned(decode_animation(path, account), fps), max_frames):
            yield TimedFrame(shrink(image_HW3, max_side), time)
        return
    with open_container(path) as container:
        stream = video_stream(container, path)
        display = Display(path, stream, account, as_shown=as_shown)
        decoder = _decoder(stream, threads, path, account) if as_shown else _set_up(stream.codec_context, threads)
        frames = display.deinterlaced(_one_size(_decode_stream(container, stream, decoder, path, account), path))
        for frame, time in islice(_thinned(frames, fps), max_frames):
            yield TimedFrame(display.picture(frame, max_side), time)


class Measure(NamedTuple):
    """Number of frames and (height, width) as a video file declares them, before any turn."""

    n_frames: int
    size: tuple[int, int]


def measure(path: Path) -> Measure:
    """Counts frames without decoding them: a packet that is shown is a frame.

    Raises:
        ValueError: the file is missing, empty, no video, without a video stream, or cut short.
    """
    kind = check_complete(path)
    if kind in ANIMATIONS:
        return Measure(*count_pictures(path))
    progress = _Progress()
    with open_container(path) as container:
        stream = video_stream(container, path)
        try:
            for packet in container.demux(stream):
                _count(progress, packet, stream)
        except av.FFmpegError as error:
            raise ValueError(
                f"{path}: broken after packet {progress.packets} ({error.strerror}); {REENCODE}"
            ) from error
        return Measure(progress.shown, (stream.height, stream.width))


@dataclass
class _Progress:
    """What was met so far, to be compared with what the container declares."""

    packets: int = 0
    shown: int = 0  # packets that an edit list does not hide
    frames: int = 0
    interlaced: bool = False
    end: float = 0.0  # seconds, over all streams


def _thinned(frames: Iterator[Timed], fps: float | None) -> Iterator[Timed]:
    return frames if fps is None else nearest_to_ticks(frames, fps)


def nearest_to_ticks(frames: Iterable[Timed], fps: float) -> Iterator[Timed]:
    """Of all frames that are nearest to one tick of 1/fps s, the one closest to it.

    A tick more than half a frame after the last frame is past the video's end, and gives none.
    """
    best: Timed | None = None
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


def open_container(path: Path) -> InputContainer:
    """A video file, opened; raises ValueError where FFmpeg cannot."""
    try:
        return av.open(f"file:{path}", mode="r", options=OPEN_OPTIONS)
    except av.FFmpegError as error:
        raise ValueError(f"{path}: not readable as a video ({error.strerror}); {REENCODE}") from error


def video_stream(container: InputContainer, path: Path) -> VideoStream:
    """The stream that is the video; raises ValueError where there is none."""
    for stream in container.streams.video:
        if not stream.disposition & Disposition.attached_pic:  # the cover of a song is not a video
            return stream
    kinds = ", ".join(sorted({stream.type for stream in container.streams})) or "nothing"
    raise ValueError(f"{path}: holds no video stream (it has: {kinds}); give a file with pictures")


def _set_up(codec: VideoCodecContext | None, threads: int) -> VideoCodecContext | None:
    if codec is not None:  # None: FFmpeg has no decoder; the first packet says so
        codec.thread_count = threads
        codec.thread_type = "AUTO"
        # Damage is an error: by default decoders paint over it and go on.
        codec.options = {"err_detect": "explode"}
    return codec


def _decoder(stream: VideoStream, threads: int, path: Path, account: Account) -> VideoCodecContext | None:
    """The stream's own decoder, or the one that reads its transparency."""
    codec = stream.codec_context
    other = TRANSPARENCY_DECODERS.get(codec.name) if codec and stream.metadata.get("alpha_mode") == "1" else None
    if other is None:
        return _set_up(codec, threads)
    try:
        decoder = av.CodecContext.create(other, "r")
    except av.codec.codec.UnknownCodecError:
        account.note("transparency left aside")
        log.warning("%s: its transparency cannot be read (FFmpeg has no %s here) and is left aside", path, other)
        return _set_up(codec, threads)
    assert isinstance(decoder, VideoCodecContext)
    decoder.extradata = codec.extradata
    return _set_up(decoder, threads)


def _decode_stream(
    container: InputContainer, stream: VideoStream, decoder: VideoCodecContext | None, path: Path, account: Account
) -> Iterator[Decoded]:
    progress = _Progress()
    period = float(1 / stream.average_rate) if stream.average_rate else 0.04
    start = time = None
    try:
        for packet in container.demux():  # all streams: their ends tell whether the file goes on to its end
            _count(progress, packet, stream)
            for frame in _frames_of(packet, stream, decoder):
                _note(progress, frame, path)
                now = frame.time if frame.pts is not None else None
                if time is not None and (now is None or now <= time):  # no time of its own: one period later
                    now = time + period
                time = now if now is not None else 0.0
                if start is None:
                    start = account.start = time
                duration = frame.duration * frame.time_base if frame.duration and frame.time_base else 0
                account.end = time - start + float(duration) if duration else None
                yield Decoded(frame, time - start)
    except av.FFmpegError as error:
        raise ValueError(f"{path}: broken after frame {progress.frames} ({error.strerror}); {REENCODE}") from error
    _check_progress(progress, container, stream, path)


def _frames_of(packet: av.Packet, stream: VideoStream, decoder: VideoCodecContext | None) -> Iterator[av.VideoFrame]:
    if packet.stream.index == stream.index:
        own = decoder is None or decoder is stream.codec_context
        for frame in packet.decode() if own else decoder.decode(packet):  # type: ignore[union-attr]
            assert isinstance(frame, av.VideoFrame)
            yield frame


def _one_size(frames: Iterable[Decoded], path: Path) -> Iterator[Decoded]:
    """The same frames; raises ValueError where their size changes."""
    size = None
    for decoded in frames:
        now = (decoded.frame.width, decoded.frame.height)
        size = size or now
        if now != size:
            raise ValueError(
                f"{path}: changes its size from {size[0]}x{size[1]} to {now[0]}x{now[1]} at {decoded.time:.3f} s; "
                f"{REENCODE}"
            )
        yield decoded


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
    if any(name in container.format.name for name in DECLARES_LENGTH) and progress.end < length - 1:
        raise ValueError(f"{path}: ends at {progress.end:.1f} s of the {length:.1f} s it declares; {REENCODE}")
