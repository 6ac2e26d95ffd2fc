"""Masks that training reads again and again, kept in memory: of tracks, and of annotations.

A choice of tracks is measured at every threshold and after every epoch, and most choices share their tracks.
"""

from collections import OrderedDict
from collections.abc import Callable, Hashable, Mapping, Sequence
from typing import Generic, TypeVar

from stages.core.records import MaskSequence, Rle, TrackId, Video
from stages.core.state.graph import BUILD_TRACKS, Layout
from stages.core.state.track_file import read_masks

K = TypeVar("K", bound=Hashable)
V = TypeVar("V")
KEPT_MASKS = 500_000  # masks of tracks: about 200 MB
KEPT_VIDEOS = 100  # videos' annotations


class Kept(Generic[K, V]):
    """Values by key up to a total cost; the least recently used are dropped."""

    def __init__(self, most: int, cost: Callable[[V], int] = lambda _: 1) -> None:
        self.most, self.cost = most, cost
        self._values: OrderedDict[K, V] = OrderedDict()
        self._total = 0

    def get(self, key: K, make: Callable[[], V]) -> V:
        """The value of a key, made where it is not kept."""
        if key not in self._values:
            self._values[key] = make()
            self._total += self.cost(self._values[key])
        self._values.move_to_end(key)
        while self._total > self.most and len(self._values) > 1:
            self._total -= self.cost(self._values.popitem(last=False)[1])
        return self._values[key]


class TrackMasks:
    """(video, track) → its T masks, read once."""

    def __init__(self, layout: Layout) -> None:
        self.layout = layout
        self._kept: Kept[tuple[str, TrackId], Sequence[Rle]] = Kept(KEPT_MASKS, len)

    def __call__(self, video: str, track: TrackId) -> Sequence[Rle]:
        return self._kept.get((video, track), lambda: self._read(video, track))

    def _read(self, video: str, track: TrackId) -> Sequence[Rle]:
        source, row = track
        return read_masks(self.layout.file(BUILD_TRACKS, video, source), [row])[0]


class KeptAnnotations:
    """What a split's `annotations` says of a video, asked once for a video that is asked for again."""

    def __init__(self, read: Callable[[Video], Mapping[str, MaskSequence]]) -> None:
        self._read = read
        self._kept: Kept[str, Mapping[str, MaskSequence]] = Kept(KEPT_VIDEOS)

    def __call__(self, video: Video) -> Mapping[str, MaskSequence]:
        return self._kept.get(video.id, lambda: self._read(video))
