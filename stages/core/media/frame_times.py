"""When each frame of a video file is shown, exactly, in the file's own units of time."""

from fractions import Fraction
from itertools import pairwise
from pathlib import Path
from typing import NamedTuple

from stages.core.media.animation import ANIMATIONS
from stages.core.media.container import check_complete
from stages.core.media.display import Account
from stages.core.media.video import FRAME_PER_PACKET, decode, open_container, video_stream

FINE = Fraction(1, 120_000)  # seconds: frames at any usual rate last whole numbers of them
INDEXED = ("mov", "matroska")  # containers in which every packet of these codecs is a whole frame


class FrameTimes(NamedTuple):
    """Times of a video's frames.

    Attributes:
        ticks: of each frame in order of presentation, 0 for the first, rising.
        end: tick at which the last frame ends.
        base: seconds per tick; its numerator is 1.
    """

    ticks: tuple[int, ...]
    end: int
    base: Fraction


def frame_times(path: Path) -> FrameTimes:
    """The times of all frames that `stages.core.media.video.decode` gives.

    They are read from packets where each of them is a frame; otherwise the file is decoded once.

    Raises:
        ValueError: as `decode`.
    """
    if check_complete(path) in ANIMATIONS:
        return _decoded(path, FINE)
    with open_container(path) as container:
        stream = video_stream(container, path)
        unit = stream.time_base or FINE
        base = Fraction(1, unit.denominator)
        whole = stream.codec_context is not None and stream.codec_context.name in FRAME_PER_PACKET
        if not whole or not any(name in container.format.name for name in INDEXED):
            return _decoded(path, base)
        shown = [packet for packet in container.demux(stream) if packet.size and not packet.is_discard]
        times = {
            packet.pts * unit.numerator: (packet.duration or 0) * unit.numerator
            for packet in shown
            if packet.pts is not None
        }
    if not shown or len(times) < len(shown):  # a packet without a time, or two with one
        return _decoded(path, base)
    return _counted(sorted(times), times[max(times)], base)


def _decoded(path: Path, base: Fraction) -> FrameTimes:
    account = Account()
    seconds = [frame.time for frame in decode(path, account=account)]
    for unit in (base, FINE):
        ticks = [round(time / unit) for time in seconds]
        if all(after > before for before, after in pairwise(ticks)):
            break
    last = 0 if account.end is None else round(account.end / unit) - ticks[-1]
    return _counted(ticks, last, unit)


def _counted(ticks: list[int], last: int, base: Fraction) -> FrameTimes:
    """From 0; a last frame of no duration lasts as long as the one before, and a single one a 25th of a second."""
    if last <= 0:
        last = ticks[-1] - ticks[-2] if len(ticks) > 1 else max(1, round(Fraction(1, 25) / base))
    return FrameTimes(tuple(tick - ticks[0] for tick in ticks), ticks[-1] + last - ticks[0], base)
