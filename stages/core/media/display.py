"""What a player does to decoded frames before it shows them: correct pixels from unusual videos.

    stored                             shown
    interlaced fields                  one frame of both (FFmpeg's bwdif)
    HDR: PQ or HLG transfer            tone-mapped to BT.709 (swscale's perceptual mapping)
    transparency                       laid over white
    pixels that are not square         scaled to square ones, so that no side shrinks
    a display matrix                   turned upright, in quarter turns

Ordinary videos go through unchanged. Frames of data sets whose masks fit the stored pixels are only turned and
laid over white.

Legend: H height, W width, 3 RGB, 4 RGBA.
"""

import logging
from collections import deque
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from fractions import Fraction
from pathlib import Path
from typing import Any, NamedTuple

import av
import numpy as np
from av.filter import Graph
from av.video.stream import VideoStream
from numpy.typing import NDArray
from PIL import Image

PQ, HLG = 16, 18  # transfer characteristics, ISO/IEC 23091-2
ICTCP = (14, 15)  # matrices that swscale does not convert: ICtCp, and Dolby Vision's IPT
UNSPECIFIED = (0, 2)
MAX_STRETCH = 10  # a longer pixel is taken for a mistake in the file
MIN_DEINTERLACED = 4  # pixels of a side; bwdif refuses smaller frames

log = logging.getLogger(__name__)


class Decoded(NamedTuple):
    """A frame and its time in seconds after the video's first frame."""

    frame: av.VideoFrame
    time: float


class TimedFrame(NamedTuple):
    """A frame (H, W, 3) RGB uint8 and its time in seconds after the video's first frame."""

    image_HW3: NDArray[np.uint8]
    time: float


@dataclass
class Account:
    """What decoding met; whole once all frames are out.

    Attributes:
        pixels: what was done to the pixels, in words, in the order in which it was met; an ordinary video has none.
        start: time of the first frame in the file's own clock, in seconds.
        end: seconds after the first frame at which the last one ends; None where the file does not say.
    """

    pixels: list[str] = field(default_factory=list)
    start: float = 0.0
    end: float | None = None

    def note(self, done: str) -> bool:
        """Notes what was done, once; returns whether that is new."""
        if done in self.pixels:
            return False
        self.pixels.append(done)
        return True


class Display:
    """Turns the frames of one stream into pictures.

    Args:
        as_shown: as a player shows them; otherwise only turned upright and laid over white.
    """

    def __init__(self, path: Path, stream: VideoStream, account: Account, *, as_shown: bool) -> None:
        self._path, self._stream, self._account, self._as_shown = path, stream, account, as_shown
        self._tone_mapper: Graph | None = None

    def deinterlaced(self, frames: Iterable[Decoded]) -> Iterator[Decoded]:
        """The same frames; from the first interlaced one on with their fields woven into whole pictures."""
        if not self._as_shown:
            yield from frames
            return
        weaver: _Deinterlacer | None = None
        for decoded in frames:
            if weaver is None and decoded.frame.interlaced_frame and self._can_deinterlace(decoded.frame):
                weaver = _Deinterlacer(decoded.frame)
            yield from [decoded] if weaver is None else weaver.push(decoded)
        if weaver is not None:
            yield from weaver.rest()

    def picture(self, frame: av.VideoFrame, max_side: int | None) -> NDArray[np.uint8]:
        """The frame as shown, (H, W, 3), its longest side at most `max_side` pixels.

        Raises:
            ValueError: its colours are of a kind that cannot be converted.
        """
        image_HW3 = self._rgb(frame)
        across, down = self._stretch()
        matrix: Any = frame.side_data.get("DISPLAYMATRIX")
        if matrix is not None:
            numbers = np.frombuffer(bytes(matrix), np.int32)
            self._note_turn(numbers)
            image_HW3 = turn_upright(image_HW3, numbers)
            if _is_transposed(numbers):
                across, down = down, across
        return fit(image_HW3, max_side, across, down)

    def _rgb(self, frame: av.VideoFrame) -> NDArray[np.uint8]:
        if self._as_shown and frame.color_trc in (PQ, HLG):
            return self._tone_mapped(frame)
        if not _has_transparency(frame):
            return np.asarray(frame.to_ndarray(format="rgb24"), np.uint8)
        image_HW4 = np.asarray(frame.to_ndarray(format="rgba"), np.uint8)
        if (image_HW4[..., 3] < 255).any():
            self._account.note("transparency laid over white")
        return lay_over_white(image_HW4)

    def _tone_mapped(self, frame: av.VideoFrame) -> NDArray[np.uint8]:
        name = "PQ" if frame.color_trc == PQ else "HLG"
        if frame.colorspace in ICTCP:
            raise ValueError(
                f"{self._path}: its HDR colours (matrix {int(frame.colorspace)}, as Dolby Vision's profile 5) cannot be "
                "converted; export it as SDR, or as HDR10 or HLG"
            )
        if self._account.note(f"tone-mapped from HDR ({name}) to BT.709"):
            log.info("%s: HDR (%s) is tone-mapped to BT.709", self._path, name)
        if self._tone_mapper is None:
            self._tone_mapper = _tone_mapper(frame)
        self._tone_mapper.vpush(frame)
        return np.asarray(self._tone_mapper.vpull().to_ndarray(), np.uint8)

    def _stretch(self) -> tuple[float, float]:
        """By how much a picture is stretched across and down for its pixels to be square."""
        aspect = self._stream.sample_aspect_ratio
        if not self._as_shown or not aspect or aspect <= 0 or aspect == 1:
            return 1.0, 1.0
        words = f"pixels of {aspect.numerator}:{aspect.denominator}"
        if not 1 / MAX_STRETCH <= aspect <= MAX_STRETCH:
            if self._account.note(f"{words} taken as square"):
                log.warning("%s: %s are taken for a mistake and shown as square", self._path, words)
            return 1.0, 1.0
        self._account.note(f"{words} scaled to square ones")
        return (float(aspect), 1.0) if aspect > 1 else (1.0, float(1 / aspect))

    def _note_turn(self, matrix: NDArray[np.int32]) -> None:
        a, b, _, c, d = (int(value) for value in matrix[:5])
        if b == c == 0 and a > 0 and d > 0:
            return
        if min(abs(a) + abs(d), abs(b) + abs(c)) * 100 > max(abs(a) + abs(d), abs(b) + abs(c)):
            if self._account.note("turned to the nearest quarter turn"):
                log.warning("%s: is to be shown aslant; it is turned by the nearest quarter turn instead", self._path)
            return
        self._account.note("turned upright")

    def _can_deinterlace(self, frame: av.VideoFrame) -> bool:
        if min(frame.width, frame.height) >= MIN_DEINTERLACED:
            self._account.note("deinterlaced")
            return True
        if self._account.note("interlaced, as stored"):
            log.warning("%s: is interlaced and too small to be deinterlaced; its frames are as stored", self._path)
        return False


