"""J&F of a choice of tracks, by the official per-frame measures, cached between epochs."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field

from stages.core.media import masks
from stages.core.records import MaskSequence, Rle, Split, TrackId
from stages.core.state.graph import Layout
from stages.selectors.kept import KeptAnnotations, TrackMasks
from stages.selectors.samples import VideoTracks

# (predicted masks, true masks, (height, width)) → J and F, means over the frames
Measure = Callable[[Sequence[Rle], Sequence[Rle], tuple[int, int]], tuple[float, float]]
# (video, index of the expression, chosen tracks) → (J, F)
Quality = Callable[[VideoTracks, int, tuple[TrackId, ...]], tuple[float, float]]


@dataclass
class TrackQuality:
    """(expression, chosen tracks) → its (J, F), means over all frames.

    The stage passes the measure in: model code does not know the metrics package. Choices change little
    between epochs and between thresholds, so each one is measured once, and masks are read once.
    """

    layout: Layout
    split: Split
    measure: Measure
    known: dict[tuple[str, tuple[str, ...], tuple[TrackId, ...]], tuple[float, float]] = field(default_factory=dict)

    def __post_init__(self) -> None:
        self._masks, self._annotations = TrackMasks(self.layout), KeptAnnotations(self.split.annotations)

    def __call__(self, tracks: VideoTracks, expression: int, chosen: tuple[TrackId, ...]) -> tuple[float, float]:
        # keyed by what is referred to: many expressions of a video refer to the same objects
        key = (tracks.video.id, tracks.video.expressions[expression].annotations or (), chosen)
        if key not in self.known:
            self.known[key] = self._measure(tracks, key[1], chosen)
        return self.known[key]

    def _measure(
        self, tracks: VideoTracks, annotations: Sequence[str], chosen: tuple[TrackId, ...]
    ) -> tuple[float, float]:
        chosen_T = [self._masks(tracks.video.id, track) for track in chosen]
        predicted_T = [masks.union([rles_T[t] for rles_T in chosen_T], tracks.size) for t in range(tracks.n_frames)]
        truth_T = union_of(self._annotations(tracks.video), annotations, tracks.size, tracks.n_frames)
        return self.measure(predicted_T, truth_T, tracks.size)


def union_of(
    annotations: Mapping[str, MaskSequence], keys: Sequence[str], size: tuple[int, int], n_frames: int
) -> list[Rle]:
    """The referred annotations as one mask per frame; none gives empty masks."""
    referred = [annotations[key] for key in keys]
    return [
        masks.union([rle for masklet in referred if (rle := masklet[t]) is not None], size) for t in range(n_frames)
    ]
