"""What training reads: a video's tracks and texts, once for all of its expressions and ahead of the step.

Legend: N tracks of a sample, T frames.
"""

from collections import OrderedDict
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import replace
from typing import TypeVar

from stages.core.config.selector_sections import SelectorTraining
from stages.core.records import MaskSequence, Video
from stages.selectors.batch import Sample
from stages.selectors.frame_labels import FrameLabels
from stages.selectors.order import foreign_rows
from stages.selectors.samples import Loaded, VideoTracks

T = TypeVar("T")
KEPT_BYTES = 2 << 30  # tracks kept between steps and epochs; the least recently used are dropped and read again

Annotations = Callable[[Video], Mapping[str, MaskSequence]]


class Store:
    """Labelled samples of some videos.

    Args:
        annotations: for losses that need the frames in which a track covers the referred object; else None.
    """

    def __init__(
        self, videos: Sequence[VideoTracks], config: SelectorTraining, annotations: Annotations | None
    ) -> None:
        self.videos, self.config = videos, config
        self.sizes = [len(tracks.ids) * tracks.n_frames for tracks in videos]
        self._labels = None if annotations is None else FrameLabels(annotations, config.positive_iou)
        self._kept: OrderedDict[int, Loaded] = OrderedDict()

    def samples(self, video: int, expressions: Sequence[int], epoch: int | None = None) -> list[Sample]:
        """Samples that share their tracks; with an epoch also `foreign_tracks`, drawn for it."""
        tracks, foreign = self.videos[video], None
        if epoch is not None and self.config.foreign_tracks:
            seed = (self.config.seed & 0xFFFFFFFF, epoch, video)
            foreign = [foreign_rows(tracks, e, self.config.foreign_tracks, (*seed, e)) for e in expressions]
        samples = tracks.samples(expressions, self.config.positive_iou, self._loaded(video), foreign)
        if self._labels is None:
            return samples
        return [
            replace(sample, seen_NT=self._labels.seen(tracks, e, sample))
            for e, sample in zip(expressions, samples, strict=True)
        ]

    def _loaded(self, video: int) -> Loaded:
        if video not in self._kept:
            self._kept[video] = self.videos[video].read()
            while len(self._kept) > 1 and sum(loaded.n_bytes for loaded in self._kept.values()) > KEPT_BYTES:
                self._kept.popitem(last=False)
        self._kept.move_to_end(video)
        return self._kept[video]


def ahead(makers: Iterable[Callable[[], T]]) -> Iterator[T]:
    """The result of each maker, in order; the next is made in a thread while the last is used."""
    with ThreadPoolExecutor(1) as pool:
        waiting: Future[T] | None = None
        for make in makers:
            coming = pool.submit(make)
            if waiting is not None:
                yield waiting.result()
            waiting = coming
        if waiting is not None:
            yield waiting.result()