class _Deinterlacer:
    """FFmpeg's bwdif: one frame out per frame in, one frame late; frames that are marked as whole pass through."""

    def __init__(self, frame: av.VideoFrame) -> None:
        self._graph = _graph(frame, [("bwdif", "mode=send_frame:parity=auto:deint=interlaced")])
        self._times: deque[float] = deque()

    def push(self, decoded: Decoded) -> Iterator[Decoded]:
        self._times.append(decoded.time)
        self._graph.vpush(decoded.frame)
        yield from self._ready()

    def rest(self) -> Iterator[Decoded]:
        self._graph.vpush(None)
        yield from self._ready()

    def _ready(self) -> Iterator[Decoded]:
        while self._times:
            try:
                frame = self._graph.vpull()
            except (av.error.BlockingIOError, av.error.EOFError):
                return
            yield Decoded(frame, self._times.popleft())


def _tone_mapper(frame: av.VideoFrame) -> Graph:
    """PQ or HLG in, RGB of BT.709 out. What the frame does not say is taken as BT.2020, which HDR is made in."""
    scale = "out_primaries=bt709:out_transfer=bt709:intent=perceptual"
    if frame.color_primaries in UNSPECIFIED:
        scale += ":in_primaries=bt2020"
    if frame.colorspace in UNSPECIFIED:
        scale += ":in_color_matrix=bt2020"
    return _graph(frame, [("scale", scale), ("format", "pix_fmts=rgb24")])


def _graph(frame: av.VideoFrame, filters: Iterable[tuple[str, str]]) -> Graph:
    """A chain of filters for frames like this one."""
    graph = Graph()
    base = frame.time_base or Fraction(1, 1000)
    source = f"video_size={frame.width}x{frame.height}:pix_fmt={frame.format.name}:time_base={base}"
    source += f":colorspace={int(frame.colorspace)}:range={int(frame.color_range)}"
    nodes = [graph.add("buffer", source), *(graph.add(*each) for each in filters), graph.add("buffersink")]
    graph.link_nodes(*nodes).configure()
    return graph


def _has_transparency(frame: av.VideoFrame) -> bool:
    return frame.format.has_palette or any(component.is_alpha for component in frame.format.components)


def lay_over_white(image_HW4: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """RGBA (H, W, 4) over a white ground, (H, W, 3)."""
    image_HW4 = image_HW4.astype(np.uint16)
    alpha_HW1 = image_HW4[..., 3:]
    return ((image_HW4[..., :3] * alpha_HW1 + 255 * (255 - alpha_HW1) + 127) // 255).astype(np.uint8)


def turn_upright(image_HW3: NDArray[np.uint8], matrix: NDArray[np.int32]) -> NDArray[np.uint8]:
    """Applies a display matrix (9 numbers a b u c d v x y w): x' = a·x + c·y, y' = b·x + d·y.

    Quarter turns and mirrors are exact; any other angle counts as the nearest of these.
    """
    a, b, _, c, d = (int(value) for value in matrix[:5])
    if _is_transposed(matrix):
        image_HW3 = image_HW3.transpose(1, 0, 2)
        to_right, to_bottom = c, b
    else:
        to_right, to_bottom = a, d
    return np.ascontiguousarray(image_HW3[:: -1 if to_bottom < 0 else 1, :: -1 if to_right < 0 else 1])


def _is_transposed(matrix: NDArray[np.int32]) -> bool:
    a, b, _, c, d = (int(value) for value in matrix[:5])
    return abs(a) + abs(d) < abs(b) + abs(c)


def shrink(image_HW3: NDArray[np.uint8], max_side: int | None) -> NDArray[np.uint8]:
    """The image with its longest side at most `max_side` pixels, aspect kept; never enlarged."""
    return fit(image_HW3, max_side)


def fit(
    image_HW3: NDArray[np.uint8], max_side: int | None, across: float = 1.0, down: float = 1.0
) -> NDArray[np.uint8]:
    """The image stretched by the two factors, then with its longest side at most `max_side` pixels (Lanczos)."""
    height, width = image_HW3.shape[0] * down, image_HW3.shape[1] * across
    scale = 1.0 if max_side is None or max(height, width) <= max_side else max_side / max(height, width)
    size = (max(1, round(width * scale)), max(1, round(height * scale)))
    if size == (image_HW3.shape[1], image_HW3.shape[0]):
        return image_HW3
    return np.asarray(Image.fromarray(image_HW3).resize(size, Image.Resampling.LANCZOS))
