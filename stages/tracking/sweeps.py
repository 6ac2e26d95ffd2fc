"""A round: the tracks of many prompts, swept forward through the video, then back, all in step.

Legend: N tracks, L = h·w tokens of a frame, D = channels of a memory.
"""

from collections.abc import Sequence
from itertools import groupby

from torch import Tensor

from stages.core.media import masks as masks_of
from stages.core.records import Rle
from stages.core.run import progress
from stages.core.run.batches import Batches
from stages.tracking.bank import Bank, Recalled
from stages.tracking.conditioning import Conditioner
from stages.tracking.features import Features, VideoFeatures
from stages.tracking.heads import Heads, Prediction
from stages.tracking.recall import Reach, is_active
from stages.tracking.recorder import Recorder
from stages.tracking.tracker import Runtime

DECODED_AHEAD = 2  # frames


class Round:
    """Tracks `prompts`, pairs of a frame and a mask at the video's size, through a video of `n_frames`."""

    def __init__(
        self,
        heads: Heads,
        video: VideoFeatures,
        prompts: Sequence[tuple[int, Rle]],
        n_frames: int,
        batches: Batches,
        recorder: Recorder,
        runtime: Runtime,
    ) -> None:
        self.heads, self.video, self.batches, self.recorder, self.runtime = heads, video, batches, recorder, runtime
        self.starts = [frame for frame, _ in prompts]
        self.masks = [rle for _, rle in prompts]
        self.n_frames = n_frames
        model = heads.model
        side = model.image_size // model.backbone_stride
        self.bank = Bank(
            self.starts, n_frames, self.reach(), (side * side, model.mem_dim), model.hidden_dim, model.device
        )
        self._conditioner: Conditioner | None = None
        self._done = 0  # object-frames

    def reach(self) -> Reach:
        model = self.heads.model
        return Reach(model.num_maskmem - 1, max(1, min(self.n_frames, model.max_obj_ptrs_in_encoder) - 1))

    def run(self) -> None:
        """The whole forward sweep first: going back, tracks read forward memories next to their prompt."""
        for frame in range(min(self.starts), self.n_frames):
            self.advance(frame, reverse=False)
        for frame in range(max(self.starts) - 1, -1, -1):
            self.advance(frame, reverse=True)

    def advance(self, frame: int, *, reverse: bool) -> None:
        """Brings every track that a sweep follows here, or that starts here, one frame further."""
        starting = [] if reverse else [n for n, start in enumerate(self.starts) if start == frame]
        active = [n for n, start in enumerate(self.starts) if is_active(start, frame, reverse=reverse)]
        if not starting and not active:
            return
        with self.runtime.phase("encode"):
            step = -1 if reverse else 1
            features = self.video.get(frame, [frame + step * i for i in range(1, DECODED_AHEAD + 1)])
        with self.runtime.phase("follow"):
            self._follow(active, frame, features, reverse)
            self._begin(starting, frame, features)
        self._done += len(active) + len(starting)
        progress.advance(self._done / (len(self.starts) * self.n_frames))

    def _begin(self, tracks: Sequence[int], frame: int, features: Features) -> None:
        def compute(part: Sequence[int]) -> Prediction:
            prediction = self.heads.prompt(features, [masks_of.decode(self.masks[n]) for n in self._padded(part)])
            return prediction.first(len(part))

        for part, prediction in self.batches.run(tracks, compute):
            self._keep(part, frame, prediction)
            if self._conditioner is None:
                position = self.heads.memory_position(prediction.memory_BLD, features)
                self._conditioner = Conditioner(self.heads.model, self.n_frames, position, self.heads.compiler)

    def _follow(self, tracks: Sequence[int], frame: int, features: Features, reverse: bool) -> None:
        """In buckets of tracks that read the same number of memories; a batch may hold several."""

        def bucket(track: int) -> tuple[int, int]:
            return self.bank.bucket(track, frame, reverse=reverse)

        def compute(part: Sequence[int]) -> Prediction:
            buckets = [list(group) for _, group in groupby(self._padded(part), bucket)]
            recalled = [self.bank.read(group, frame, reverse=reverse) for group in buckets]
            return self.heads.follow(features, self._conditioned(features, recalled)).first(len(part))

        for part, prediction in self.batches.run(sorted(tracks, key=bucket), compute):
            self._keep(part, frame, prediction)

    def _padded(self, part: Sequence[int]) -> list[int]:
        """With the last track repeated up to a size that compiled code is made for."""
        size = self.heads.compiler.padded(len(part), self.batches.limit)
        return [*part, *[part[-1]] * (size - len(part))]

    def _conditioned(self, features: Features, recalled: Sequence[Recalled]) -> Tensor:
        assert self._conditioner is not None and self.video.position_1LC is not None
        return self._conditioner(tokens(features), self.video.position_1LC, recalled)

    def _keep(self, tracks: Sequence[int], frame: int, prediction: Prediction) -> None:
        self.bank.write(tracks, frame, prediction.memory_BLD, prediction.pointer_BC)
        self.recorder.record(tracks, frame, prediction)


def tokens(features: Features) -> Tensor:
    """(1, L, C) of the features at stride 16."""
    return features.top_1Chw.flatten(2).transpose(1, 2)
