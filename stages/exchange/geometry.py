"""The frames of a video as a submission needs them: their names and their size, whether extracted or not."""

from collections.abc import Sequence
from dataclasses import dataclass

from PIL import Image

from stages.core.records import Video
from stages.core.state.cache import CacheError
from stages.core.state.frames import open_frames
from stages.core.state.graph import Layout

SUFFIXES = (".jpg", ".png", ".jpeg")


@dataclass(frozen=True)
class Geometry:
    """Names of the frames in order, and their (height, width); None where no image is at hand."""

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
