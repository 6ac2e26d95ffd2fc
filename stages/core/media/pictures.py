"""Picture files as frames: any kind that Pillow reads, as a viewer shows it.

    stored                      shown
    16 bits a channel           scaled to 8
    transparency                laid over white
    EXIF orientation            turned upright, where that is asked for

Legend: H height, W width, 3 RGB.
"""

import struct
import zlib

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageOps

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
    """A picture as (H, W, 3) RGB uint8, writable."""
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
