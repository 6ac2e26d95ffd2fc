"""Animated pictures as videos: WebP and PNG (APNG), read by Pillow. GIF goes through FFmpeg with the videos."""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from PIL import Image

from stages.core.media.display import Account, TimedFrame
from stages.core.media.pictures import BROKEN, TRANSPARENT, shows_through, to_rgb

ANIMATIONS = ("WebP", "PNG")
DEFAULT_DURATION = 0.1  # seconds of a picture that says 0, as in browsers


def decode_animation(path: Path, account: Account) -> Iterator[TimedFrame]:
    """Every picture of an animation with its time; transparency is laid over white.

    Raises:
        ValueError: while iterating: it holds one picture alone, or is damaged.
    """
    with _opened(path) as image:
        time = 0.0
        for index in range(_first(image), _count(image)):
            image.seek(index)
            image.load()
            if shows_through(image):
                account.note(TRANSPARENT)
            yield TimedFrame(to_rgb(image), time)
            time += (float(image.info.get("duration", 0)) / 1000) or DEFAULT_DURATION
            account.end = time


def count_pictures(path: Path) -> tuple[int, tuple[int, int]]:
    """Number of pictures and their (height, width)."""
    with _opened(path) as image:
        return _count(image) - _first(image), (image.height, image.width)


@contextmanager
def _opened(path: Path) -> Iterator[Image.Image]:
    try:
        with Image.open(path) as image:
            if _count(image) - _first(image) < 2:
                raise _SingleError
            yield image
    except _SingleError as error:
        raise ValueError(f"{path}: a single picture, not a video; put it into a folder of frames") from error
    except BROKEN as error:
        raise ValueError(f"{path}: damaged ({error}); replace the file") from error


class _SingleError(Exception):
    """Not a ValueError, so that it is not taken for damage."""


def _count(image: Image.Image) -> int:
    return int(getattr(image, "n_frames", 1))


def _first(image: Image.Image) -> int:
    """1 where the first picture is only for viewers that cannot animate (APNG's default image)."""
    return int(bool(image.info.get("default_image")))
