"""What a submission needs to know of the frames, extracted or not: their names, their size, and so every PNG."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from PIL import Image

from stages.core.records import Split, Video
from stages.core.state.cache import CacheError
from stages.core.state.frames import open_frames
from stages.core.state.graph import Layout
from stages.exchange.layouts import ZipLayout
from stages.exchange.names import Expected, expected_of

SUFFIXES = (".jpg", ".png", ".jpeg")


@dataclass(frozen=True)
class Geometry:
    """Names of the frames in order, and their (height, width); None if no image is available."""

    names: Sequence[str]
    size: tuple[int, int] | None


def geometry_of(layout: Layout, video: Video) -> Geometry:
    """From the frame folder of the cache, or else from the data set's index and its first image's header.

    Raises:
        ValueError: the index lists no frames (video files) and they are not extracted yet.
    """
    try:
        frames = open_frames(layout, video.id)
        return Geometry(frames.names, frames.size)
    except CacheError as error:
        if not video.frames:
            raise ValueError(f"{error}; without them it is unknown which frames video {video.id!r} has") from error
    return Geometry(video.frames, _size_of_image(video))


def expected_files(layout: Layout, zip_layout: ZipLayout, split: Split, videos: Iterable[Video]) -> dict[str, Expected]:
    """Path → what must be stored there, for every PNG that a submission of the split needs, in the order of the index.

    Raises:
        ValueError: a video of the split is defective, so that its masks are not known; or see `geometry_of`.
    """
    expected: dict[str, Expected] = {}
    for video in videos:
        if video.defect:
            raise ValueError(video.defect)
        geometry = geometry_of(layout, video)
        expected |= expected_of(zip_layout, split, video, geometry.names, geometry.size)
    return expected


def _size_of_image(video: Video) -> tuple[int, int] | None:
    for suffix in SUFFIXES:
        path = video.location / f"{video.frames[0]}{suffix}"
        if path.is_file():
            try:
                with Image.open(path) as image:
                    return image.height, image.width
            except (OSError, SyntaxError) as error:
                raise ValueError(f"{path}: frame is not readable ({error}); replace it") from error
    return None
