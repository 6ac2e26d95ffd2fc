"""What every reader asserts: the published counts, and that masks are of the size of the frames."""

import logging
from collections.abc import Sequence
from pathlib import Path

from PIL import Image

from stages.core.records import Video
from stages.core.spelling import stored_path

log = logging.getLogger(__name__)


def warn_of_counts(index: Path, videos: int, expressions: int, expected: Sequence[tuple[int, int | None]]) -> None:
    """Logs a warning with expected and actual counts, where no published version has these."""
    if not expected or any(videos == v and e in (expressions, None) for v, e in expected):
        return
    published = " or ".join(f"{v} videos" + (f" with {e} expressions" if e is not None else "") for v, e in expected)
    log.warning("%s: holds %d videos with %d expressions; published: %s", index, videos, expressions, published)


def check_frame_size(video: Video, size: tuple[int, int] | None, where: str) -> None:
    """Returns when masks of `size` = (height, width) fit the first frame; no frame on disk, no check.

    Raises:
        ValueError: starting with `where`, naming the frame's file and both sizes.
    """
    frame = _first_frame(video)
    if size is None or frame is None:
        return
    frame_size = image_size(frame)
    if frame_size != tuple(size):
        raise ValueError(
            f"{where}: masks are of size {tuple(size)} (height, width), but {frame} is {frame_size}; fix one of them"
        )


def image_size(path: Path) -> tuple[int, int]:
    """(height, width) of a frame, from its head; raises ValueError, naming it, where that is not readable."""
    from stages.core.media.pictures import BROKEN, check_is_file, unreadable  # late: `--help` need not wait for PyAV

    check_is_file(path)
    try:
        with Image.open(path) as image:
            return image.height, image.width
    except BROKEN as error:
        raise unreadable(path, error) from error


def _first_frame(video: Video) -> Path | None:
    candidates = (
        stored_path(video.location, f"{name}{suffix}")
        for name in video.frames[:1]
        for suffix in (".jpg", ".jpeg", ".png")
    )
    return next((path for path in candidates if path.is_file()), None)
