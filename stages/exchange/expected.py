"""Every PNG that a submission of a split needs."""

from collections.abc import Iterable

from stages.core.records import Split, Video
from stages.core.state.graph import Layout
from stages.exchange.geometry import geometry_of
from stages.exchange.layouts import ZipLayout
from stages.exchange.names import Expected


def expected_files(layout: Layout, zip_layout: ZipLayout, split: Split, videos: Iterable[Video]) -> dict[str, Expected]:
    """Path → what must lie there, in the order of the index.

    Raises:
        ValueError: a video of the split is defect, so that its masks are not known; or see `geometry_of`.
    """
    found: dict[str, Expected] = {}
    for video in videos:
        if video.defect:
            raise ValueError(video.defect)
        geometry = geometry_of(layout, video)
        for entry in zip_layout.entries(video, geometry.names, split.scored_frames(video)):
            found[entry.path] = Expected(entry, geometry.size)
    return found
