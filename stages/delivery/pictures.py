"""Pictures out: the same pixels give the same bytes."""

import zlib
from pathlib import Path

from PIL import Image

JPEG_QUALITY = 95


def save_png(image: Image.Image, path: Path) -> None:
    """Masks are flat: run-length matching at the fastest level is small enough, and quick."""
    flat = image.mode in ("L", "1", "P")
    image.save(path, "PNG", compress_level=1, compress_type=zlib.Z_RLE if flat else zlib.Z_DEFAULT_STRATEGY)


def save_jpeg(image: Image.Image, path: Path) -> None:
    image.save(path, "JPEG", quality=JPEG_QUALITY, subsampling=0)
