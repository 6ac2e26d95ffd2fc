"""The frame folders of the cache: what extract_frames leaves and every later stage reads."""

import io
import os
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from stages.core.state.cache import CacheError, read_json, remedy
from stages.core.state.graph import EXTRACT_FRAMES, Layout
from stages.core.state.vouched import Vouched, find_damage, vouch


@dataclass(frozen=True)
class FrameFolder:
    """The frames of a video, all of one size.

    Attributes:
        directory: holds exactly these frames, `<name><suffix>`.
        names: without extension, in order of presentation.
        suffix: ".jpg" or ".png".
        size: (height, width) in pixels.
        timestamps: seconds from the video's start, one per frame; None where the data set ships frames.
        digest: of the frames' names and bytes; enters the fingerprint of everything made from them.
        start: time of the first frame in the clock of the video file, in seconds.
        end: seconds from the video's start at which the last frame ends; None where that is not known.
        pixels: what was done to the pixels, in words (stages.core.media.display).
        vouched: what the manifest says of every frame's file; () where the files are not compared with it.
    """

    directory: Path
    names: tuple[str, ...]
    suffix: str
    size: tuple[int, int]
    timestamps: tuple[float, ...] | None
    digest: str
    start: float = 0.0
    end: float | None = None
    pixels: tuple[str, ...] = ()
    vouched: tuple[Vouched, ...] = ()

    def __len__(self) -> int:
        return len(self.names)

    def path(self, index: int) -> Path:
        return self.directory / f"{self.names[index]}{self.suffix}"

    def damage(self, manifest: Path) -> str:
        """What is wrong with the folder, in words; "" where it holds what its manifest lists."""
        files = {f"{name}{self.suffix}": vouched for name, vouched in zip(self.names, self.vouched, strict=True)}
        return find_damage(self.directory, files, manifest)

    def load(self, index: int) -> NDArray[np.uint8]:
        """Frame `index` as (H, W, 3) RGB uint8.

        Raises:
            ValueError: it is missing or cannot be decoded to its end; CacheError where its bytes are not those that
                extract_frames left.
        """
        path = self.path(index)
        content = _content(path)
        if self.vouched and vouch(content) != self.vouched[index]:
            _mark(path)
            raise CacheError(f"{path}: is not what extract_frames left there; {remedy(EXTRACT_FRAMES.name)}")
        return _decode(path, content)

    def load_all(self, indices: Sequence[int]) -> list[NDArray[np.uint8]]:
        return [self.load(index) for index in indices]


def open_frames(layout: Layout, video: str) -> FrameFolder:
    """The frame folder of a video.

    Raises:
        CacheError: extract_frames has not run for it.
    """
    path = layout.file(EXTRACT_FRAMES, video)
    raw = read_json(path, EXTRACT_FRAMES.name, EXTRACT_FRAMES.version)
    try:
        timestamps = raw["timestamps"]
        height, width = map(int, raw["size"])
        if not 0 < height * width < 1 << 32:  # as many pixels as a run of an RLE can count
            raise ValueError(f"frames of {height} × {width} pixels")
        return FrameFolder(
            directory=layout.frames(video),
            names=tuple(raw["frames"]),
            suffix=raw["suffix"],
            size=(height, width),
            timestamps=None if timestamps is None else tuple(timestamps),
            digest=raw["digest"],
            start=raw.get("start", 0.0),
            end=raw.get("end"),
            pixels=tuple(raw.get("pixels", ())),
            vouched=tuple(Vouched(int(size), str(sha256)) for size, sha256 in raw.get("files", ())),
        )
    except (KeyError, TypeError, ValueError) as error:
        raise CacheError(f"{path}: damaged ({error!r}); run `python -m stages.extract_frames` again") from error


def load_image(path: Path) -> NDArray[np.uint8]:
    """An image file as (H, W, 3) RGB uint8.

    Raises:
        ValueError: it is missing or cannot be decoded to its end.
    """
    return _decode(path, _content(path))


def _content(path: Path) -> bytes:
    from stages.core.media.pictures import read_bytes  # late: `--help` need not wait for Pillow

    return read_bytes(path)


def _decode(path: Path, content: bytes) -> NDArray[np.uint8]:
    from PIL import Image

    from stages.core.media.pictures import BROKEN, to_rgb, unreadable

    try:
        with Image.open(io.BytesIO(content)) as image:
            image.load()
            return to_rgb(image)
    except BROKEN as error:
        raise unreadable(path, error) from error


def _mark(path: Path) -> None:
    """Gives a damaged frame a new time of change, by which extract_frames finds it (see `stages.core.state.vouched`)."""
    with suppress(OSError, NotImplementedError):
        os.utime(path, follow_symlinks=False)
