"""Tracks of SAM2 from a cache as training data: what the judge will see, with the mistakes that a tracker really makes.

Legend: N candidates, O objects.
"""

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from functools import lru_cache
from typing import Any

import numpy as np
from numpy.typing import NDArray

from stages.core.config.loading import load_config, settings_of
from stages.core.media import masks
from stages.core.records import TrackId, Video
from stages.core.state.graph import BUILD_TRACKS, Layout
from stages.core.state.track_file import read_columns, read_masks
from stages.datasets import open_split
from stages.evidence.judging.candidates import Grouping
from stages.evidence.views.video import VideoView
from stages.micro.training.mllm.records import Record, record_of
from stages.micro.training.mllm.truth import labels_of, looks_of, said_of
from stages.tracking.labels import compare
from stages.worlds.shapes.clip import draw_clip
from stages.worlds.shapes.scene import Scene as World
from stages.worlds.shapes.write import make_scene, stream

SAME_IOU = 0.8  # tracks that share more are shown once, as the judge does
DATA_SEED = 0  # of `shapes`


@dataclass(frozen=True)
class Tracked:
    """The videos of a split of `shapes` and their cached tracks; calling it makes the record of a video.

    Attributes:
        config: a config file whose cache holds the tracks; relative paths in it are relative to the working folder.
        dataset, split: of `shapes`.
        sources: whose tracks are shown together.
    """

    config: str
    dataset: str
    split: str
    sources: tuple[str, ...]

    @classmethod
    def of(cls, config: str, dataset: str, split: str) -> "Tracked":
        """With the sources that a selector trains on."""
        sources = settings_of(load_config(config), dataset).selector.sources.train
        return cls(config, dataset, split, tuple(sources))

    def identity(self) -> Mapping[str, Any]:
        return {**asdict(self), "config": "", "sources": list(self.sources), "videos": len(self)}

    def __len__(self) -> int:
        return len(_opened(self.config, self.dataset, self.split)[1])

    def __call__(self, index: int) -> Record:
        """Raises CacheError where the video's tracks are missing."""
        layout, videos = _opened(self.config, self.dataset, self.split)
        video, other = videos[index].id, videos[(index + 1) % len(videos)].id
        world, _ = make_scene(DATA_SEED, video)
        elsewhere, _ = make_scene(DATA_SEED, other)
        view = VideoView(layout, video)
        shown = self._shown(layout, view)
        shares_NO = _shares(layout, video, shown, world)
        said = said_of(stream(DATA_SEED, f"mllm/{video}"), world, elsewhere)
        texts = [(one.text, one.form) for one in said]
        return record_of(view.scene(shown), 1, looks_of(world.things, shares_NO), texts, labels_of(said, shares_NO))

    def _shown(self, layout: Layout, view: VideoView) -> list[TrackId]:
        """One track per group of near-duplicates."""
        tracks = []
        for source in self.sources:
            count = len(read_columns(layout.file(BUILD_TRACKS, view.video, source), ["score"])["score"])
            tracks += [track for n in range(count) if view.is_seen(track := TrackId(source, n))]
        found = Grouping(layout, view.video, tracks, SAME_IOU).candidates(dict.fromkeys(tracks))
        return [candidate.shown for candidate in found]


@lru_cache(maxsize=4)
def _opened(config: str, dataset: str, split: str) -> tuple[Layout, Sequence[Video]]:
    loaded = load_config(config)
    return Layout.of(loaded, dataset, split), open_split(loaded, dataset, split).videos()


def _shares(layout: Layout, video: str, shown: Sequence[TrackId], world: World) -> NDArray[np.float32]:
    """(N, O) IoU of tracks with the objects that were drawn, whether a sentence of the index refers to them or not."""
    clip = draw_clip(stream(DATA_SEED, f"{video}/pixels"), world)
    truth = {str(i): masks.encode_all(masks_THW) for i, masks_THW in enumerate(clip.masks_NTHW)}
    rles_NT = [read_masks(layout.file(BUILD_TRACKS, video, source), [n])[0] for source, n in shown]
    return compare(rles_NT, truth, world.size, (min(world.size), max(world.size))).iou_NA
