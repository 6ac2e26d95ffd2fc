"""Picture files as frames: any kind that Pillow reads, as a viewer shows it.

    stored                      shown
    16 bits per channel         scaled to 8
    transparency                laid over white
    EXIF orientation            turned upright, where that is asked for

Legend: H height, W width, 3 RGB.
"""

import hashlib
import io
import struct
import zlib
from pathlib import Path
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageOps, UnidentifiedImageError

from stages.core.media.display import lay_over_white

# What Pillow raises for files that are damaged, or made to harm.
BROKEN = (
    OSError,
    SyntaxError,
    ValueError,
    EOFError,
    OverflowError,
    IndexError,
    TypeError,
    struct.error,
    zlib.error,
    Image.DecompressionBombError,
)
ORIENTATION = 0x0112  # EXIF tag; 1 = upright
DEEP, TRANSPARENT, TURNED = "16 bits scaled to 8", "transparency laid over white", "turned upright (EXIF)"
STILL = ("MPO",)  # kinds whose further pictures are views of the same moment


class PictureFacts(NamedTuple):
    """What is known of a picture file that was read to its end.

    Attributes:
        size: (height, width) as shown.
        sha256: of the file's bytes, in hex.
        n_bytes: of the file.
        changes: what `convert("RGB")` alone would show wrong, in words.
    """

    size: tuple[int, int]
    sha256: str
    n_bytes: int
    changes: tuple[str, ...]


def inspect_picture(path: Path, *, upright: bool) -> PictureFacts:
    """Reads a picture file to its end; raises ValueError, naming it, where that fails."""
    content = read_bytes(path)
    try:
        with Image.open(io.BytesIO(content)) as image:
            image.load()
            steps = changes(image, upright=upright)
            height, width = to_rgb(image, upright=True).shape[:2] if TURNED in steps else (image.height, image.width)
    except BROKEN as error:
        raise unreadable(path, error) from error
    return PictureFacts((height, width), hashlib.sha256(content).hexdigest(), len(content), steps)


def show_picture(path: Path, *, upright: bool) -> NDArray[np.uint8]:
    """A picture file as a viewer shows it, (H, W, 3); raises ValueError, naming it, where it cannot be read."""
    content = read_bytes(path)
    try:
        with Image.open(io.BytesIO(content)) as image:
            image.load()
            changes(image, upright=upright)  # refuses what has no sound meaning
            return to_rgb(image, upright=upright)
    except BROKEN as error:
        raise unreadable(path, error) from error


def read_bytes(path: Path) -> bytes:
    """The bytes of a frame's file; raises ValueError where it is missing or not a file."""
    check_is_file(path)
    try:
        return path.read_bytes()
    except OSError as error:
        raise ValueError(f"{path}: frame is not readable ({error.strerror}); check its rights and its disk") from error


def check_is_file(path: Path) -> None:
    """Raises ValueError where a frame's file is missing or not a file: reading a pipe would wait for ever."""
    if not path.is_file():
        if path.is_symlink() and not path.exists():
            raise ValueError(f"{path}: a link to {path.readlink()}, which is not there; restore that file")
        reason = "is not a file (a folder, pipe or device)" if path.exists() else "is missing"
        raise ValueError(
            f"{path}: frame {reason}; restore it and run `python -m stages.extract_frames` on its split again"
        )


def unreadable(path: Path, error: Exception) -> ValueError:
    return ValueError(f"{path}: frame is not readable ({why_unreadable(path.stat().st_size, error)}); replace it")


def why_unreadable(n_bytes: int, error: Exception) -> str:
    """What Pillow found wrong with a picture of so many bytes, in words for people."""
    if not n_bytes:
        return "the file is empty"
    return "no picture of a known kind" if isinstance(error, UnidentifiedImageError) else str(error)


def changes(image: Image.Image, *, upright: bool) -> tuple[str, ...]:
    """What has to be done to a loaded picture beyond `convert("RGB")`, in words; nothing for an ordinary one.

    Args:
        upright: the EXIF orientation counts.

    Raises:
        ValueError: its pixels are numbers without a range, or it holds several pictures.
    """
    if getattr(image, "n_frames", 1) > 1 and image.format not in STILL:
        raise ValueError(f"holds {getattr(image, 'n_frames', 1)} pictures; a frame is one")
    if image.mode in ("I", "F"):
        raise ValueError(f"its pixels are {'floats' if image.mode == 'F' else '32-bit numbers'}, of no known range")
    steps = [DEEP] if _is_deep(image) else []
    if shows_through(image):
        steps.append(TRANSPARENT)
    if upright and image.getexif().get(ORIENTATION, 1) not in (0, 1):
        steps.append(TURNED)
    return tuple(steps)


def to_rgb(image: Image.Image, *, upright: bool = False) -> NDArray[np.uint8]:
    """A loaded picture as (H, W, 3) RGB uint8, writable."""
    if upright:
        image = ImageOps.exif_transpose(image)
    if _is_deep(image):
        grey_HW = np.asarray(image).astype(np.uint32)
        grey_HW = ((grey_HW * 255 + 32767) // 65535).astype(np.uint8)
        return np.repeat(grey_HW[..., None], 3, axis=2)
    if shows_through(image):
        return lay_over_white(np.asarray(image.convert("RGBA")))
    return np.array(image.convert("RGB"))  # a copy: torch warns of read-only arrays


def _is_deep(image: Image.Image) -> bool:
    return image.mode.startswith("I;16")


def shows_through(image: Image.Image) -> bool:
    """Whether any pixel is not opaque."""
    if image.mode == "P" and "transparency" not in image.info:
        return False
    if not _is_deep(image) and image.has_transparency_data:
        return bool((np.asarray(image.convert("RGBA").getchannel("A")) < 255).any())
    return False
