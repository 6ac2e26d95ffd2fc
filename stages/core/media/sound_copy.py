"""The sound of a source beside new pictures: its own packets where the container takes them, else encoded again."""

import logging
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import av

from stages.core.media.container import check_complete
from stages.core.media.sound import open_sound
from stages.core.media.video import OPEN_OPTIONS
from stages.core.media.video_writer import EncodedSound, VideoWriter

LEAD = 0.1  # seconds before the first frame that decoders need to start cleanly; players leave them out

log = logging.getLogger(__name__)


def add_sound(video: VideoWriter, path: Path, start: float, length: float | None) -> None:
    """Adds the first sound stream of a file to a video; nothing where there is none, or it cannot be read.

    Args:
        path: the source.
        start: time in the file's own clock, in seconds, of the video's first frame.
        length: seconds of sound that are wanted; None = all there is after `start`.
    """
    try:
        check_complete(path)
        source = av.open(f"file:{path}", options=OPEN_OPTIONS)
    except (av.FFmpegError, ValueError, OSError) as error:
        log.info("%s: outputs are without its sound (%s)", path, error)
        return
    if not source.streams.audio:
        source.close()
        return
    codec = source.streams.audio[0].codec_context
    if codec is not None and codec.name in video.encoding.sounds and _has_header(codec):
        video.add_sound(CopiedSound(video, source, path, start, length))
        return
    source.close()
    sound = open_sound(path, start, _seconds(path, start) if length is None else length)
    if sound is not None:
        video.add_sound(EncodedSound(video.container, sound, video.encoding.sound))


def _has_header(codec: Any) -> bool:
    """Whether a decoder's set-up is apart from the packets: MPEG-TS and FLV recordings may repeat AAC's in each of them."""
    return codec.name != "aac" or bool(codec.extradata)


class CopiedSound:
    """Packets of a source, not decoded, shifted so that `start` is 0."""

    def __init__(self, video: VideoWriter, source: Any, path: Path, start: float, length: float | None) -> None:
        self._container, self._source, self._path, self._start = video.container, source, path, start
        self._end = None if length is None else start + length
        self._stream = video.container.add_stream_from_template(source.streams.audio[0])
        self._packets = self._wanted()
        self._next: Any = None

    def write_until(self, seconds: float) -> None:
        while (packet := self._peek()) is not None and float(packet.pts * packet.time_base) < seconds:
            self._next = None
            packet.stream = self._stream
            self._container.mux(packet)

    def close(self) -> None:
        self.write_until(float("inf"))
        self._source.close()

    def _peek(self) -> Any:
        if self._next is None:
            self._next = next(self._packets, None)
        return self._next

    def _wanted(self) -> Iterator[Any]:
        try:
            for packet in self._source.demux(self._source.streams.audio[0]):
                if packet.pts is None or not packet.size:
                    continue
                unit = packet.time_base
                if float((packet.pts + (packet.duration or 0)) * unit) < self._start - LEAD:
                    continue
                if self._end is not None and float(packet.pts * unit) >= self._end:
                    return
                shift = round(self._start / unit)
                packet.pts -= shift
                packet.dts = packet.pts if packet.dts is None else packet.dts - shift
                yield packet
        except av.FFmpegError as error:
            log.warning("%s: its sound is broken (%s); outputs go on without it", self._path, error)


def _seconds(path: Path, start: float) -> float:
    """A length that no sound of the file exceeds."""
    with av.open(f"file:{path}", options=OPEN_OPTIONS) as source:
        return max(0.0, (source.duration or 0) / av.time_base - min(start, 0.0) + 1)
