"""The frame folders of the cache: what extract_frames leaves and every later stage reads."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from stages.core.state.cache import CacheError, read_json
from stages.core.state.graph import EXTRACT_FRAMES, Layout


@dataclass(frozen=True)
class FrameFolder:
    """The frames of a video, all of one size.

    Attributes:
        directory: holds exactly these frames, `<name><suffix>`.
        names: without extension, in order of presentation.
        suffix: ".jpg" or ".png".
        size: (height, width) in pixels.
        timestamps: seconds from the video's start, one a frame; None where the data set ships frames.
        digest: of the frames' names and bytes; enters the fingerprint of everything made from them.
    """

    directory: Path
    names: tuple[str, ...]
    suffix: str
    size: tuple[int, int]
    timestamps: tuple[float, ...] | None
    digest: str

    def __len__(self) -> int:
        return len(self.names)

    def path(self, index: int) -> Path:
        return self.directory / f"{self.names[index]}{self.suffix}"

    def load(self, index: int) -> NDArray[np.uint8]:
        """Frame `index` as (H, W, 3) RGB uint8."""
        return load_image(self.path(index))

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
        height, width = raw["size"]
        return FrameFolder(
            directory=layout.frames(video),
            names=tuple(raw["frames"]),
            suffix=raw["suffix"],
            size=(int(height), int(width)),
            timestamps=None if timestamps is None else tuple(timestamps),
            digest=raw["digest"],
        )
    except (KeyError, TypeError, ValueError) as error:
        raise CacheError(f"{path}: damaged ({error!r}); run `python -m stages.extract_frames` again") from error


def load_image(path: Path) -> NDArray[np.uint8]:
    """An image file as (H, W, 3) RGB uint8.

    Raises:
        ValueError: it is missing or cannot be decoded to its end.
    """
    try:
        with Image.open(path) as image:
            return np.array(image.convert("RGB"))  # writable: torch warns of read-only arrays
    except FileNotFoundError as error:
        raise ValueError(f"{path}: frame is missing; restore it and run extract_frames again") from error
    except (OSError, SyntaxError) as error:
        raise ValueError(f"{path}: frame is not readable ({error}); replace it") from error
